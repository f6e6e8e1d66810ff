/**
 * A transport that follows redirects as a rule says, so that whoever asks sees the last response only. Every request begins at the origin
 * that is configured: a signed Location is used once and remembered nowhere, and one that has expired is replaced by asking again. Another
 * origin is told which representation is wanted, and nothing of who asks, whoever has said that: a client, a middleware, or this program.
 *
 *   start -> 302 -> start at its target -> ... -> the last response's head and body, as of one transfer
 */
import { EdgeError } from '../base/errors.ts';
import type { MetricSet } from '../base/metrics.ts';
import { type FieldList, fieldLines } from '../http/header-fields.ts';
import { isRedirect, judgeRedirect, type RedirectRule, type RedirectTarget } from '../http/redirect-target.ts';
import { isSpecialHost } from './address-guard.ts';
import { DiscardingSink } from './discarding-sink.ts';
import type { TransportPool } from './transport-pool.ts';
import type { UPSTREAM_METRICS } from './upstream-metrics.ts';
import type { BodySink, ResponseReceiver, Transfer, UpstreamHead, UpstreamRequest, UpstreamTransport } from './upstream-transport.ts';

/** What redirects are followed with. */
export interface RedirectOptions {
  /** To the configured origin. */
  readonly first: UpstreamTransport;
  /** The configured origin, `scheme://host[:port]`; of several nodes the first. */
  readonly origin: string;
  /** What else means the configured origin: the other nodes, and the name that they are sent in Host. */
  readonly aliases: readonly string[];
  /** Names of fields that only the configured origin is sent. */
  readonly ownFields?: ReadonlySet<string> | undefined;
  readonly pool: TransportPool;
  readonly metrics: MetricSet<typeof UPSTREAM_METRICS>;
}

/**
 * What another origin is sent, of those that come. Any other field may be meant for the origin that the client asked (RFC 9110 s15.4 names Authorization and
 * Cookie as examples): `X-User` of a middleware, a client's API key, the client's address.
 */
const FOR_OTHERS: ReadonlySet<string> = new Set([
  'a-im',
  'accept',
  'accept-charset',
  'accept-encoding',
  'accept-language',
  'cache-control',
  'cdn-loop',
  'host',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  // CORS: what may be read by whom is for the origin that answers to say.
  'origin',
  'pragma',
  'prefer',
  'range',
  // As browsers that follow by themselves; storage may look at it.
  'referer',
  'user-agent',
  'via',
  'want-content-digest',
  'want-repr-digest',
]);

/** Requests that end where redirects lead. */
export class RedirectTransport implements UpstreamTransport {
  readonly #options: RedirectOptions;
  readonly #rule: RedirectRule;

  constructor(options: RedirectOptions, rule: RedirectRule) {
    this.#options = options;
    this.#rule = rule;
  }

  get waitingRequests(): number {
    return this.#options.first.waitingRequests;
  }

  get nodeCount(): number | undefined {
    return this.#options.first.nodeCount;
  }

  start(request: UpstreamRequest, receiver: ResponseReceiver): Transfer {
    const isSafe = request.method === 'GET' || request.method === 'HEAD';
    if (!isSafe || request.body !== undefined || request.upgrade !== undefined) return this.#options.first.start(request, receiver);
    const transfer = new FollowedTransfer(this.#options, this.#rule, receiver);
    transfer.start(request);
    return transfer;
  }

  /** What it stands on is closed by whoever made it. */
  async close(): Promise<void> {}
}

class FollowedTransfer implements Transfer {
  readonly #options: RedirectOptions;
  readonly #rule: RedirectRule;
  readonly #receiver: ResponseReceiver;
  #current: Transfer | undefined;
  #hops = 0;
  #isAborted = false;

  constructor(options: RedirectOptions, rule: RedirectRule, receiver: ResponseReceiver) {
    this.#options = options;
    this.#rule = rule;
    this.#receiver = receiver;
  }

  start(request: UpstreamRequest): void {
    const { first, origin } = this.#options;
    this.#ask(first, request, origin + request.path);
  }

  resume(): void {
    this.#current?.resume();
  }

  abort(): void {
    this.#isAborted = true;
    this.#current?.abort();
  }

  /** Where a redirect has led there is one node, which stands for nobody else. */
  blame(why: string): boolean {
    return this.#hops === 0 && this.#current?.blame?.(why) === true;
  }

  /** @param url of the request, absolute */
  #ask(transport: UpstreamTransport, request: UpstreamRequest, url: string): void {
    // A transport may answer before it has handed its transfer out; then the transfer of the next hop is there already.
    const hop = this.#hops;
    const transfer = transport.start(request, {
      onInterim: (head) => this.#receiver.onInterim?.(head),
      onHead: (head, running) => {
        if (this.#isAborted) return undefined;
        this.#current = running;
        return isRedirect(head.status) ? this.#onRedirect(request, url, { head, running }) : this.#receiver.onHead(head, this);
      },
      onFailure: (error) => {
        if (!this.#isAborted) this.#receiver.onFailure(error);
      },
    });
    if (hop === this.#hops) this.#current = transfer;
    if (this.#isAborted) transfer.abort();
  }

  #onRedirect(
    request: UpstreamRequest,
    url: string,
    { head, running }: { readonly head: UpstreamHead; readonly running: Transfer },
  ): BodySink | undefined {
    const { metrics } = this.#options;
    const [location, ...others] = fieldLines(head.fields, 'location');
    const verdict =
      location === undefined || others.length > 0
        ? undefined
        : judgeRedirect(location, { url, configured: this.#configured(location, url) }, this.#rule);
    if (verdict?.kind !== 'follow' || (!verdict.target.mayBePrivate && isSpecialHost(new URL(verdict.target.origin).hostname))) {
      // The client may follow by itself what this cache does not.
      metrics.add('redirects', 1, 'refused');
      return this.#receiver.onHead(head, this);
    }
    this.#hops += 1;
    if (this.#hops > this.#rule.hopsMax) {
      metrics.add('redirects', 1, 'too-many');
      this.#receiver.onFailure(new EdgeError('UPSTREAM_INVALID', `The origin redirects more than ${this.#rule.hopsMax} times in a row`));
      return undefined;
    }
    this.#follow(request, verdict.target);
    return new DiscardingSink(running);
  }

  /** The name of the configured origin that a Location uses. */
  #configured(location: string, url: string): string {
    const { origin, aliases } = this.#options;
    const named = URL.parse(location, url)?.origin;
    return aliases.find((alias) => alias === named) ?? origin;
  }

  #follow(request: UpstreamRequest, target: RedirectTarget): void {
    const { first, origin, aliases, ownFields, pool, metrics } = this.#options;
    const isHome = target.origin === new URL(origin).origin || aliases.includes(target.origin);
    const transport = isHome ? first : pool.get({ origin: target.origin, isGuarded: !target.mayBePrivate });
    if (transport === undefined) {
      metrics.add('redirects', 1, 'no-room');
      this.#receiver.onFailure(new EdgeError('SERVER_BUSY', 'Redirects lead to too many origins at a time; try again'));
      return;
    }
    metrics.add('redirects', 1, 'followed');
    const withoutOwn = isHome ? request.fields : request.fields.filter(([name]) => ownFields?.has(name) !== true);
    const next = { ...request, path: target.path, fields: fieldsFor(withoutOwn, target, isHome) };
    this.#ask(transport, next, target.origin + target.path);
  }
}

function fieldsFor(fields: FieldList, { authority }: RedirectTarget, isHome: boolean): FieldList {
  return fields.filter(([name]) => isHome || FOR_OTHERS.has(name)).map((field) => (field[0] === 'host' ? ['host', authority] : field));
}
