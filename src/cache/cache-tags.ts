/**
 * The tags that an origin gives a response, so that it can be purged together with others: Surrogate-Key, Cache-Tag and xkey, each a list
 * divided by commas or white space, and Cache-Groups. Pure. Used where responses are judged and renewed.
 */
import { TAGS_MAX } from '../format/manifest-record.ts';
import { type FieldList, fieldLines, hasField } from '../http/header-fields.ts';
import { GROUPS_FIELD, groupTags } from './cache-groups.ts';

/** Fields that carry tags: in responses, and in requests to purge by one. */
export const TAG_FIELDS = ['surrogate-key', 'cache-tag', 'xkey'] as const;
/** Characters of all tags together: the manifest's record has room for them beside its fields. */
const TAGS_CHARACTERS_MAX = 8192;

/** Whether the response says anything about tags. */
export function hasTagField(fields: FieldList): boolean {
  return hasField(fields, GROUPS_FIELD) || TAG_FIELDS.some((name) => hasField(fields, name));
}

/**
 * The tags of a response, each once, groups of the site among them. Bytes past ASCII are kept as the header has them.
 *
 * @returns undefined when there are more than a manifest can keep: a purge by one of those left out would not find the object
 */
export function tagsOf(fields: FieldList, siteName: string): readonly string[] | undefined {
  const tags = new Set(groupTags(fields, siteName));
  for (const name of TAG_FIELDS) {
    for (const line of fieldLines(fields, name)) {
      for (const tag of line.split(/[\s,]+/)) {
        if (tag !== '') tags.add(tag);
      }
    }
  }
  let characters = 0;
  for (const tag of tags) characters += tag.length;
  return tags.size > TAGS_MAX || characters > TAGS_CHARACTERS_MAX ? undefined : [...tags];
}
