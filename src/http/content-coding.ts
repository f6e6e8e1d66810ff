/**
 * Content codings (RFC 9110 s8.4.1) and what a client accepts of them (s12.5.3), brought to one of a few normal forms, so that requests
 * that mean the same share what is stored. Only br, zstd and gzip are told apart; other codings are neither asked for nor stored.
 */
import { type FieldList, fieldValue, splitList, trimWhitespace } from './header-fields.ts';
import { parseWeight } from './weighted-list.ts';

/** Best first, where a client likes several alike. */
const CODINGS = ['br', 'zstd', 'gzip'] as const;
/** How a representation is coded; `identity` is not at all. */
export type ContentCoding = 'identity' | (typeof CODINGS)[number];

/** RFC 9110 s8.4.1.3. */
const ALIASES: Readonly<Record<string, string>> = { 'x-gzip': 'gzip' };
const IDENTITY_REFUSED = 'identity;q=0';

/** The coding of a response; undefined when it is one that is not known here, or several on top of each other. */
export function contentCodingOf(fields: FieldList): ContentCoding | undefined {
  const value = fieldValue(fields, 'content-encoding');
  const codings = value === undefined ? [] : splitList(value.toLowerCase()).filter((coding) => coding !== 'identity');
  if (codings.length > 1) return undefined;
  return codings[0] === undefined ? 'identity' : CODINGS.find((known) => known === aliased(codings[0] ?? ''));
}

/**
 * Accept-Encoding in its normal form: the best coding that the client accepts, gzip behind it where that will do too (there are origins
 * that know no other), or `identity`. A client that says nothing is asked for identity: it may not be able to decode (s12.5.3 allows both).
 *
 * @returns `identity`, or one of [br, zstd, gzip, `br, gzip`, `zstd, gzip`], with `identity;q=0` at the end when the client refuses that
 */
export function normaliseAcceptEncoding(value: string | undefined): string {
  const weights = weightsOf(value ?? '');
  const others = weights.get('*') ?? 0;
  const weightOf = (coding: string): number => weights.get(coding) ?? others;
  const best = CODINGS.reduce((found, coding) => (weightOf(coding) > weightOf(found) ? coding : found));
  const isIdentityRefused = (weights.get('identity') ?? weights.get('*')) === 0;
  const isCoded = weightOf(best) > 0 && weightOf(best) >= (weights.get('identity') ?? 0);
  const members: string[] = isCoded ? [best] : [];
  if (isCoded && best !== 'gzip' && weightOf('gzip') > 0) members.push('gzip');
  if (isIdentityRefused) members.push(IDENTITY_REFUSED);
  return members.length === 0 ? 'identity' : members.join(', ');
}

/** Which codings an answer to a request with this normal form may have. */
export function codingsIn(normalForm: string): readonly ContentCoding[] {
  const members = splitList(normalForm);
  const codings: ContentCoding[] = CODINGS.filter((coding) => members.includes(coding));
  return members.includes(IDENTITY_REFUSED) ? codings : [...codings, 'identity'];
}

/** Weights by coding; of several for one the first counts, and one that is malformed makes the member count for nothing. */
function weightsOf(value: string): ReadonlyMap<string, number> {
  const weights = new Map<string, number>();
  for (const member of splitList(value.toLowerCase())) {
    const [coding = '', parameter, ...rest] = member.split(';').map(trimWhitespace);
    const weight = parameter === undefined ? 1 : parseWeight(parameter);
    if (rest.length > 0 || weight === undefined) continue;
    const name = aliased(coding);
    if (!weights.has(name)) weights.set(name, weight);
  }
  return weights;
}

function aliased(coding: string): string {
  return ALIASES[coding] ?? coding;
}
