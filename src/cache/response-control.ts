/**
 * The directives that hold for a response in this cache: those of the first valid field of our target list (RFC 9213), else Cache-Control.
 * Everything that decides by a response's directives asks here.
 */
import { CacheControl, cacheControlOf } from '../http/cache-control.ts';
import { type FieldList, fieldValue } from '../http/header-fields.ts';
import { parseStructuredDictionary, type StructuredMember } from '../http/structured-field.ts';

/** The target list (RFC 9213 s2.2), most specific first. The fields are stored and sent on like any other. */
export const TARGETED_FIELDS = ['rawslice-cache-control', 'cdn-cache-control'] as const;

/** The directives, and where they stand. */
export interface ResponseControl {
  readonly control: CacheControl;
  /** They come from a targeted field, so Cache-Control and Expires have no say (RFC 9213 s2.2). */
  readonly isTargeted: boolean;
}

/** What each known directive may have as a value; the argument of others is not looked at. */
const SECONDS: ReadonlySet<string> = new Set(['max-age', 's-maxage', 'stale-while-revalidate', 'stale-if-error']);
const FIELD_NAMES: ReadonlySet<string> = new Set(['no-cache', 'private']);
const BARE: ReadonlySet<string> = new Set([
  'immutable',
  'must-revalidate',
  'must-understand',
  'no-store',
  'no-transform',
  'proxy-revalidate',
  'public',
]);

/** Reads the directives of a response. */
export function responseControl(fields: FieldList): ResponseControl {
  for (const name of TARGETED_FIELDS) {
    const value = fieldValue(fields, name);
    const control = value === undefined ? undefined : parseTargetedControl(value);
    if (control !== undefined) return { control, isTargeted: true };
  }
  return { control: cacheControlOf(fields), isTargeted: false };
}

/** @returns undefined when the field is empty, is no Dictionary, or gives a known directive a value of the wrong type: it is ignored then */
export function parseTargetedControl(value: string): CacheControl | undefined {
  const members = parseStructuredDictionary(value);
  if (members === undefined || members.size === 0) return undefined;
  const directives = new Map<string, string | true>();
  for (const [name, member] of members) {
    const argument = argumentOf(name, member);
    if (argument === undefined) return undefined;
    directives.set(name, argument);
  }
  return new CacheControl(directives);
}

function argumentOf(name: string, member: StructuredMember): string | true | undefined {
  if (SECONDS.has(name)) return member.kind === 'integer' ? String(member.value) : undefined;
  const isBare = member.kind === 'boolean' && member.value;
  if (BARE.has(name)) return isBare ? true : undefined;
  if (FIELD_NAMES.has(name) && !isBare) return member.kind === 'string' || member.kind === 'token' ? member.value : undefined;
  return true;
}
