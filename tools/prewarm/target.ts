/**
 * What prewarm fetches: lines of a list (a URL or a path each) turned into requests to the server. Lists are read as a stream, so their
 * length does not matter. A line that cannot be understood is an item of its own that fails, so that one typing error does not cost a night.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { EdgeError, systemErrorCode } from '../../src/base/errors.ts';
import { MAX_TARGET_BYTES } from '../../src/http/request-target.ts';

const CONTROL_CHARACTER = /\p{Cc}/u;

/** One object to fetch. `name` is the text of the list, by which it is reported and remembered. */
export interface WarmTarget {
  readonly name: string;
  /** Path and query of the request to the server. */
  readonly path: string;
  /** Host field of the request; undefined: the item names none. */
  readonly host: string | undefined;
}

/** A line of a list. */
export type ListedTarget =
  | { readonly kind: 'target'; readonly target: WarmTarget }
  | { readonly kind: 'invalid'; readonly name: string; readonly reason: string };

/** An upstream as given on the command line; URLs below it are asked for without its path, since the server puts that in front. */
export interface NamedUpstream {
  readonly origin: string;
  /** Empty, or `/x/y` without slash at the end. */
  readonly basePath: string;
}

/** Where the lines come from. */
export interface ListSources {
  readonly urls: readonly string[];
  /** Path of a list; undefined for none. */
  readonly file: string | undefined;
  /** A list that is open already (standard input). */
  readonly input: NodeJS.ReadableStream | undefined;
  readonly upstream: NamedUpstream | undefined;
}

/**
 * The items of all sources, in order; blank lines and lines that begin with `#` are left out.
 *
 * @param signal ends the list early
 * @throws EdgeError USAGE when a list cannot be read
 */
export async function* listTargets(sources: ListSources, signal: AbortSignal | undefined): AsyncGenerator<ListedTarget> {
  const { urls, file, input, upstream } = sources;
  for (const url of urls) yield parseTarget(url, upstream);
  if (file !== undefined) for await (const line of readLines(createReadStream(file), file, signal)) yield parseTarget(line, upstream);
  if (input !== undefined) for await (const line of readLines(input, 'on standard input', signal)) yield parseTarget(line, upstream);
}

/** How many items listTargets() will have; undefined for what can be read only once, such as standard input or a pipe. */
export async function countTargets(sources: ListSources): Promise<number | undefined> {
  const { file, input } = sources;
  if (input !== undefined) return undefined;
  const facts = file === undefined ? undefined : await stat(file).catch((cause: unknown) => Promise.reject(listError(file, cause)));
  if (facts !== undefined && !facts.isFile()) return undefined;
  let count = 0;
  for await (const _ of listTargets(sources, undefined)) count += 1;
  return count;
}

/** Reads one item: an absolute http(s) URL, or a path that begins with a slash. */
export function parseTarget(name: string, upstream: NamedUpstream | undefined): ListedTarget {
  if (name.length > MAX_TARGET_BYTES) return { kind: 'invalid', name: `${name.slice(0, 80)}...`, reason: 'is longer than 8 KiB' };
  if (CONTROL_CHARACTER.test(name)) return { kind: 'invalid', name: JSON.stringify(name), reason: 'has a control character in it' };
  if (name.startsWith('/')) {
    const url = URL.parse(`http://server.invalid${name}`);
    if (url !== null) return { kind: 'target', target: { name, path: `${url.pathname}${url.search}`, host: undefined } };
  }
  const url = /^https?:\/\//i.test(name) ? URL.parse(name) : null;
  if (url === null) return { kind: 'invalid', name, reason: 'is neither a URL (http://... or https://...) nor a path (/...)' };
  const path = `${url.pathname}${url.search}`;
  if (upstream === undefined || url.origin !== upstream.origin) return { kind: 'target', target: { name, path, host: url.host } };
  if (upstream.basePath !== '' && !path.startsWith(`${upstream.basePath}/`)) {
    return { kind: 'invalid', name, reason: `is not below ${upstream.origin}${upstream.basePath}` };
  }
  return { kind: 'target', target: { name, path: path.slice(upstream.basePath.length), host: undefined } };
}

async function* readLines(stream: NodeJS.ReadableStream, name: string, signal: AbortSignal | undefined): AsyncGenerator<string> {
  const lines = createInterface({ input: stream, signal, crlfDelay: Number.POSITIVE_INFINITY });
  try {
    for await (const line of lines) {
      const text = line.trim();
      if (text !== '' && !text.startsWith('#')) yield text;
    }
  } catch (cause) {
    throw listError(name, cause);
  }
}

function listError(name: string, cause: unknown): EdgeError {
  return new EdgeError('USAGE', `The list ${name} cannot be read (${systemErrorCode(cause) ?? String(cause)})`, { cause });
}
