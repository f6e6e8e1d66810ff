/**
 * The marker of a resource whose responses vary: what is stored under its key in the place of a response. It names the request fields that
 * select, and says to which variant each selection led so far. Its generation is part of the variants' keys, so that they live and die with
 * it: a purge of the resource covers the marker, and nothing leads to the variants any more. On disk it is a manifest without bytes and
 * with a status that no response has.
 */
import { assert } from '../base/assert.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import { U48_MAX } from '../format/manifest-record.ts';
import type { ContentCoding } from '../http/content-coding.ts';
import { type FieldList, fieldLines, fieldValue, splitList } from '../http/header-fields.ts';

/** The status of a marker's manifest. */
export const MARKER_STATUS = 0;

/** A selection that was met, and where it led. */
export interface KnownVariant {
  /** As selectionHash() makes it. */
  readonly selectionHash: ObjectHash;
  readonly coding: ContentCoding;
  readonly objectHash: ObjectHash;
}

/** What is known of a resource that varies. Immutable. */
export interface VariantMarker {
  readonly generation: number;
  /** As varyingFields() gives them. */
  readonly names: readonly string[];
  /** The oldest first. */
  readonly known: readonly KnownVariant[];
  /** Variants received until then, wall-clock, are stale: the resource was purged softly. */
  readonly staleUntilMs: number;
}

/** The resource that a marker speaks of, and when. */
export interface MarkedResource {
  readonly objectHash: ObjectHash;
  readonly keyText: string;
  readonly sliceSizeBytes: number;
  readonly nowMs: number;
}

/** Whether the manifest is a marker, and no response. */
export function isMarker(manifest: Manifest): boolean {
  return manifest.status === MARKER_STATUS;
}

/** The marker that a manifest is, of which isMarker() is true. A soft purge has made it stale, which is told of its variants. */
export function markerOf(manifest: Manifest): VariantMarker {
  assert(isMarker(manifest), 'only a marker is read as one');
  const { generation, fields, freshUntilMs } = manifest;
  const staleUntilMs = Number(fieldValue(fields, 'stale-until') ?? 0);
  return {
    generation,
    names: splitList(fieldValue(fields, 'vary') ?? ''),
    known: fieldLines(fields, 'variant').map(knownVariant),
    staleUntilMs: isTouched(manifest) ? Math.max(staleUntilMs, freshUntilMs) : staleUntilMs,
  };
}

/** Whether a soft purge has come since the marker was written; until it is written again a later one could not be told from it. */
export function isTouched(manifest: Manifest): boolean {
  return manifest.freshUntilMs < U48_MAX;
}

/** The marker as it is stored. */
export function markerManifest(marker: VariantMarker, resource: MarkedResource): Manifest {
  const { generation, names, known, staleUntilMs } = marker;
  const { objectHash, keyText, sliceSizeBytes, nowMs } = resource;
  const fields: FieldList = [
    ['vary', names.join(', ')],
    ...(staleUntilMs === 0 ? [] : [['stale-until', String(staleUntilMs)] as const]),
    ...known.map((variant) => ['variant', `${variant.selectionHash} ${variant.objectHash} ${variant.coding}`] as const),
  ];
  return {
    generation,
    objectHash,
    keyText,
    status: MARKER_STATUS,
    fields,
    tags: [],
    lengthBytes: 0,
    sliceSizeBytes,
    receivedAtMs: nowMs,
    initialAgeSeconds: 0,
    freshUntilMs: U48_MAX,
  };
}

/** The variant as the marker makes it: stale when a soft purge of the resource came after it. */
export function variantManifest(manifest: Manifest, marker: VariantMarker): Manifest {
  const { receivedAtMs, freshUntilMs } = manifest;
  if (receivedAtMs > marker.staleUntilMs || freshUntilMs <= marker.staleUntilMs) return manifest;
  return { ...manifest, freshUntilMs: marker.staleUntilMs };
}

function knownVariant(text: string): KnownVariant {
  const [selection, object, coding] = text.split(' ');
  return { selectionHash: selection as ObjectHash, objectHash: object as ObjectHash, coding: coding as ContentCoding };
}
