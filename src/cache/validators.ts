/**
 * Validators (RFC 9110 s8.8): what tells one version of an object from another. Only a strong one lets bytes of two responses be joined;
 * everything that is in doubt is weak.
 */
import { isStrongDate } from '../http/conditional.ts';
import { matchesStrongly, matchesWeakly, parseEntityTag } from '../http/entity-tag.ts';
import { type FieldList, fieldLines, fieldValue } from '../http/header-fields.ts';
import { parseHttpDate } from '../http/http-date.ts';

/** The validators of one response; a malformed field counts as absent. */
export interface Validators {
  /** The ETag field as sent, `W/` included. */
  readonly entityTag: string | undefined;
  readonly isStrongTag: boolean;
  readonly lastModified: { readonly text: string; readonly ms: number } | undefined;
  readonly dateMs: number | undefined;
}

/** A validator that changes whenever the bytes do; `value` is the field's text. */
export type StrongValidator = { readonly kind: 'etag' | 'last-modified'; readonly value: string };

/** Reads ETag, Last-Modified and Date. */
export function validatorsOf(fields: FieldList): Validators {
  const tagText = fieldValue(fields, 'etag');
  const tag = tagText === undefined ? undefined : parseEntityTag(tagText);
  const lastModifiedText = fieldValue(fields, 'last-modified');
  const lastModifiedMs = lastModifiedText === undefined ? undefined : parseHttpDate(lastModifiedText);
  return {
    entityTag: tag === undefined ? undefined : tagText,
    isStrongTag: tag !== undefined && !tag.isWeak,
    lastModified:
      lastModifiedText === undefined || lastModifiedMs === undefined ? undefined : { text: lastModifiedText, ms: lastModifiedMs },
    dateMs: dateOf(fields),
  };
}

/** The Date field, first of several lines; undefined when absent or malformed. */
export function dateOf(fields: FieldList): number | undefined {
  const text = fieldLines(fields, 'date')[0];
  return text === undefined ? undefined : parseHttpDate(text);
}

/** Whether there is anything to revalidate with: a tag, even a weak one, or a date. */
export function hasValidator(fields: FieldList): boolean {
  const { entityTag, lastModified } = validatorsOf(fields);
  return entityTag !== undefined || lastModified !== undefined;
}

/**
 * The response's strong validator: a strong tag (RFC 9110 s8.8.1), else, where there is no tag at all, a Last-Modified at least a second
 * before Date (s8.8.2.2). With a weak tag the origin says itself that it cannot vouch for the bytes, so its date is not asked.
 */
export function strongValidator(fields: FieldList): StrongValidator | undefined {
  const { entityTag, isStrongTag, lastModified, dateMs } = validatorsOf(fields);
  if (entityTag !== undefined) return isStrongTag ? { kind: 'etag', value: entityTag } : undefined;
  if (lastModified === undefined || !isStrongDate(lastModified.ms, dateMs)) return undefined;
  return { kind: 'last-modified', value: lastModified.text };
}

/** Whether Last-Modified is a strong validator, whatever tag stands beside it (RFC 9110 s8.8.2.2). */
export function hasStrongDate(fields: FieldList): boolean {
  const { lastModified, dateMs } = validatorsOf(fields);
  return lastModified !== undefined && isStrongDate(lastModified.ms, dateMs);
}

/** Whether both have the same strong validator, so that parts of one may complete the other (RFC 9111 s3.4, RFC 9110 s15.3.7.3). */
export function sameRepresentation(one: FieldList, other: FieldList): boolean {
  const first = strongValidator(one);
  const second = strongValidator(other);
  return first !== undefined && second !== undefined && first.kind === second.kind && first.value === second.value;
}

/**
 * Whether a 304 speaks of the stored response (RFC 9111 s4.3.4): its strong tag is the stored one, or its weak tag matches weakly, or its
 * date is the stored one; a 304 without validators answers the one question that was asked.
 */
export function confirmsStored(storedFields: FieldList, notModifiedFields: FieldList): boolean {
  const stored = validatorsOf(storedFields);
  const confirmed = validatorsOf(notModifiedFields);
  if (confirmed.entityTag !== undefined) {
    const newTag = parseEntityTag(confirmed.entityTag);
    const oldTag = stored.entityTag === undefined ? undefined : parseEntityTag(stored.entityTag);
    if (newTag === undefined || oldTag === undefined) return false;
    // A strong tag in the 304 against a weak one in store cannot promise these bytes, and the RFC forbids the update.
    return newTag.isWeak ? matchesWeakly(newTag, oldTag) : matchesStrongly(newTag, oldTag);
  }
  return confirmed.lastModified === undefined || confirmed.lastModified.ms === stored.lastModified?.ms;
}
