/** Values of flags: the forms that configuration uses, with a complaint that names the flag. */
import { EdgeError } from '../src/base/errors.ts';
import type { Parsed } from '../src/config/parsed.ts';
import { parseSize } from '../src/config/size.ts';

/** A size such as `10GiB`, in bytes. @throws EdgeError USAGE */
export function sizeFlag(flag: string, text: string): number {
  return valueOrUsage(flag, parseSize(text));
}

/** Bytes per second, such as `10MiB/s`; more than 0. @throws EdgeError USAGE */
export function rateFlag(flag: string, text: string): number {
  const size = /^(.*)\/s$/.exec(text.trim())?.[1];
  const bytes = size === undefined ? undefined : parseSize(size);
  if (bytes?.kind !== 'ok' || bytes.value === 0)
    throw new EdgeError('USAGE', `${flag} takes a rate such as 10MiB/s, not ${JSON.stringify(text)}`);
  return bytes.value;
}

/** An integer of `range`. @throws EdgeError USAGE */
export function countFlag(flag: string, text: string, range: { readonly min: number; readonly max: number }): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= range.min && value <= range.max) return value;
  throw new EdgeError('USAGE', `${flag} takes a number from ${range.min} to ${range.max}, not ${JSON.stringify(text)}`);
}

function valueOrUsage<Value>(flag: string, value: Parsed<Value>): Value {
  if (value.kind === 'ok') return value.value;
  throw new EdgeError('USAGE', `${flag} ${value.message}`);
}
