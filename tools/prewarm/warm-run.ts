/**
 * The work of prewarm: several workers take items from one list and read each object through the server to its end, discarding the bytes,
 * as one client among others. An object counts as done only when the response was a success and whole. Called by commands/prewarm.ts.
 */
import type { IncomingMessage } from 'node:http';
import { EdgeError, systemErrorCode } from '../../src/base/errors.ts';
import type { ServerClient } from '../server-client.ts';
import type { RateLimit } from './rate-limit.ts';
import type { ListedTarget, WarmTarget } from './target.ts';

/** What became of one item. `isHit`: it was in the cache already. `isKept` is false where the server says that it may not be stored. */
export type WarmOutcome =
  | { readonly kind: 'done'; readonly name: string; readonly isHit: boolean; readonly isKept: boolean }
  | { readonly kind: 'skipped'; readonly name: string }
  | { readonly kind: 'failed'; readonly name: string; readonly reason: string };

/** What a run needs. */
export interface WarmOptions {
  readonly client: ServerClient;
  /** Begins the list; the signal ends it early. */
  readonly list: (signal: AbortSignal) => AsyncIterator<ListedTarget>;
  /** Host field for items that name none; undefined: the server's own address. */
  readonly host?: string | undefined;
  /** Requests at a time. */
  readonly concurrency: number;
  /** Undefined: as fast as it comes. */
  readonly rate: RateLimit | undefined;
  /**
   * Asks for each object a second time beforehand, in a way that costs the origin little or nothing: a server whose device is full keeps what
   * is asked for twice. It is what any client could do, so nobody has to be trusted with more.
   */
  readonly asksTwice: boolean;
  /** Waited for after each piece; undefined: nobody is behind. */
  readonly pace: ((signal: AbortSignal) => Promise<void>) | undefined;
  /** Ends the run: requests in progress are given up, without an outcome. */
  readonly signal: AbortSignal;
  readonly isFinished: (name: string) => boolean;
  readonly onBytes: (lengthBytes: number) => void;
  readonly onOutcome: (outcome: WarmOutcome) => Promise<void>;
}

/** System errors that say that there is no server, not that one request went wrong. */
const NO_SERVER = new Set(['ECONNREFUSED', 'ENOENT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN']);

/** Words of X-Cache for answers whose body came from the cache. */
const CACHED_WORDS = new Set(['HIT', 'STALE', 'REVALIDATED']);

/**
 * Runs until the list is at its end or `signal` aborts.
 *
 * @throws EdgeError SERVER_UNREACHABLE as soon as the server cannot be connected to; outcomes until then were reported
 */
export async function warm(options: WarmOptions): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const items = options.list(signal);
  const work = async (): Promise<void> => {
    try {
      while (!signal.aborted) {
        const next = await items.next();
        if (next.done === true) return;
        const outcome = await warmItem(next.value, options, signal);
        if (outcome !== undefined) await options.onOutcome(outcome);
      }
    } catch (error) {
      stop.abort();
      throw error;
    }
  };
  const results = await Promise.allSettled(Array.from({ length: options.concurrency }, work));
  const failure = results.find((result) => result.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}

/** @returns undefined when the run was ended meanwhile */
async function warmItem(item: ListedTarget, options: WarmOptions, signal: AbortSignal): Promise<WarmOutcome | undefined> {
  if (item.kind === 'invalid') return { kind: 'failed', name: item.name, reason: item.reason };
  const { name } = item.target;
  if (options.isFinished(name)) return { kind: 'skipped', name };
  try {
    return await fetchWhole(item.target, options, signal);
  } catch (cause) {
    if (signal.aborted) return undefined;
    const errno = systemErrorCode(cause);
    if (errno !== undefined && NO_SERVER.has(errno)) throw unreachable(options.client.base, errno, cause);
    return { kind: 'failed', name, reason: describeBreak(errno, cause) };
  }
}

async function fetchWhole(target: WarmTarget, options: WarmOptions, signal: AbortSignal): Promise<WarmOutcome> {
  const { client, rate, pace } = options;
  const host = target.host ?? options.host;
  const headers = {
    accept: '*/*',
    'accept-encoding': 'identity',
    'user-agent': 'rawslice-prewarm',
    ...(host === undefined ? {} : { host }),
  };
  if (options.asksTwice) await announce(target, options, { ...headers, 'cache-control': 'only-if-cached' }, signal);
  const response = await client.send({ method: 'GET', path: target.path, headers, signal });
  let lengthBytes = 0;
  for await (const piece of client.readBody(response)) {
    lengthBytes += piece.length;
    options.onBytes(piece.length);
    await rate?.take(piece.length, signal);
    await pace?.(signal);
  }
  const reason = findFault(response, lengthBytes);
  if (reason !== undefined) return { kind: 'failed', name: target.name, reason };
  const isHit = CACHED_WORDS.has(String(response.headers['x-cache']));
  return { kind: 'done', name: target.name, isHit, isKept: isHit || /;\s*(stored|hit)\b/.test(cacheStatus(response)) };
}

/** The first of two requests. Where rules ignore the client's Cache-Control an absent object costs the origin a HEAD. */
async function announce(
  { path }: WarmTarget,
  { client }: WarmOptions,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  const response = await client.send({ method: 'HEAD', path, headers, signal });
  for await (const _ of client.readBody(response));
}

function cacheStatus(response: IncomingMessage): string {
  const field = response.headers['cache-status'];
  return Array.isArray(field) ? field.join(', ') : (field ?? '');
}

function findFault(response: IncomingMessage, lengthBytes: number): string | undefined {
  const status = response.statusCode ?? 0;
  if (status >= 300 && status < 400)
    return `the origin redirects (${status}) to ${response.headers.location ?? 'nowhere'}; list that URL instead`;
  if (status !== 200) return `status ${status} ${response.statusMessage ?? ''}`.trimEnd();
  const expected = response.headers['content-length'];
  if (!response.complete || (expected !== undefined && Number(expected) !== lengthBytes)) {
    return `broke off after ${lengthBytes} of ${expected ?? 'an unknown number of'} bytes`;
  }
  return undefined;
}

function describeBreak(errno: string | undefined, cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  return errno === 'ECONNRESET' ? 'the response broke off' : `the request failed (${text})`;
}

function unreachable(base: URL, errno: string, cause: unknown): EdgeError {
  const advice = 'start it (tools/rawslice serve), name another with --server, or fill a device directly with --device';
  return new EdgeError('SERVER_UNREACHABLE', `No server answers on ${base.origin} (${errno}); ${advice}`, { context: { errno }, cause });
}
