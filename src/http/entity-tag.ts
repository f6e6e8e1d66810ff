/**
 * Entity tags (RFC 9110 s8.8.3): parsing one, parsing the lists of If-Match and If-None-Match, and the two comparisons. A tag that breaks
 * the grammar (without quotes, say) is no tag: it never matches and never makes two responses parts of one.
 */

/** A parsed tag. `opaque` keeps its quotes. */
export interface EntityTag {
  readonly isWeak: boolean;
  readonly opaque: string;
}

const ENTITY_TAG = /^(W\/)?("[\x21\x23-\x7e\x80-\xff]*")$/;
/** One list member from where the last ended: a tag, or whatever stands there instead, up to the next comma. */
const LIST_MEMBER = /[ \t]*(?:(W\/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)|[^,]*)(?:,|$)/y;

/** The tag, or undefined when `text` is not exactly one. `W` is case-sensitive. */
export function parseEntityTag(text: string): EntityTag | undefined {
  const match = ENTITY_TAG.exec(text);
  if (match === null) return undefined;
  return { isWeak: match[1] !== undefined, opaque: match[2] ?? '' };
}

/** The members of an If-Match or If-None-Match value: `*`, or the well-formed tags of the list (others cannot match and are left out). */
export function parseEntityTagList(value: string): '*' | readonly EntityTag[] {
  if (value.trim() === '*') return '*';
  const tags: EntityTag[] = [];
  LIST_MEMBER.lastIndex = 0;
  while (LIST_MEMBER.lastIndex < value.length) {
    const match = LIST_MEMBER.exec(value);
    if (match === null) break;
    if (match[2] !== undefined) tags.push({ isWeak: match[1] !== undefined, opaque: match[2] });
  }
  return tags;
}

/** Strong comparison (RFC 9110 s8.8.3.2): equal and neither is weak, so the bytes are equal. */
export function matchesStrongly(one: EntityTag, other: EntityTag): boolean {
  return !one.isWeak && !other.isWeak && one.opaque === other.opaque;
}

/** Weak comparison (RFC 9110 s8.8.3.2): equal but for a `W/`, so one will do for the other as a whole. */
export function matchesWeakly(one: EntityTag, other: EntityTag): boolean {
  return one.opaque === other.opaque;
}
