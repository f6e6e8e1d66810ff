/**
 * Questions over HTTP to a service that knows nodes (Consul, etcd), at the first of several addresses that answers. Bounded in time and size; whatever goes
 * wrong is a failure with a reason. Apart from the transports of groups: what is asked here is asked by nobody's request.
 */
import type { Readable } from 'node:stream';
import { Agent, type Dispatcher } from 'undici';
import type { Clock } from '../../base/clock.ts';
import { systemErrorCode } from '../../base/errors.ts';
import { KIB } from '../../base/units.ts';
import { type DiscoveryFailure, failed } from './discovery-source.ts';

/** Whom to ask, and how TLS is done where it is. */
export interface ApiOptions {
  /** `scheme://host[:port]`, and a path before every other, without slash at the end. */
  readonly urls: readonly string[];
  /** PEM. */
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly clock: Clock;
}

/** One question. */
export interface ApiQuestion {
  readonly method: 'GET' | 'POST';
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON. */
  readonly body?: string | undefined;
  /** Until the whole answer, or its head where it is a stream. */
  readonly limitMs: number;
}

/** A success. */
export interface ApiAnswer {
  readonly kind: 'answer';
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly text: string;
}

/** A success that goes on. */
export interface ApiStream {
  readonly kind: 'stream';
  /** Whoever has it destroys it. */
  readonly body: Readable;
}

/** What an answer may have: a thousand nodes with their checks in Consul are about 2 MiB. */
export const ANSWER_BYTES_MAX = 16 * 1024 * KIB;
/** An answer that tells of an error is read so far. */
const ERROR_BYTES_MAX = 4 * KIB;
const ERROR_TEXT_MAX = 200;
const CONNECT_MS = 10_000;

/** Asks. */
export class ApiClient {
  readonly #options: ApiOptions;
  readonly #agent: Agent;
  /** The one that is asked first. */
  #first = 0;

  constructor(options: ApiOptions) {
    const { ca, cert, key } = options;
    this.#options = options;
    // Times are kept per question; one connection for a question that waits, one for another.
    this.#agent = new Agent({
      ...{ allowH2: false, connections: 2, pipelining: 1, headersTimeout: 0, bodyTimeout: 0, maxHeaderSize: 64 * KIB },
      connect: {
        timeout: CONNECT_MS,
        ...(ca === undefined ? {} : { ca }),
        ...(cert === undefined ? {} : { cert }),
        ...(key === undefined ? {} : { key }),
      },
    });
  }

  /** Asks one address after the other until one answers. */
  ask(question: ApiQuestion, signal: AbortSignal): Promise<ApiAnswer | DiscoveryFailure> {
    return this.#try(signal, question, async ({ headers, body }) => ({
      kind: 'answer',
      headers,
      text: await readText(body, ANSWER_BYTES_MAX),
    }));
  }

  /** As ask(), for an answer that does not end. */
  open(question: ApiQuestion, signal: AbortSignal): Promise<ApiStream | DiscoveryFailure> {
    return this.#try(signal, question, async ({ body }) => ({ kind: 'stream', body }));
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #try<Taken>(
    signal: AbortSignal,
    question: ApiQuestion,
    take: (response: Dispatcher.ResponseData) => Promise<Taken>,
  ): Promise<Taken | DiscoveryFailure> {
    const { urls } = this.#options;
    let last: DiscoveryFailure = failed('unreachable', 'there is nobody to ask');
    for (let tries = 0; tries < urls.length; tries += 1) {
      const verdict = await this.#tryOne(urls[this.#first % urls.length] ?? '', { signal, question, take });
      if (verdict.kind === 'taken') return verdict.taken;
      last = verdict;
      if (signal.aborted) break;
      this.#first = (this.#first + 1) % urls.length;
    }
    return last;
  }

  async #tryOne<Taken>(
    url: string,
    about: {
      readonly signal: AbortSignal;
      readonly question: ApiQuestion;
      readonly take: (response: Dispatcher.ResponseData) => Promise<Taken>;
    },
  ): Promise<{ readonly kind: 'taken'; readonly taken: Taken } | DiscoveryFailure> {
    const { signal, question, take } = about;
    const { method, path, body, headers, limitMs } = question;
    const limit = new AbortController();
    const end = (): void => limit.abort();
    const timer = this.#options.clock.startTimer(limitMs, end);
    signal.addEventListener('abort', end);
    try {
      const { origin, pathname } = new URL(url);
      const own = { ...headers, accept: 'application/json', 'user-agent': 'rawslice' };
      const whole = pathname.replace(/\/$/, '') + path;
      const typed = body === undefined ? own : { ...own, 'content-type': 'application/json' };
      const response = await this.#agent.request({ origin, path: whole, method, headers: typed, body: body ?? null, signal: limit.signal });
      if (response.statusCode === 200) return { kind: 'taken', taken: await take(response) };
      return await refusalOf(response, origin);
    } catch (cause) {
      return failureOf(cause, { url, isLate: limit.signal.aborted, limitMs });
    } finally {
      timer.stop();
      signal.removeEventListener('abort', end);
    }
  }
}

/** @throws RangeError for more than `bytesMax` */
async function readText(body: Readable, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of body) {
    const bytes = Buffer.from(chunk);
    total += bytes.length;
    if (total > bytesMax) throw new RangeError(`an answer of more than ${bytesMax} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString();
}

async function refusalOf({ statusCode, body }: Dispatcher.ResponseData, origin: string): Promise<DiscoveryFailure> {
  const text = await readText(body, ERROR_BYTES_MAX).catch(() => '');
  const words = text.trim().slice(0, ERROR_TEXT_MAX).replace(/\s+/g, ' ');
  const hint = statusCode === 401 || statusCode === 403 ? '; may this program ask (token, user)?' : '';
  return { ...failed('refused', `${origin} answered ${statusCode}${words === '' ? '' : `: ${words}`}${hint}`), status: statusCode };
}

function failureOf(
  cause: unknown,
  { url, isLate, limitMs }: { readonly url: string; readonly isLate: boolean; readonly limitMs: number },
): DiscoveryFailure {
  if (isLate) return failed('timeout', `${url} did not answer within ${limitMs} ms`);
  if (cause instanceof RangeError) return failed('invalid', `${url} sent ${cause.message}`);
  const code = systemErrorCode(cause) ?? (cause instanceof AggregateError ? systemErrorCode(cause.errors[0]) : undefined);
  const text = code ?? (cause instanceof Error ? cause.message : String(cause));
  return failed('unreachable', `${url} cannot be asked (${text})`);
}
