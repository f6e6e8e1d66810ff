/**
 * Which of several representations a request selects (RFC 9111 s4.1): the values of the request fields that Vary names, each in its normal
 * form, and the keys made of them. Two requests share a variant only if they select alike. Pure.
 */

import type { ObjectHash } from '../format/manifest.ts';
import { type ContentCoding, contentCodingOf, normaliseAcceptEncoding } from '../http/content-coding.ts';
import { type FieldList, fieldLines, fieldValue, hasField, isToken, splitList } from '../http/header-fields.ts';
import { normaliseWeightedList } from '../http/weighted-list.ts';
import { type CacheKey, hashKeyText, MAX_KEY_BYTES } from './cache-key.ts';
import type { SiteRule } from './site-rule.ts';

/** Fields that one Vary may name; more are a mistake, or an attack. */
export const VARYING_FIELDS_MAX = 8;
const ACCEPT_ENCODING = 'accept-encoding';
/** Stands in no key and in no field value, so that what is behind it cannot be forged. */
const SEPARATOR = '\n';

/**
 * Fields of which the origin does not see what the client sent: this cache writes them itself, or they belong to one connection, one
 * message or one range. What varies on them is not stored.
 */
const NOT_SELECTING: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'content-length',
  'expect',
  'via',
  'cdn-loop',
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'range',
  'if-range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
]);
/** Who has one of these gets an answer of his own; those without share one. */
const PERSONAL: ReadonlySet<string> = new Set(['cookie', 'authorization']);

/** What a request selects. */
export interface Selection {
  /** The fields that select, present or absent. */
  readonly names: readonly string[];
  /** One line for each field: its name, and `=` and its normal form unless it is absent. */
  readonly text: string;
  /** The fields to ask the origin with, in their normal form. */
  readonly fields: FieldList;
}

/**
 * The request fields that select among representations of the resource, by a response: lower-case, sorted, each once; none when there is
 * only this one. Encoded content is one of several even if the origin forgets to say so (RFC 9110 s8.8.3.3).
 *
 * @returns undefined when the response fits no other request: `*` on any line (RFC 9111 s4.1), a field that selects nothing here, too many
 */
export function varyingFields(fields: FieldList, rule: SiteRule): readonly string[] | undefined {
  const names = new Set(splitList(fieldLines(fields, 'vary').join().toLowerCase()));
  for (const name of names) if (name === '*' || !isToken(name) || NOT_SELECTING.has(name)) return undefined;
  if (contentCodingOf(fields) !== 'identity') names.add(ACCEPT_ENCODING);
  // Every client is given identity there, so that there is nothing to tell apart.
  else if (rule.encodings === 'identity') names.delete(ACCEPT_ENCODING);
  return names.size > VARYING_FIELDS_MAX ? undefined : [...names].sort();
}

/** What a request with these fields selects among what varies on `names`; undefined when the answer would be for this client only. */
export function selectionOf(names: readonly string[], requestFields: FieldList): Selection | undefined {
  const lines: string[] = [];
  const fields: [string, string][] = [];
  for (const name of names) {
    if (PERSONAL.has(name) && hasField(requestFields, name)) return undefined;
    const value = normalForm(name, fieldValue(requestFields, name));
    lines.push(value === undefined ? name : `${name}=${value}`);
    if (value !== undefined) fields.push([name, value]);
  }
  return { names, text: lines.join(SEPARATOR), fields };
}

/** The selection's hash among those of one marker: who asks alike waits for one answer. */
export function selectionHash(primaryKeyText: string, generation: number, selection: Selection): ObjectHash {
  return hashKeyText([primaryKeyText, generation, '?', selection.text].join(SEPARATOR));
}

/**
 * The key of the variant that a selection led to. Codings are told apart by what came, not by what was accepted, so that what every client
 * gets alike is stored once.
 *
 * @param generation of the marker: what was stored under an earlier one is out of reach, which is how a purge of the resource covers all
 * @returns undefined when it is longer than a key may be
 */
export function variantKey(
  primaryKeyText: string,
  generation: number,
  selected: { readonly selection: Selection; readonly coding: ContentCoding },
): CacheKey | undefined {
  const lines = selected.selection.text
    .split(SEPARATOR)
    .map((line) => (line.startsWith(`${ACCEPT_ENCODING}=`) ? `${ACCEPT_ENCODING}=${selected.coding}` : line));
  const keyText = [primaryKeyText, generation, ...lines].join(SEPARATOR);
  return Buffer.byteLength(keyText) > MAX_KEY_BYTES ? undefined : { keyText, objectHash: hashKeyText(keyText) };
}

/** The key text of the resource that a variant, or an object that does not vary, belongs to. */
export function primaryKeyText(keyText: string): string {
  return keyText.split(SEPARATOR, 1)[0] ?? keyText;
}

/** A key text in one line, for people. */
export function printableKeyText(keyText: string): string {
  return keyText.replaceAll(SEPARATOR, ' ');
}

/** The fields of a request, with those that select in the place of its own; `coding` when only that one will do. */
export function withSelection(fields: FieldList, selection: Selection, coding?: ContentCoding | undefined): FieldList {
  if (coding === undefined && selection.names.every((name) => fieldValue(fields, name) === fieldValue(selection.fields, name)))
    return fields;
  const selected = selection.fields.map(([name, value]) => [name, name === ACCEPT_ENCODING ? (coding ?? value) : value] as const);
  return [...fields.filter(([name]) => !selection.names.includes(name)), ...selected];
}

function normalForm(name: string, value: string | undefined): string | undefined {
  switch (name) {
    case ACCEPT_ENCODING:
      return normaliseAcceptEncoding(value);
    // RFC 9110 s12.5.1: without the field any media type will do.
    case 'accept':
      return normaliseWeightedList(value ?? '*/*');
    case 'accept-language':
    case 'accept-charset':
      return value === undefined ? undefined : normaliseWeightedList(value);
    default:
      return value;
  }
}
