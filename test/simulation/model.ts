/**
 * What a store may answer, whatever happens to it: absent is always legal, a wrong byte never (S5), what a purge acknowledged never comes
 * back (S8), what a drain made durable is found again after a crash (S6), and within one mount an object's older versions stay away (S9).
 * It knows nothing of disks or time; play.ts tells it what was asked and what came of it.
 */
import type { Manifest, ObjectHash } from '../../src/format/manifest.ts';
import { bodyBytes } from './bodies.ts';

/** The store told a lie; the play ends here. */
export class Violation extends Error {}

/** Throws a Violation unless `holds`. */
export function demand(holds: boolean, what: string | (() => string)): asserts holds {
  if (!holds) throw new Violation(typeof what === 'string' ? what : what());
}

/** One version of one object, as the model remembers it. */
export interface Version {
  readonly keyText: string;
  readonly objectHash: ObjectHash;
  readonly generation: number;
  readonly sliceSizeBytes: number;
  /** Length of the whole; the store may not know it yet. */
  readonly lengthBytes: number;
  /** Everything ever offered, oldest first; a read shows the record of one of those from `recordFrom` on, the freshness from `freshFrom` on. */
  readonly manifests: Manifest[];
  recordFrom: number;
  freshFrom: number;
  /** A soft purge was acknowledged: not even a crash brings back the freshness of those before this one. */
  freshFloor: number;
  /** A soft purge covered it. */
  isSoftened: boolean;
  /** Slices whose last offer in this mount was admitted, and which offer that was: durable ones are those not offered since. */
  readonly offers: Map<number, number>;
  /** The store has reason to write the record: it has a slice, or none to come. */
  isManifestDue: boolean;
  readonly durable: Set<number>;
  isManifestDurable: boolean;
  /** The store does not know its length: a crash ends it. */
  isGrowing: boolean;
  /** It must not be shown until the next crash. */
  isHidden: boolean;
  /** It must never be shown again. */
  isGone: boolean;
  /** Readers that began to hold it while it could be shown: to them its slices may be, although it is hidden. */
  readonly holds: Set<symbol>;
}

/** The oldest states that may show. */
export type ShownFrom = Pick<Version, 'recordFrom' | 'freshFrom'>;

/** What a barrier (a drain) began with; see Model.noteDurable. */
export interface Barrier {
  readonly offers: ReadonlyMap<
    Version,
    { readonly slices: ReadonlyMap<number, number>; readonly recordFrom: number; readonly isDue: boolean }
  >;
  readonly hidden: readonly Version[];
}

/** Where the model asks what the store still claims to have on the device. */
export interface Claims {
  /** What the index names for the slice, or for the manifest when `sliceNumber` is undefined; `unproved`: from before a crash, not read since. */
  extentState(generation: number, sliceNumber?: number | undefined): 'absent' | 'unproved' | 'sure';
}

/** What has to be found after a crash. */
export interface Expectation {
  readonly version: Version;
  readonly sliceNumbers: readonly number[];
}

/** Versions remembered of one key; the oldest that are gone are forgotten. */
const VERSIONS_PER_KEY_MAX = 24;

export class Model {
  readonly #versions = new Map<string, Version[]>();
  #generation = 0;
  #offerCount = 0;
  /** What soft purges were about, and when they came. */
  readonly #softPurges: { readonly covers: (version: Version) => boolean; readonly atMs: number }[] = [];
  bytesChecked = 0;

  *versions(): Generator<Version> {
    for (const versions of this.#versions.values()) yield* versions;
  }

  versionsOf(keyText: string): readonly Version[] {
    return this.#versions.get(keyText) ?? [];
  }

  /** The version that the store should have, if it has any. */
  current(keyText: string): Version | undefined {
    return this.versionsOf(keyText).findLast((version) => !version.isHidden && !version.isGone);
  }

  /** A number was given. */
  noteGeneration(generation: number): void {
    demand(generation > this.#generation, () => `generation ${generation} was given, ${this.#generation} was given before`);
    this.#generation = generation;
  }

  /** A manifest of a new generation was admitted: older versions are out of sight. */
  begin(manifest: Manifest, lengthBytes: number): Version {
    const { keyText, objectHash, generation, sliceSizeBytes } = manifest;
    const versions = this.#versions.get(keyText) ?? [];
    for (const older of versions) older.isHidden = true;
    const version: Version = {
      keyText,
      objectHash,
      generation,
      sliceSizeBytes,
      lengthBytes,
      manifests: [manifest],
      recordFrom: 0,
      freshFrom: 0,
      freshFloor: 0,
      isSoftened: false,
      offers: new Map(),
      isManifestDue: manifest.lengthBytes === 0,
      durable: new Set(),
      isManifestDurable: false,
      isGrowing: manifest.lengthBytes === undefined,
      isHidden: false,
      isGone: false,
      holds: new Set(),
    };
    versions.push(version);
    if (versions.length > VERSIONS_PER_KEY_MAX) versions.shift();
    this.#versions.set(keyText, versions);
    return version;
  }

  /** The same generation was offered anew, or refreshed: from now on this is what a read shows. */
  renew(version: Version, manifest: Manifest, isRewritten: boolean): void {
    version.manifests.push(manifest);
    version.freshFrom = version.manifests.length - 1;
    if (isRewritten) version.recordFrom = version.freshFrom;
    version.isGrowing = manifest.lengthBytes === undefined;
    if (!version.isGrowing && version.offers.size > 0) version.isManifestDue = true;
    // The old record's blocks are free once the new one is written: until a drain neither is sure.
    if (isRewritten) version.isManifestDurable = false;
  }

  hide(versions: Iterable<Version>): void {
    for (const version of versions) version.isHidden = true;
  }

  /** A purge of these is in force: whoever holds one holds nothing any more. */
  purge(versions: Iterable<Version>): void {
    for (const version of versions) {
      version.isHidden = true;
      version.holds.clear();
    }
  }

  /** Somebody reads it. @returns to be called when they have ended */
  hold(version: Version): () => void {
    const reader = Symbol(version.keyText);
    if (!version.isHidden && !version.isGone) version.holds.add(reader);
    return () => void version.holds.delete(reader);
  }

  /** Whether a slice of it may be shown. */
  isReadable(version: Version): boolean {
    return version.holds.size > 0 || !(version.isHidden || version.isGone);
  }

  /** A soft purge at `atMs`. @returns for bindFreshness(): where each version that it covers stands */
  makeStale(covers: (version: Version) => boolean, atMs: number): Map<Version, number> {
    const standing = new Map<Version, number>();
    this.#softPurges.push({ covers, atMs });
    for (const version of this.versions()) {
      if (!covers(version)) continue;
      const newest = version.manifests.at(-1);
      if (newest === undefined) continue;
      // The state that is covered is any of those that may show.
      const states = new Map(version.manifests.slice(version.freshFrom).map((known) => [freshnessOf(known), known]));
      version.freshFrom = version.manifests.length;
      for (const { receivedAtMs, initialAgeSeconds, freshUntilMs } of states.values()) {
        version.manifests.push({ ...newest, receivedAtMs, initialAgeSeconds, freshUntilMs: Math.min(freshUntilMs, atMs) });
      }
      version.isSoftened = true;
      standing.set(version, version.freshFrom);
    }
    return standing;
  }

  /** That soft purge was acknowledged. */
  bindFreshness(standing: ReadonlyMap<Version, number>): void {
    for (const [version, index] of standing) version.freshFloor = Math.max(version.freshFloor, index);
  }

  /** A purge of these was acknowledged. */
  bury(versions: Iterable<Version>): void {
    for (const version of versions) version.isGone = true;
  }

  /** A slice was offered. One that was declined may still be written, some time: then neither copy is sure. */
  noteOffer(version: Version, sliceNumber: number, isAdmitted: boolean): void {
    this.#offerCount += 1;
    version.durable.delete(sliceNumber);
    if (isAdmitted) version.offers.set(sliceNumber, this.#offerCount);
    else version.offers.delete(sliceNumber);
    if (isAdmitted && !version.isGrowing) version.isManifestDue = true;
  }

  beginBarrier(): Barrier {
    const versions = [...this.versions()];
    return {
      offers: new Map(
        versions.map((version) => [
          version,
          { slices: new Map(version.offers), recordFrom: version.recordFrom, isDue: version.isManifestDue },
        ]),
      ),
      hidden: versions.filter((version) => version.isHidden),
    };
  }

  /** A drain that began with `barrier` made everything durable that the store has on the device. */
  noteDurable(barrier: Barrier, claims: Claims): void {
    for (const version of barrier.hidden) if (version.isHidden) version.isGone = true;
    for (const [version, { slices, recordFrom, isDue }] of barrier.offers) {
      if (version.isHidden || version.isGone || version.recordFrom !== recordFrom || !isDue) continue;
      if (!this.#isManifestSure(version, claims)) continue;
      version.isManifestDurable = true;
      for (const [sliceNumber, count] of slices) {
        const isSame = version.offers.get(sliceNumber) === count;
        if (isSame && claims.extentState(version.generation, sliceNumber) === 'sure') version.durable.add(sliceNumber);
      }
    }
  }

  /** What a crash at this moment must leave. */
  expectations(claims: Claims): Expectation[] {
    const expected: Expectation[] = [];
    for (const version of this.versions()) {
      const isSure = version.isManifestDurable && !version.isHidden && !version.isGone;
      if (!isSure || claims.extentState(version.generation) === 'absent') continue;
      const sliceNumbers = [...version.durable].filter((sliceNumber) => claims.extentState(version.generation, sliceNumber) !== 'absent');
      expected.push({ version, sliceNumbers });
    }
    return expected;
  }

  /** The power failed: what is not expected may be back or not, and its blocks may hold something else. */
  crash(expected: readonly Expectation[]): void {
    const sure = new Map(expected.map(({ version, sliceNumbers }) => [version, sliceNumbers]));
    for (const version of this.versions()) {
      version.holds.clear();
      if (version.isGrowing) version.isGone = true;
      version.isHidden = version.isGone;
      version.recordFrom = 0;
      version.freshFrom = version.freshFloor;
      version.offers.clear();
      version.durable.clear();
      version.isManifestDurable = sure.has(version);
      for (const sliceNumber of sure.get(version) ?? []) version.durable.add(sliceNumber);
    }
  }

  /** Closed in order: what was hidden is gone, and what the store had on the device is sure. @returns what the next start has to find */
  close(claims: Claims, options: { readonly hasLostRecords: boolean }): Expectation[] {
    const expected: Expectation[] = [];
    for (const version of this.versions()) {
      version.holds.clear();
      if (version.isHidden || version.isGrowing) version.isGone = true;
      version.isHidden = version.isGone;
      version.offers.clear();
      if (options.hasLostRecords) version.recordFrom = 0;
      version.isManifestDurable = !version.isGone && this.#isManifestSure(version, claims);
      if (!version.isManifestDurable) continue;
      for (let sliceNumber = 0; sliceNumber < sliceCountOf(version); sliceNumber += 1) {
        const state = claims.extentState(version.generation, sliceNumber);
        if (state === 'sure') version.durable.add(sliceNumber);
        else if (state === 'absent') version.durable.delete(sliceNumber);
      }
      expected.push({ version, sliceNumbers: [...version.durable] });
    }
    return expected;
  }

  /** Growing ones have no record; one that a crash left may be a stale entry. */
  #isManifestSure(version: Version, claims: Claims): boolean {
    const state = claims.extentState(version.generation);
    return !version.isGrowing && (state === 'sure' || (state === 'unproved' && version.isManifestDurable));
  }

  /** Takes what the store does not claim out of what is sure. @returns whether nothing is left */
  forgetLost(version: Version, claims: Claims): boolean {
    for (const sliceNumber of [...version.durable]) {
      if (claims.extentState(version.generation, sliceNumber) === 'absent') version.durable.delete(sliceNumber);
    }
    if (claims.extentState(version.generation) !== 'absent') return false;
    version.isManifestDurable = false;
    version.durable.clear();
    return true;
  }

  /** Nothing from before may be shown: the disk was formatted anew. */
  forgetAll(): void {
    for (const version of this.versions()) version.isGone = true;
    this.#generation = 0;
  }

  /** Judges the object that the store says it has. @returns its version */
  judgeFound(keyText: string, generation: number, what: string): Version {
    const version = this.versionsOf(keyText).find((known) => known.generation === generation);
    demand(version !== undefined, () => `${what}: ${keyText} has generation ${generation}, which was never offered`);
    demand(!version.isGone, () => `${what}: ${keyText}/${generation} came back`);
    demand(!version.isHidden, () => `${what}: ${keyText}/${generation} is shown after it was purged, dropped or replaced`);
    return version;
  }

  /**
   * Judges a manifest that was read: record and freshness each as offered, the newest where nothing came between. They travel apart, so
   * after a crash an old record may show with a new freshness.
   *
   * @param options.mayBeOld whether a record that was to replace another may not have been written
   * @param options.recordFrom and freshFrom: what was the newest when the read began
   */
  judgeManifest(version: Version, manifest: Manifest, options: ShownFrom & { readonly mayBeOld: boolean; readonly what: string }): void {
    const records = version.manifests.slice(options.mayBeOld ? 0 : options.recordFrom).map(recordOf);
    // A soft purge by prefix or tag may be applied late, over a refresh that came after it, and counts since an earlier one of what it
    // covers, even if that came before the version: stale is always legal.
    const cuts = version.isSoftened ? this.#softPurges.filter(({ covers }) => covers(version)).map(({ atMs }) => atMs) : [];
    const times = version.manifests
      .slice(options.freshFrom)
      .flatMap((known) => [known, ...cuts.map((atMs) => ({ ...known, freshUntilMs: Math.min(known.freshUntilMs, atMs) }))])
      .map(freshnessOf);
    const title = `${options.what}: ${version.keyText}/${version.generation} shows`;
    demand(records.includes(recordOf(manifest)), () => `${title} the record ${recordOf(manifest)}, not one of ${records.join(' ')}`);
    demand(times.includes(freshnessOf(manifest)), () => `${title} the freshness ${freshnessOf(manifest)}, not one of ${times.join(' ')}`);
  }

  /** Judges bytes that were read. */
  judgeBytes(version: Version, sliceNumber: number, range: { readonly startBytes: number; readonly bytes: Buffer }): void {
    const { startBytes, bytes } = range;
    const whole = bodyBytes({ ...version, sliceNumber }, sliceLengthOf(version, sliceNumber));
    const isRight = whole.subarray(startBytes, startBytes + bytes.length).equals(bytes);
    demand(isRight, () => `wrong bytes for ${version.keyText}/${version.generation}/${sliceNumber} from ${startBytes}`);
    this.bytesChecked += bytes.length;
  }
}

/** Bytes of slice `sliceNumber`. */
export function sliceLengthOf(version: Pick<Version, 'sliceSizeBytes' | 'lengthBytes'>, sliceNumber: number): number {
  return Math.min(version.sliceSizeBytes, version.lengthBytes - sliceNumber * version.sliceSizeBytes);
}

/** Slices of the whole. */
export function sliceCountOf(version: Pick<Version, 'sliceSizeBytes' | 'lengthBytes'>): number {
  return Math.ceil(version.lengthBytes / version.sliceSizeBytes);
}

function recordOf(manifest: Manifest): string {
  const { generation, objectHash, keyText, status, fields, lengthBytes, sliceSizeBytes, tags } = manifest;
  return JSON.stringify([generation, objectHash, keyText, status, fields, lengthBytes ?? null, sliceSizeBytes, tags]);
}

function freshnessOf({ receivedAtMs, initialAgeSeconds, freshUntilMs }: Manifest): string {
  return `${receivedAtMs}+${initialAgeSeconds} to ${freshUntilMs}`;
}
