/**
 * Cache groups (RFC 9875): which groups a response is in, and which of them the answer to an unsafe method invalidates. A group belongs to its
 * site. It is kept as a tag that no origin can send: tags have no space. Pure.
 */
import { hash } from 'node:crypto';
import { type FieldList, fieldValue } from '../http/header-fields.ts';
import { parseStructuredList } from '../http/structured-field.ts';

/** Field that names the groups of a response. */
export const GROUPS_FIELD = 'cache-groups';
const INVALIDATION_FIELD = 'cache-group-invalidation';
/** Groups that one answer may invalidate; the RFC asks for 32 (s2). Each is a purge of its own. */
export const INVALIDATED_GROUPS_MAX = 128;
const SITE_DIGITS = 16;

/** The groups of a response, as tags of the site. */
export function groupTags(fields: FieldList, siteName: string): readonly string[] {
  return groupsIn(fields, GROUPS_FIELD).map((group) => groupTag(group, siteName));
}

/**
 * The tags of the groups that a response to an unsafe method invalidates (s3), each once; on one to a safe method the field does not count.
 *
 * @returns `excess`: groups past INVALIDATED_GROUPS_MAX, which are not among the tags
 */
export function invalidatedGroupTags(fields: FieldList, siteName: string): { readonly tags: readonly string[]; readonly excess: number } {
  const groups = [...new Set(groupsIn(fields, INVALIDATION_FIELD))];
  const tags = groups.slice(0, INVALIDATED_GROUPS_MAX).map((group) => groupTag(group, siteName));
  return { tags, excess: groups.length - tags.length };
}

/** The site's name is shortened, since it stands in each tag; should two names come out alike, more is invalidated than was meant. */
function groupTag(group: string, siteName: string): string {
  return `${hash('sha256', siteName, 'hex').slice(0, SITE_DIGITS)} ${group}`;
}

/** A List of Strings; whatever else the field is, it does not count at all (RFC 9651 s4.2). Compared case by case, character for character. */
function groupsIn(fields: FieldList, name: string): readonly string[] {
  const text = fieldValue(fields, name);
  const members = text === undefined ? undefined : parseStructuredList(text);
  if (members === undefined) return [];
  const groups = members.flatMap((member) => (member.kind === 'string' ? [member.value] : []));
  return groups.length === members.length ? groups : [];
}
