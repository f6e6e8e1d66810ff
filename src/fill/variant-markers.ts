/**
 * The markers of resources whose responses vary: found in the store, made and extended by the origin's answers. The store's word counts:
 * a marker that it had and has no more was purged or evicted. Only one that it would not take is kept in memory alone, so that requests
 * still share what is being fetched; its variants are not stored, since no purge on a device would reach them. object-resolver.ts owns it.
 */
import { RecentMarkers } from '../cache/recent-markers.ts';
import { selectionHash, selectionOf, VARYING_FIELDS_MAX, variantKey, withSelection } from '../cache/variant-key.ts';
import { isMarker, isTouched, type KnownVariant, markerManifest, markerOf, type VariantMarker } from '../cache/variant-marker.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import type { ContentCoding } from '../http/content-coding.ts';
import type { FieldList } from '../http/header-fields.ts';
import type { Coverable } from '../store/purges/purge.ts';
import { type FillContext, type FillTarget, MARKERS_MAX } from './fill-context.ts';
import type { LiveObjects } from './live-objects.ts';

/** A response to a request for a resource that varies. */
export interface VaryingResponse {
  /** The resource, as it is asked for by those who select nothing. */
  readonly primary: FillTarget;
  /** The marker when the origin was asked, if there was one. */
  readonly marker: VariantMarker | undefined;
  /** What this response varies on. */
  readonly varying: readonly string[];
  /** As the origin was asked. */
  readonly sentFields: FieldList;
  readonly coding: ContentCoding;
  /** Newest purge when it was asked. */
  readonly purgeSequence: number;
  /** The resource was purged meanwhile: nobody else hears of the variant. */
  readonly isDetached: boolean;
}

/** Where a response belongs. */
export interface Placed {
  readonly target: FillTarget;
  /** Leads to it; undefined where the resource does not vary. */
  readonly marker: VariantMarker | undefined;
  /** `memory`: may be joined and not stored. `nobody`: neither. */
  readonly reach: 'store' | 'memory' | 'nobody';
}

/** The table of markers. */
export class VariantMarkers {
  readonly #context: FillContext;
  readonly #live: LiveObjects;
  readonly #recent = new RecentMarkers(MARKERS_MAX);

  constructor(context: FillContext, live: LiveObjects) {
    this.#context = context;
    this.#live = live;
  }

  /**
   * The resource's marker, or undefined when it has none.
   *
   * @param manifest      what is stored under the resource's key
   * @param purgeSequence newest purge before that was read
   */
  find(primary: FillTarget, manifest: Manifest | undefined, purgeSequence: number): VariantMarker | undefined {
    const recent = this.#recent.find(primary.objectHash);
    if (manifest === undefined && recent?.isStored === false) return recent.marker;
    if (manifest === undefined || !isMarker(manifest)) {
      this.#recent.delete(primary.objectHash);
      return undefined;
    }
    const newest = recent?.isStored === true && recent.marker.generation === manifest.generation ? recent.marker : undefined;
    if (newest !== undefined && !isTouched(manifest)) return newest;
    const stored = markerOf(manifest);
    const marker = newest === undefined ? stored : { ...newest, staleUntilMs: stored.staleUntilMs };
    if (isTouched(manifest)) this.#keep(primary, marker, purgeSequence);
    else this.#remember(primary, marker, true);
    return marker;
  }

  /** Whether it still leads anywhere: it was neither purged nor replaced. */
  isCurrent(primary: FillTarget, { generation }: VariantMarker): boolean {
    const stored = this.#context.store.findManifest(primary.objectHash);
    if (stored !== undefined) return stored.generation === generation;
    const recent = this.#recent.find(primary.objectHash);
    return recent?.isStored === false && recent.marker.generation === generation;
  }

  /** Whether a selection that the marker does not know may still get a variant: there is room, or one that may go. */
  hasRoom(primary: FillTarget, { known }: VariantMarker): boolean {
    return known.length < this.#context.variantsMax || this.#findVictim(primary, known) !== undefined;
  }

  /** A request led to the variant: others go first. */
  noteUse(primary: FillTarget, variant: KnownVariant): void {
    this.#recent.find(primary.objectHash)?.used.add(variant.objectHash);
  }

  /**
   * Finds the place of a response that varies, or that belongs to a resource which does: extends the marker, or makes a new one when the
   * response varies on more than was known (what was stored under the old one is then out of reach).
   *
   * @returns undefined when it may not be stored: as many variants as there may be are being read, or the key is too long
   */
  place(response: VaryingResponse): Placed | undefined {
    const { primary, sentFields, coding } = response;
    const marker = this.#markerFor(response);
    const selection = marker === undefined ? undefined : selectionOf(marker.names, sentFields);
    if (marker === undefined || selection === undefined) return undefined;
    const key = variantKey(primary.keyText, marker.generation, { selection, coding });
    if (key === undefined) return this.#refuse();
    const target = { ...primary, ...key, fields: withSelection(primary.fields, selection, coding) };
    const variant = { selectionHash: selectionHash(primary.keyText, marker.generation, selection), coding, objectHash: key.objectHash };
    const known = this.#withVariant(primary, marker.known, variant);
    if (known === undefined) return this.#refuse();
    const extended = known === marker.known ? marker : { ...marker, known };
    if (response.isDetached) return { target, marker: extended, reach: 'nobody' };
    return { target, marker: extended, reach: this.#keep(primary, extended, response.purgeSequence) };
  }

  /** The resources that match were purged. */
  forget(matches: (object: Coverable) => boolean): void {
    this.#recent.deleteAll((resource) => matches({ ...resource, tags: [] }));
  }

  /** The newest marker that leads anywhere, if that covers what the response varies on, else a new one. */
  #markerFor({ primary, marker, varying, isDetached }: VaryingResponse): VariantMarker | undefined {
    const newest = [this.#recent.find(primary.objectHash)?.marker, marker].find((one) => one !== undefined && this.isCurrent(primary, one));
    const base = isDetached ? marker : newest;
    const names = [...new Set([...(base?.names ?? []), ...varying])].sort();
    if (names.length > VARYING_FIELDS_MAX) return undefined;
    if (base !== undefined && names.length === base.names.length) return base;
    return { generation: this.#context.store.nextGeneration(), names, known: [], staleUntilMs: 0 };
  }

  /** With one more variant, or one that leads elsewhere now; in the place of another one when there is no room else. */
  #withVariant(primary: FillTarget, known: readonly KnownVariant[], variant: KnownVariant): readonly KnownVariant[] | undefined {
    const old = known.find((other) => other.selectionHash === variant.selectionHash);
    if (old?.objectHash === variant.objectHash) return known;
    const others = known.filter((other) => other !== old);
    if (others.length < this.#context.variantsMax) return [...others, variant];
    const victim = this.#findVictim(primary, others);
    if (victim === undefined) return undefined;
    const kept = [...others.filter((other) => other !== victim), variant];
    // Several selections may lead to one encoding.
    const isShared = kept.some(({ objectHash }) => objectHash === victim.objectHash);
    this.#displace(primary, victim, isShared);
    return kept;
  }

  /**
   * The variant that goes when there is no room: one that is gone already, else, of those that nobody reads now, the oldest that was not asked
   * for since the last one went, or just the oldest. So values that are sent once push out each other, and not what clients ask for.
   */
  #findVictim(primary: FillTarget, known: readonly KnownVariant[]): KnownVariant | undefined {
    const gone = known.find((variant) => this.#isGone(variant));
    if (gone !== undefined) return gone;
    const used = this.#recent.find(primary.objectHash)?.used;
    const idle = known.filter(({ objectHash }) => this.#live.findCurrent(objectHash) === undefined);
    return idle.find(({ objectHash }) => used?.has(objectHash) !== true) ?? idle[0];
  }

  /** What was stored of it is out of reach without its place in the marker, unless another selection leads there. */
  #displace(primary: FillTarget, { objectHash }: KnownVariant, isShared: boolean): void {
    const used = this.#recent.find(primary.objectHash)?.used;
    // Everybody has been asked for: from now on it counts who is again.
    if (used?.has(objectHash) === true) used.clear();
    if (isShared || this.#context.store.findManifest(objectHash) === undefined) return;
    this.#context.store.dropManifest(objectHash, undefined);
    this.#context.metrics.add('variantsReplaced');
  }

  #isGone({ objectHash }: KnownVariant): boolean {
    return this.#live.findCurrent(objectHash) === undefined && this.#context.store.findManifest(objectHash) === undefined;
  }

  #keep(primary: FillTarget, marker: VariantMarker, purgeSequence: number): Placed['reach'] {
    const { store, clock } = this.#context;
    const { objectHash, keyText, sliceSizeBytes } = primary;
    const manifest = markerManifest(marker, { objectHash, keyText, sliceSizeBytes, nowMs: clock.wallMs() });
    const offer = store.offerManifest(manifest, purgeSequence);
    const isPurged = offer.kind === 'declined' && offer.reason === 'purged';
    if (isPurged) return 'nobody';
    const isStored = offer.kind === 'admitted';
    // What was stored there before is not the one answer for all that it was taken for.
    if (!isStored) store.dropManifest(objectHash, undefined);
    this.#remember(primary, marker, isStored);
    return isStored ? 'store' : 'memory';
  }

  #remember({ objectHash, keyText }: FillTarget, marker: VariantMarker, isStored: boolean): void {
    const before = this.#recent.find(objectHash);
    const used = before?.marker.generation === marker.generation ? before.used : new Set<ObjectHash>();
    this.#recent.set(objectHash, { marker, keyText, isStored, used });
  }

  #refuse(): undefined {
    this.#context.metrics.add('variantsRefused');
    return undefined;
  }
}
