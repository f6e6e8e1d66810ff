/**
 * What the answer to a HEAD says about a stored response to a GET (RFC 9111 s4.3.5). Pure. Asked for each such answer that comes from the origin
 * while something is stored.
 */
import { type FieldList, fieldValue } from '../http/header-fields.ts';
import { isMissing, isSliced } from './status-policy.ts';
import { validatorsOf } from './validators.ts';

/** `same`: its fields update what is stored. `other`: what is stored is stale. `silent`: it says nothing about it. */
export type HeadComparison = 'same' | 'other' | 'silent';

/** The head of the answer. */
export interface HeadAnswer {
  readonly status: number;
  readonly fields: FieldList;
  /** Of Content-Length; undefined when it has none. */
  readonly lengthBytes: number | undefined | 'invalid';
}

/**
 * Every validator that came, and the length, must be those of what is stored. Where no validator came nothing is confirmed, whatever the length:
 * equal lengths are no proof of equal bytes.
 *
 * @param stored a manifest
 */
export function compareHead(
  stored: { readonly status: number; readonly fields: FieldList; readonly lengthBytes: number | undefined },
  answer: HeadAnswer,
): HeadComparison {
  if (!isSliced(stored.status)) return answer.status === 200 ? 'other' : 'silent';
  if (answer.status !== 200) return isMissing(answer.status) ? 'other' : 'silent';
  const { entityTag, lastModified } = validatorsOf(answer.fields);
  if (entityTag === undefined && lastModified === undefined) return 'other';
  const known = validatorsOf(stored.fields);
  const isSameTag = entityTag === undefined || entityTag === known.entityTag;
  const isSameDate = lastModified === undefined || lastModified.ms === known.lastModified?.ms;
  const isSameLength = answer.lengthBytes === undefined || answer.lengthBytes === stored.lengthBytes;
  const isSameCoding = fieldValue(answer.fields, 'content-encoding') === fieldValue(stored.fields, 'content-encoding');
  return isSameTag && isSameDate && isSameLength && isSameCoding ? 'same' : 'other';
}
