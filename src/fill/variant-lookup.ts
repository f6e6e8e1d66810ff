/**
 * Where a request's answer is stored, or will be, and how the origin is asked for it: under the resource's own key, or under that of the
 * variant that the request selects (RFC 9111 s4.1). object-resolver.ts asks it for every request.
 */
import { selectionHash, selectionOf, variantKey, withSelection } from '../cache/variant-key.ts';
import { type VariantMarker, variantManifest } from '../cache/variant-marker.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import type { FieldList } from '../http/header-fields.ts';
import type { FillContext, FillTarget } from './fill-context.ts';
import type { ResolveRequest } from './resolve-request.ts';
import type { VariantMarkers } from './variant-markers.ts';

/** What selects while it is not known what the resource varies on: what a client can decode is the one thing worth to be asked for at once. */
const FIRST_NAMES = ['accept-encoding'];

/** Where a request leads. */
export interface Place {
  readonly kind: 'place';
  /** The variant, or the resource itself while it is not known to which variant the request leads. */
  readonly target: FillTarget;
  readonly manifest: Manifest | undefined;
  readonly marker: VariantMarker | undefined;
  /** Those who ask alike wait for one answer. */
  readonly questionHash: ObjectHash;
  /** To ask the origin with. */
  readonly askFields: FieldList;
}

/** `again`: purged while it was looked for. `pass`: the answer would be for this client only. */
export type PlaceVerdict = Place | { readonly kind: 'again' } | { readonly kind: 'pass' };

/** Finds what is stored under a key, in use or on a device. */
export type ManifestFinder = (objectHash: ObjectHash, signal: AbortSignal) => Promise<Manifest | undefined>;

/** Finds the place of a request. */
export class VariantLookup {
  readonly #context: FillContext;
  readonly #markers: VariantMarkers;
  readonly #findManifest: ManifestFinder;

  constructor(context: FillContext, markers: VariantMarkers, findManifest: ManifestFinder) {
    this.#context = context;
    this.#markers = markers;
    this.#findManifest = findManifest;
  }

  async locate(request: ResolveRequest): Promise<PlaceVerdict> {
    const { target: primary, signal, selectingFields } = request;
    const { purgeSequence } = this.#context.store;
    const found = await this.#findManifest(primary.objectHash, signal);
    const marker = this.#markers.find(primary, found, purgeSequence);
    if (marker === undefined) return unmarkedPlace(request, found);
    const selection = selectionOf(marker.names, selectingFields);
    if (selection === undefined) return { kind: 'pass' };
    const askFields = withSelection(primary.fields, selection);
    const asked = selectionHash(primary.keyText, marker.generation, selection);
    const known = marker.known.find((variant) => variant.selectionHash === asked);
    const key = known === undefined ? undefined : variantKey(primary.keyText, marker.generation, { selection, coding: known.coding });
    if (known === undefined || key === undefined) {
      if (this.#markers.hasRoom(primary, marker))
        return { kind: 'place', target: primary, manifest: undefined, marker, questionHash: asked, askFields };
      this.#context.metrics.add('variantsRefused');
      return { kind: 'pass' };
    }
    this.#markers.noteUse(primary, known);
    const target = { ...primary, ...key, fields: withSelection(primary.fields, selection, known.coding) };
    const stored = await this.#findManifest(key.objectHash, signal);
    if (!this.#markers.isCurrent(primary, marker)) return { kind: 'again' };
    const manifest = stored === undefined ? undefined : variantManifest(stored, marker);
    return { kind: 'place', target, manifest, marker, questionHash: key.objectHash, askFields };
  }
}

/** Whether a request leads to this variant. */
export function selects(request: ResolveRequest, marker: VariantMarker, objectHash: ObjectHash): boolean {
  const selection = selectionOf(marker.names, request.selectingFields);
  if (selection === undefined) return false;
  const asked = selectionHash(request.target.keyText, marker.generation, selection);
  return marker.known.some((variant) => variant.selectionHash === asked && variant.objectHash === objectHash);
}

/** Of a resource that is not known to vary. Parts of it are asked for unencoded: an encoding made on the way has no parts to offer. */
function unmarkedPlace({ target, ranges, selectingFields }: ResolveRequest, manifest: Manifest | undefined): Place {
  const selection = manifest === undefined && ranges.length === 0 ? selectionOf(FIRST_NAMES, selectingFields) : undefined;
  const askFields = selection === undefined ? target.fields : withSelection(target.fields, selection);
  return { kind: 'place', target, manifest, marker: undefined, questionHash: target.objectHash, askFields };
}
