/**
 * What a 304 does to a manifest (RFC 9111 s3.2, s4.3.4): its fields replace the stored ones, and freshness begins anew. The caller has
 * made sure with confirmsStored (validators.ts) that the 304 speaks of this response. The bytes, and so the generation, stay.
 */
import type { Manifest } from '../format/manifest.ts';
import { type FieldList, fieldsSizeBytes } from '../http/header-fields.ts';
import { siteNameOf } from './cache-key.ts';
import { hasTagField, tagsOf } from './cache-tags.ts';
import { freshnessOf } from './freshness.ts';
import { MAX_STORED_FIELDS_BYTES, storableFields } from './response-policy.ts';
import type { SiteRule } from './site-rule.ts';
import { strongValidator, validatorsOf } from './validators.ts';

/** The 304 and its times. */
export interface Renewal {
  readonly responseFields: FieldList;
  /** When the conditional request was sent, wall-clock. */
  readonly requestTimeMs: number;
  /** When the 304 arrived, wall-clock. */
  readonly responseTimeMs: number;
  readonly rule: SiteRule;
}

/** The manifest after a 304. */
export interface RenewedManifest {
  readonly manifest: Manifest;
  /** Whether fields or tags changed, so that the record on the device needs to be written again; freshness alone is kept in the index. */
  readonly isMetadataChanged: boolean;
}

/** RFC 9111 s3.2: these describe the stored bytes, which a 304 has not seen. */
const NOT_UPDATED: ReadonlySet<string> = new Set(['content-encoding', 'content-type']);

/**
 * Applies a 304. When the fields would outgrow the record, the stored ones stay and only the freshness is renewed.
 *
 * @returns undefined when the object has more tags now than can be kept, so that it may not be
 */
export function renewedManifest(manifest: Manifest, renewal: Renewal): RenewedManifest | undefined {
  const { responseFields, requestTimeMs, responseTimeMs, rule } = renewal;
  const updating = updatingFields(manifest.fields, storableFields(responseFields, rule));
  // Once more: what the stored Cache-Control withholds by name may have come with a 304 that does not repeat it.
  const merged = storableFields(mergeFields(manifest.fields, updating), rule);
  const { status } = manifest;
  const freshness = freshnessOf({ status, headFields: responseFields, storedFields: merged, requestTimeMs, responseTimeMs, rule });
  const fields = fieldsSizeBytes(merged) > MAX_STORED_FIELDS_BYTES ? manifest.fields : merged;
  const tags = hasTagField(responseFields) ? tagsOf([...merged, ...responseFields], siteNameOf(manifest.keyText)) : manifest.tags;
  if (tags === undefined) return undefined;
  const areTagsKept = JSON.stringify(tags) === JSON.stringify(manifest.tags);
  return {
    manifest: { ...manifest, ...freshness, fields, tags: areTagsKept ? manifest.tags : tags },
    isMetadataChanged: !areTagsKept || areFieldsChanged(manifest.fields, fields),
  };
}

/** The fields of the 304 that replace stored ones. */
function updatingFields(stored: FieldList, received: FieldList): FieldList {
  const isTagKept = validatorsOf(stored).isStrongTag;
  // A later Date must not turn a Last-Modified that was weak when the bytes came into a strong validator: the object may have changed in
  // that same second, and parts of the two versions would be joined (RFC 9110 s8.8.2.2).
  const isDateKept = strongValidator(stored) === undefined;
  return received.filter(([name]) => {
    if (NOT_UPDATED.has(name)) return false;
    // The 304 matched, so its tag is the stored one or its weak form, which would take the strength of the stored one away.
    if (name === 'etag') return !isTagKept;
    return name !== 'date' || !isDateKept;
  });
}

/** Lines of an updated field take the place of its first stored line; fields that are new come last. */
function mergeFields(stored: FieldList, updating: FieldList): FieldList {
  const updated = new Set(updating.map(([name]) => name));
  const merged: (readonly [string, string])[] = [];
  const placed = new Set<string>();
  for (const field of stored) {
    const name = field[0];
    if (!updated.has(name)) merged.push(field);
    else if (!placed.has(name)) {
      placed.add(name);
      merged.push(...updating.filter(([other]) => other === name));
    }
  }
  merged.push(...updating.filter(([name]) => !placed.has(name)));
  return merged;
}

/** Date, Expires and lifetimes count as well: caches further down judge by them (RFC 9111 s4.2.3), and Age alone does not tell them all. */
function areFieldsChanged(before: FieldList, after: FieldList): boolean {
  return before !== after && JSON.stringify(before) !== JSON.stringify(after);
}
