/**
 * The schema: for each option how its text becomes a value, built from the rows of the option table (bounds, choices). It is flat, one
 * dotted key beside the other, so that every problem has exactly one key; load.ts turns the result into an EdgeConfig.
 */
import { z } from 'zod';
import { assert } from '../base/assert.ts';
import { LOG_LEVELS } from '../base/log.ts';
import { isPowerOfTwo } from '../base/units.ts';
import { parseDuration } from './duration.ts';
import { parseFile } from './file-path.ts';
import { type ListenAddress, parseListenAddress, parseServiceAddress } from './listen-address.ts';
import { parseNetworks } from './network.ts';
import {
  ACCESS_FORMATS,
  COMPRESSION_WORDS,
  DEVICE_IO,
  OPTIONS,
  type OptionKey,
  type OptionKind,
  type OptionRow,
  PRESET_NAMES,
  REQUEST_ID_WORDS,
} from './options.ts';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';
import { parseSize } from './size.ts';
import { findSuggestion } from './suggestion.ts';

/** Texts by dotted key in, values out. Options without default may be missing; load.ts asks for the required ones. */
export const OPTION_SCHEMA = z.object({
  listen: fromText(parseServiceAddress),
  expressLane: fromText(parseBoolean),
  'admin.listen': address('admin.listen'),
  'admin.token': fromText(parseSecret).optional(),
  'purge.allow': fromText(parseNetworks).optional(),
  'purge.token': fromText(parseSecret).optional(),
  'upstream.url': fromText(parseOrigin).optional(),
  'upstream.connectTimeout': duration('upstream.connectTimeout'),
  'upstream.headTimeout': duration('upstream.headTimeout'),
  'upstream.bodyTimeout': duration('upstream.bodyTimeout'),
  'upstream.connections': count('upstream.connections'),
  'upstream.preserveHost': fromText(parseBoolean),
  upgrade: fromText(parseProtocols),
  preset: choice(PRESET_NAMES),
  'device.path': fromText(parsePaths).optional(),
  'device.size': size('device.size'),
  'device.formatBlank': fromText(parseBoolean),
  'device.writeBudget': size('device.writeBudget').optional(),
  'device.io': choice(DEVICE_IO),
  'device.compression': choice(COMPRESSION_WORDS),
  'device.scrub': duration('device.scrub'),
  'device.trim': fromText(parseBoolean),
  'memory.arena': size('memory.arena'),
  'slice.size': size('slice.size', (bytes) => (isPowerOfTwo(bytes) ? undefined : 'must be a power of two')),
  'limits.variants': count('limits.variants'),
  'cache.staleIfError': duration('cache.staleIfError'),
  'limits.connections': count('limits.connections'),
  'limits.requests': count('limits.requests'),
  'limits.streams': count('limits.streams'),
  'limits.clientStall': duration('limits.clientStall'),
  'limits.uploadStall': duration('limits.uploadStall'),
  'limits.tunnels': count('limits.tunnels'),
  'limits.tunnelIdle': duration('limits.tunnelIdle'),
  'limits.headerBytes': size('limits.headerBytes'),
  'limits.headerTimeout': duration('limits.headerTimeout'),
  'limits.ranges': count('limits.ranges'),
  'limits.rangeSurplus': size('limits.rangeSurplus'),
  'limits.clientSurplus': size('limits.clientSurplus'),
  'cacheStatus.key': fromText(parseBoolean),
  'log.level': choice(LOG_LEVELS),
  requestId: choice(REQUEST_ID_WORDS),
  'log.access': fromText(parseBoolean),
  'log.accessFormat': choice(ACCESS_FORMATS),
  'log.accessFile': fromText(parseFile).optional(),
  'reload.interval': duration('reload.interval'),
  'shutdown.drain': duration('shutdown.drain'),
});

const PROTOCOLS_MAX = 8;
/** Devices of one cache at most: every look-up may ask each of them. */
const DEVICES_MAX = 16;

/** Values by dotted key. */
export type OptionValues = z.output<typeof OPTION_SCHEMA>;

/** An origin and the path before every request path (empty, or `/x` without slash at the end). */
export interface OriginUrl {
  readonly origin: string;
  readonly basePath: string;
}

/** Reads the text of one option, for keys elsewhere that mean the same. */
export function parseOption<Key extends OptionKey>(key: Key, text: string): Parsed<NonNullable<OptionValues[Key]>> {
  const result = z.object({ [key]: OPTION_SCHEMA.shape[key] }).safeParse({ [key]: text });
  return result.success
    ? parsed(result.data[key] as NonNullable<OptionValues[Key]>)
    : invalid(result.error.issues[0]?.message ?? 'is not valid');
}

/** Makes a schema of a function that reads a text. */
export function fromText<T>(parse: (text: string) => Parsed<T>): z.ZodPipe<z.ZodString, z.ZodTransform<T, string>> {
  return z.string().transform((text, context) => {
    const verdict = parse(text);
    if (verdict.kind === 'ok') return verdict.value;
    context.addIssue({ code: 'custom', message: verdict.message });
    return z.NEVER;
  });
}

/** Reads `true` or `false` (also yes, no, on, off). */
export function parseBoolean(text: string): Parsed<boolean> {
  const word = text.trim().toLowerCase();
  if (word === 'true' || word === 'yes' || word === 'on') return parsed(true);
  if (word === 'false' || word === 'no' || word === 'off') return parsed(false);
  return invalid(`must be true or false, not ${quoteText(text)}`);
}

/** Reads one of `words`. */
export function parseChoice<Word extends string>(text: string, words: readonly Word[]): Parsed<Word> {
  const word = words.find((candidate) => candidate === text.trim());
  if (word !== undefined) return parsed(word);
  const near = findSuggestion(text.trim(), words);
  return invalid(`must be one of ${words.join(', ')}, not ${quoteText(text)}${near === undefined ? '' : `; did you mean ${near}?`}`);
}

function address(key: OptionKey): ReturnType<typeof fromText<ListenAddress>> {
  rowOfKind(key, 'address');
  return fromText(parseListenAddress);
}

function duration(key: OptionKey): ReturnType<typeof fromText<number>> {
  return bounded(rowOfKind(key, 'duration'), parseDuration);
}

function count(key: OptionKey): ReturnType<typeof fromText<number>> {
  return bounded(rowOfKind(key, 'count'), parseCount);
}

function size(key: OptionKey, refine?: (bytes: number) => string | undefined): ReturnType<typeof fromText<number>> {
  return bounded(rowOfKind(key, 'size'), parseSize, refine);
}

function choice<Word extends string>(words: readonly Word[]): ReturnType<typeof fromText<Word>> {
  return fromText((text) => parseChoice(text, words));
}

/** @param refine returns what is wrong with a value that is within the bounds */
function bounded(
  row: OptionRow,
  parse: (text: string) => Parsed<number>,
  refine?: (value: number) => string | undefined,
): ReturnType<typeof fromText<number>> {
  const min = parse(row.min ?? '');
  const max = parse(row.max ?? '');
  assert(min.kind === 'ok' && max.kind === 'ok', 'bounds in the option table are of its kind');
  return fromText((text) => {
    const verdict = parse(text);
    if (verdict.kind === 'invalid') return verdict;
    const { value } = verdict;
    if (value < min.value || value > max.value) return invalid(`must be between ${row.min} and ${row.max}, not ${quoteText(text)}`);
    const fault = refine?.(value);
    return fault === undefined ? verdict : invalid(`${fault}, not ${quoteText(text)}`);
  });
}

function rowOfKind(key: OptionKey, kind: OptionKind): OptionRow {
  const row: OptionRow = OPTIONS[key];
  assert(row.kind === kind, () => `option ${key} is a ${row.kind} in the table and a ${kind} in the schema`);
  return row;
}

function parseCount(text: string): Parsed<number> {
  const trimmed = text.trim();
  return /^\d{1,15}$/.test(trimmed) ? parsed(Number(trimmed)) : invalid(`must be a whole number, not ${quoteText(text)}`);
}

function parsePaths(text: string): Parsed<readonly string[]> {
  const paths = text.split(',').map((path) => path.trim());
  for (const [place, path] of paths.entries()) {
    if (path === '' || path.includes('\0')) return invalid(`must be the path of a device or file, or several, not ${quoteText(text)}`);
    if (paths.indexOf(path) < place) return invalid(`names ${quoteText(path)} twice`);
  }
  return paths.length > DEVICES_MAX ? invalid(`names ${paths.length} devices, at most ${DEVICES_MAX} can be one cache`) : parsed(paths);
}

/** Inside a connection of another protocol nobody looks: requests of HTTP would pass by everything that holds for requests. */
const HIDDEN_HTTP = /^(?:h2c?|http|tls)(?:\/|$)/;

/** Reads the protocols of Upgrade: none of them where the text is `none`. */
export function parseProtocols(text: string): Parsed<readonly string[]> {
  const names = text.split(',').map((name) => name.trim().toLowerCase());
  if (names.length === 1 && names[0] === 'none') return parsed([]);
  for (const name of names) {
    if (HIDDEN_HTTP.test(name)) return invalid(`must not have ${quoteText(name)}: requests inside it would pass by routes and limits`);
    if (name === 'none' || !/^[!#$%&'*+\-.^_`|~\w]+(?:\/[!#$%&'*+\-.^_`|~\w]+)?$/.test(name))
      return invalid(`must be protocols such as websocket, or none, not ${quoteText(text)}`);
  }
  return names.length > PROTOCOLS_MAX ? invalid(`names ${names.length} protocols; the limit is ${PROTOCOLS_MAX}`) : parsed(names);
}

/** Reads a secret. The value never appears in a message. */
export function parseSecret(text: string): Parsed<string> {
  if (/^[\x21-\x7e]{8,256}$/.test(text)) return parsed(text);
  return invalid('must be 8 to 256 visible ASCII characters without spaces');
}

/** Reads the URL of an origin. */
export function parseOrigin(text: string): Parsed<OriginUrl> {
  const url = URL.parse(text.trim());
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    return invalid(`must be a URL such as http://deb.debian.org or https://host:8443/path, not ${quoteText(text)}`);
  }
  if (url.username !== '' || url.password !== '') return invalid('must not contain a user name or password');
  if (url.search !== '' || url.hash !== '') return invalid(`must end with the path, without query or fragment, not ${quoteText(text)}`);
  return parsed({ origin: url.origin, basePath: url.pathname.replace(/\/+$/, '') });
}
