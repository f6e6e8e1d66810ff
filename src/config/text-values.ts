/** Forms of text that several keys of the lists have: numbers and times within bounds, paths, hosts. */
import { parseDuration } from './duration.ts';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';
import { parsePrefix } from './site-rules.ts';

/** A host name in lower case. */
export const LABELS = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

/** Reads a whole number within bounds. */
export function parseNumber(text: string, { min, max }: { readonly min: number; readonly max: number }): Parsed<number> {
  const value = /^\d{1,9}$/.test(text.trim()) ? Number(text) : Number.NaN;
  return value >= min && value <= max ? parsed(value) : invalid(`must be a whole number from ${min} to ${max}, not ${quoteText(text)}`);
}

/** Reads a duration within bounds, which are durations too. */
export function parseTime(text: string, { min, max }: { readonly min: string; readonly max: string }): Parsed<number> {
  const [value, least, most] = [parseDuration(text), parseDuration(min), parseDuration(max)];
  if (value.kind === 'invalid' || least.kind === 'invalid' || most.kind === 'invalid') return value;
  return value.value >= least.value && value.value <= most.value
    ? value
    : invalid(`must be between ${min} and ${max}, not ${quoteText(text)}`);
}

/** A path as requests have it when they are matched: nothing in it can need normalisation. */
export function parsePlainPath(text: string): Parsed<string> {
  const path = parsePrefix(text.trim());
  if (path.kind === 'invalid') return path;
  if (/^(?:\/(?!\.{1,2}(?:\/|$))(?:[\w\-.~!$&'()*+,;=:@]|%[0-9A-F]{2})*)+$/.test(path.value)) return path;
  return invalid(`must be a path without query, dot segments and characters that need %, not ${quoteText(text)}`);
}

/** A path whose slash at the end does not count. */
export function parseFolder(text: string): Parsed<string> {
  const path = parsePlainPath(text);
  return path.kind === 'ok' ? parsed(path.value.replace(/\/+$/, '')) : path;
}

/** Reads the name of a host. */
export function parseHostName(text: string): Parsed<string> {
  const name = text.trim().toLowerCase();
  return name.length <= 255 && LABELS.test(name) ? parsed(name) : invalid(`must be a name such as origin.example, not ${quoteText(text)}`);
}

/** Reads the name of a host, with a port or without. */
export function parseAuthority(text: string): Parsed<string> {
  const authority = text.trim().toLowerCase();
  const [, name = '', port = ''] = /^([^:]+)(?::(\d{1,5}))?$/.exec(authority) ?? [];
  return LABELS.test(name) && Number(port || 1) <= 65_535
    ? parsed(authority)
    : invalid(`must be a host such as origin.example or origin.example:8080, not ${quoteText(text)}`);
}

/** Reads the path of a file. */
export function parseFile(text: string): Parsed<string> {
  return text.trim() === '' ? invalid('must be the path of a file') : parsed(text.trim());
}
