/**
 * The one record of a request on its way through the pipeline. Each field says which stage fills it; no stage changes what another filled,
 * except that a request which starts over (`again`) is resolved and planned anew.
 */
import { assert } from '../base/assert.ts';
import type { EdgeError } from '../base/errors.ts';
import type { CacheKey } from '../cache/cache-key.ts';
import type { Lookup } from '../cache/request-policy.ts';
import type { SiteRule } from '../cache/site-rule.ts';
import type { FillTarget } from '../fill/fill-context.ts';
import type { Resolution } from '../fill/object-resolver.ts';
import type { ForwardReason } from '../http/cache-status.ts';
import { type ForwardedField, type ForwardingTrust, forwardedClient } from '../http/forwarded-chain.ts';
import { type FieldList, parseRawFields } from '../http/header-fields.ts';
import type { MultipartLayout } from '../http/multipart-ranges.ts';
import type { RangeSpec } from '../http/range.ts';
import type { ExchangeEnd } from '../middleware/middleware.ts';
import type { Peer } from './client-door.ts';
import type { ClientRequest, ClientResponse } from './exchange.ts';
import type { CacheResult } from './proxy-metrics.ts';
import type { RefusalKind } from './refusal.ts';
import { RequestTrail } from './request-trail.ts';
import type { ServedRoute } from './services.ts';
import type { TunnelReport } from './tunnel-join.ts';
import type { UpgradeAttempt } from './upgrade-attempt.ts';

/** What `plan` decided. `end` is exclusive; undefined while the length is unknown. */
export interface PlannedBody {
  /** 206, or the status as stored. */
  readonly status: number;
  readonly start: number;
  readonly end: number | undefined;
  /** Several parts instead of [start, end). */
  readonly multipart?: MultipartLayout | undefined;
  /** What is missing is fetched as asked, past the cache. */
  readonly isExact?: boolean | undefined;
  readonly hitSlices: number;
  readonly plannedSlices: number;
}

/** The response's head, ready to be committed with the first bytes. */
export interface ResponseHead {
  readonly status: number;
  readonly fields: FieldList;
}

/** The request's content on its way to the origin, as upload.ts makes it. */
export interface UploadedContent extends AsyncIterable<Uint8Array> {
  /** Nothing more is wanted of it. */
  close(): Promise<void>;
}

/** What was found wrong with a request before any stage has seen it; admit says so. */
export interface RequestFault {
  readonly kind: RefusalKind;
  readonly message?: string | undefined;
}

/** What middlewares have made of a request, as context-exchange.ts keeps it. */
export interface WatchedExchange {
  /** Name of the middleware that answered instead of cache and origin. */
  readonly answeredBy: string | undefined;
  /** Whether the body waits for somebody. */
  readonly isPaced: boolean;
  /** So many bytes were sent. @returns milliseconds to wait before others are */
  pace(bytes: number): number;
  /** The head that is sent instead of this one. @throws EdgeError MIDDLEWARE_FAILED, unless it is that of an error answer */
  changedHead(head: ResponseHead, isOfError: boolean): ResponseHead;
  /** The request has ended. */
  end(end: ExchangeEnd): void;
}

/** Where and when a request came. */
export interface RequestOrigin {
  /** Monotonic. */
  readonly startedMs: number;
  readonly peer: Peer;
  /** See ServiceTransport. */
  readonly trust: ForwardingTrust | undefined;
  readonly fault?: RequestFault | undefined;
  /** It asks for another protocol, and its route lets it. */
  readonly upgrade?: UpgradeAttempt | undefined;
}

/** A request and all that is known of it. */
export class RequestContext {
  readonly request: ClientRequest;
  readonly response: ClientResponse;
  readonly method: string;
  /** As received; middlewares may replace what they like. */
  fields: FieldList;
  readonly startedMs: number;
  /** The other end of the connection. */
  readonly peer: Peer;
  /** Of the client, by the word of trusted proxies. Undefined for a Unix socket. A request that is destroyed has no socket any more. */
  readonly clientAddress: string | undefined;
  /** Whether what the request says of those before the peer is passed on. */
  readonly isPeerBelieved: boolean;
  readonly #believedField: ForwardedField | undefined;
  /** Whether the client's own request came by TLS. */
  readonly isSecure: boolean;
  readonly fault: RequestFault | undefined;
  readonly upgrade: UpgradeAttempt | undefined;
  /** Nodes that were asked for it. */
  readonly trail = new RequestTrail();
  readonly #abort = new AbortController();

  // pipeline
  /** Undefined where there are none. */
  requestId: string | undefined;

  // route
  path: string | undefined;
  query: string | undefined;
  /** As the client means it: lower-case, of the absolute form where there is one. */
  host: string | undefined;
  route: ServedRoute | undefined;
  rule: SiteRule | undefined;
  /** It is a CORS preflight that the route takes for the sake of its middlewares only: the methods that it takes otherwise. */
  preflightMethods: readonly string[] | undefined;
  // middlewares
  /** What middlewares see of the request; undefined where there are none. */
  exchange: WatchedExchange | undefined;
  // identify
  /** The ranges of a GET, at least one, when the Range field counts. */
  ranges: readonly RangeSpec[] | undefined;
  key: CacheKey | undefined;
  target: FillTarget | undefined;
  // resolve
  lookup: Lookup | undefined;
  resolution: Extract<Resolution, { kind: 'object' }> | undefined;
  answer: Extract<Resolution, { kind: 'answer' }> | undefined;
  // plan
  body: PlannedBody | undefined;
  // respond
  head: ResponseHead | undefined;
  // whoever answers
  cacheResult: CacheResult = 'NONE';
  cacheStatus: string | undefined;
  error: EdgeError | undefined;
  /** What turned out to be wrong with the request while it was being handled. */
  refusal: EdgeError | undefined;
  bypassReason: string | undefined;
  /** Why the origin is asked, where a stage knows better than the bypass. */
  forward: ForwardReason | undefined;
  // bypass
  upload: UploadedContent | undefined;
  /** The client was told to go on with its content. */
  isContinued = false;
  // tunnel
  tunnel: TunnelReport | undefined;
  // deliver, bypass, tunnel
  firstByteMs: number | undefined;
  sentBytes = 0;
  cachedBytes = 0;

  constructor(request: ClientRequest, response: ClientResponse, origin: RequestOrigin) {
    const { startedMs, peer, trust, fault } = origin;
    this.request = request;
    this.response = response;
    this.method = request.method ?? 'GET';
    this.fields = parseRawFields(request.rawHeaders);
    this.startedMs = startedMs;
    this.fault = fault;
    this.peer = peer;
    this.upgrade = origin.upgrade;
    const client = trust === undefined ? peer : forwardedClient(this.fields, peer, trust);
    this.clientAddress = client.address;
    this.isSecure = client.isSecure;
    this.isPeerBelieved = trust === undefined || (peer.address !== undefined && trust.isTrusted(peer.address));
    this.#believedField = trust?.field;
    response.on('close', () => {
      if (!response.writableFinished) this.#abort.abort();
    });
  }

  /** Whether what this field says of those before the peer is passed on: beside the one that the peer writes, the other may be a client's own word. */
  isFieldBelieved(name: ForwardedField): boolean {
    return this.isPeerBelieved && (this.#believedField === undefined || this.#believedField === name);
  }

  /** Aborts when the client leaves before its response is complete, or when the request is refused. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The rest of the request is not HTTP, or does not come: whatever is being done for it ends, and the answer names the error. */
  refuse(error: EdgeError): void {
    if (this.refusal !== undefined || this.response.headersSent) return;
    this.refusal = error;
    this.#abort.abort();
  }

  /** A field that an earlier stage filled. @throws AssertionFailure when the stages ran in another order */
  need<Key extends 'path' | 'route' | 'rule' | 'key' | 'target' | 'lookup' | 'resolution' | 'body' | 'head'>(
    key: Key,
  ): NonNullable<this[Key]> {
    const value = this[key];
    assert(value !== undefined && value !== null, () => `stage needs ${key}, which no stage has filled`);
    return value;
  }
}
