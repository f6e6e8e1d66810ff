/**
 * Several devices as one cache. Each has a store of its own that needs no other: whatever device holds slices of an object also holds its
 * manifest. Writes go to the first device of the unit's placement order that takes them, reads look for the slice in that order on all that
 * can be read, so that nothing is lost to the cache when a device leaves and comes back. A purge goes to every device that is attached.
 *
 * With one device it is that device's store and the attaching of it.
 */
import { must } from '../../base/assert.ts';
import { EdgeError } from '../../base/errors.ts';
import type { LabelledSets } from '../../base/metrics.ts';
import type { Random } from '../../base/random.ts';
import type { Manifest, ManifestFreshness, ObjectHash } from '../../format/manifest.ts';
import type { Lease } from '../../memory/lease.ts';
import type { DeviceStore } from '../device-store.ts';
import type { PurgeProgress } from '../purges/purge-ledger.ts';
import { PersistentCounter } from '../recovery/persistent-counter.ts';
import type {
  ManifestEntry,
  ManifestVerdict,
  OfferVerdict,
  PartVerdict,
  PurgeOptions,
  PurgeResult,
  PurgeTarget,
  SliceAddress,
  SliceOffer,
  SliceRead,
  SliceStore,
  SliceVerdict,
  StoreState,
} from '../slice-store.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import { DeviceMember, type MemberDevice, type MemberOptions, type MemberStatus } from './device-member.ts';
import { MountTable } from './mount-table.ts';
import { placementOrder } from './placement.ts';

/** Generations given while no device is there begin here: none that a device ever knew of is given twice, and none of these is stored. */
const UNSTORED_GENERATIONS = 2 ** 37;

/** Purges that are remembered while no device is there. */
const AWAITING_MAX = 1024;

interface AwaitingPurge {
  readonly target: PurgeTarget;
  readonly options: PurgeOptions;
}

/** What a set is built from. */
export interface DeviceSetOptions extends Omit<MemberOptions, 'generations'> {
  readonly devices: readonly MemberDevice[];
  readonly random: Random;
}

/** See SliceStore; made by openDeviceSet. */
export class DeviceSet implements SliceStore {
  readonly members: readonly DeviceMember[];
  readonly #mounts: MountTable;
  readonly #generations: PersistentCounter;
  #unstoredGeneration = UNSTORED_GENERATIONS;
  /** Purges while no device was there: the first that comes has to carry them out before anything of it is served. */
  readonly #awaiting: AwaitingPurge[] = [];
  #isClosed = false;

  /** Use openDeviceSet. */
  constructor(options: DeviceSetOptions) {
    const { devices, random, ...shared } = options;
    const generations = { next: 1 };
    this.#generations = new PersistentCounter(1, 0, generations);
    this.members = devices.map((device) => new DeviceMember(device, { ...shared, generations }, (member) => this.#mounts.attach(member)));
    const onFirstStores = (stores: readonly DeviceStore[]): void => this.#carryOut(stores);
    this.#mounts = new MountTable({ members: this.members, random, logger: options.logger, generations, onFirstStores });
  }

  get state(): StoreState {
    if (this.#isClosed) return 'closed';
    const states = this.#stores().map(({ state }) => state);
    return (['online', 'readonly', 'loading'] as const).find((state) => states.includes(state)) ?? 'failed';
  }

  get purgeSequence(): number {
    let newest = 0;
    for (const { store } of this.members) newest = Math.max(newest, store?.purgeSequence ?? 0);
    return newest;
  }

  /** Every configured device, in order. */
  get status(): readonly MemberStatus[] {
    return this.members.map((member) => member.status);
  }

  /** Counts of all devices for a registry, told apart by their paths. */
  get metricSets(): LabelledSets<typeof STORE_METRICS> {
    return { labels: ['device'], sets: () => this.members.map(({ path, metrics }) => [[path], metrics] as const) };
  }

  /** Sum of a metric over the devices, for tools. */
  count<Key extends keyof typeof STORE_METRICS>(...metric: Parameters<typeof DeviceMember.prototype.metrics.value<Key>>): number {
    return this.members.reduce((sum, { metrics }) => sum + metrics.value<Key>(...metric), 0);
  }

  /** Opens what can be opened. @throws EdgeError as openDeviceSet says */
  open(): Promise<void> {
    return this.#mounts.open();
  }

  /** Loads the indexes. A device whose index cannot be loaded is failed and tried again; never throws. */
  recover(): Promise<void> {
    return this.#mounts.recover();
  }

  /** Tries a device that is not online, now. @throws EdgeError REQUEST_INVALID when there is no such device, else why it stays away */
  async attach(path: string): Promise<MemberStatus> {
    const member = this.members.find((candidate) => candidate.path === path);
    if (member === undefined) {
      const known = this.members.map((candidate) => candidate.path).join(', ');
      throw new EdgeError('REQUEST_INVALID', `${JSON.stringify(path)} is no device of this cache; there are ${known}`);
    }
    await member.attach();
    return member.status;
  }

  nextGeneration(): number {
    const stores = this.#stores();
    if (stores.length === 0) {
      this.#unstoredGeneration += 1;
      return this.#unstoredGeneration;
    }
    // Each device sees to it that its own superblock covers the numbers that are given.
    for (const store of stores) store.raiseFloors();
    return this.#generations.take();
  }

  noteRequest(objectHash: ObjectHash, startBytes: number): void {
    for (const { store } of this.members) store?.noteRequest(objectHash, startBytes);
  }

  findManifest(objectHash: ObjectHash): ManifestEntry | undefined {
    let found: ManifestEntry | undefined;
    for (const store of this.#stores()) {
      const entry = store.findManifest(objectHash);
      if (entry === undefined || (found !== undefined && entry.generation < found.generation)) continue;
      const storedSlices = entry.storedSlices + (found?.generation === entry.generation ? found.storedSlices : 0);
      found = { generation: entry.generation, storedSlices };
    }
    return found;
  }

  tryReadManifest(objectHash: ObjectHash): Manifest | undefined {
    const [only] = this.members;
    if (only !== undefined && this.members.length === 1) return only.store?.tryReadManifest(objectHash);
    const stores = this.#holders(objectHash);
    for (const store of stores) {
      const manifest = store.tryReadManifest(objectHash);
      if (manifest !== undefined) return freshest(manifest, stores);
    }
    return undefined;
  }

  async readManifest(objectHash: ObjectHash, signal?: AbortSignal | undefined): Promise<ManifestVerdict> {
    const stores = this.#holders(objectHash);
    let verdict: ManifestVerdict = { kind: 'absent' };
    for (const store of stores.length === 0 ? this.#ordered(objectHash, 0).slice(0, 1) : stores) {
      verdict = await store.readManifest(objectHash, signal);
      if (verdict.kind !== 'hit') continue;
      // A device that was away may hold a generation that was replaced meanwhile.
      this.#dropOlder(objectHash, verdict.manifest.generation);
      return { kind: 'hit', manifest: freshest(verdict.manifest, stores) };
    }
    return verdict;
  }

  offerManifest(manifest: Manifest, purgeSequence: number): OfferVerdict {
    const { objectHash, generation } = manifest;
    if (generation >= UNSTORED_GENERATIONS) return { kind: 'declined', reason: 'unavailable' };
    const holders = this.#holders(objectHash);
    const current = holders[0]?.generationOf(objectHash) ?? 0;
    if (current > generation) return { kind: 'declined', reason: 'superseded' };
    const home = this.#writable(objectHash, 0);
    const targets = current === generation ? holders.filter(({ state }) => state === 'online') : [];
    if (targets.length === 0 && home !== undefined) targets.push(home);
    let verdict: OfferVerdict = { kind: 'declined', reason: 'unavailable' };
    for (const store of targets) {
      const next = store.offerManifest(manifest, purgeSequence);
      if (verdict.kind === 'declined') verdict = next;
    }
    if (verdict.kind === 'admitted') this.#dropOlder(objectHash, generation);
    return verdict;
  }

  refreshManifest(objectHash: ObjectHash, generation: number, freshness: ManifestFreshness): void {
    for (const store of this.#stores()) store.refreshManifest(objectHash, generation, freshness);
  }

  dropManifest(objectHash: ObjectHash, generation: number | undefined): void {
    for (const store of this.#stores()) store.dropManifest(objectHash, generation);
  }

  async purge(target: PurgeTarget, options: PurgeOptions = {}): Promise<PurgeResult> {
    const stores = this.#stores();
    if (stores.length === 0) {
      this.#await({ target, options });
      throw new EdgeError(
        'STORE_UNAVAILABLE',
        'The purge holds in memory only: no device of the cache is attached; purge again when one is',
      );
    }
    // A device counts as attached from its first opening on: one that failed may be what the next process finds.
    const sequence = Math.max(options.sequence ?? 0, this.purgeSequence + 1);
    const outcomes = await Promise.allSettled(stores.map((store) => store.purge(target, { ...options, sequence })));
    const results: PurgeResult[] = [];
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') throw outcome.reason;
      results.push(outcome.value);
    }
    return { sequence, ...together(results) };
  }

  #await(purge: AwaitingPurge): void {
    if (this.#awaiting.length < AWAITING_MAX) return void this.#awaiting.push(purge);
    // More than anybody names by hand: then everything goes, which covers them all.
    this.#awaiting.splice(0, Number.POSITIVE_INFINITY, { target: { kind: 'everything' }, options: {} });
    for (const { metrics } of this.members) metrics.add('purgesWidened');
  }

  /** In the same turn in which they are first here: nothing of them has been served. Whether it lasts over a crash, who purged was not promised. */
  #carryOut(stores: readonly DeviceStore[]): void {
    for (const { target, options } of this.#awaiting.splice(0)) {
      const sequence = Math.max(0, ...stores.map((store) => store.purgeSequence)) + 1;
      for (const store of stores) store.purge(target, { ...options, sequence }).catch(() => undefined);
    }
  }

  mayHold(objectHash: ObjectHash): boolean {
    const stores = this.#stores();
    return stores.length === 0 || stores.some((store) => store.mayHold(objectHash));
  }

  purgeProgress(sequence: number): PurgeProgress | undefined {
    const known = this.#stores().flatMap((store) => store.purgeProgress(sequence) ?? []);
    return known.length === 0 ? undefined : together(known);
  }

  holdGeneration(manifest: Manifest): () => void {
    const releases = this.#stores().map((store) => store.holdGeneration(manifest));
    const [only] = releases;
    if (only !== undefined && releases.length === 1) return only;
    return () => {
      for (const release of releases) release();
    };
  }

  hasSlice(generation: number, sliceNumber: number): boolean {
    for (const { store } of this.members) if (store?.hasSlice(generation, sliceNumber) === true) return true;
    return false;
  }

  tryReadResident(read: SliceRead): { readonly lease: Lease; readonly bytes: Buffer } | undefined {
    for (const { store } of this.members) {
      const resident = store?.tryReadResident(read);
      if (resident !== undefined) return resident;
    }
    return undefined;
  }

  async readSlice(read: SliceRead, signal?: AbortSignal | undefined): Promise<SliceVerdict> {
    const stores = this.#ordered(read.objectHash, read.sliceNumber);
    const holders = stores.filter((store) => store.mayHoldSlice(read.generation, read.sliceNumber));
    let verdict: SliceVerdict = { kind: 'absent' };
    for (const store of holders.length === 0 ? stores.slice(0, 1) : holders) {
      verdict = await store.readSlice(read, signal);
      if (verdict.kind === 'hit') return verdict;
    }
    return verdict;
  }

  offerSlice(offer: SliceOffer): OfferVerdict {
    const { objectHash, generation, sliceNumber } = offer;
    const store = this.#writable(objectHash, sliceNumber);
    if (store === undefined) return { kind: 'declined', reason: 'unavailable' };
    if (store.generationOf(objectHash) === generation) return store.offerSlice(offer);
    // The first slice of the object on this device: its manifest goes before it.
    const holders = this.#holders(objectHash).filter((holder) => holder.generationOf(objectHash) === generation);
    const manifest = holders.map((holder) => holder.manifestInMemory(objectHash, generation)).find((known) => known !== undefined);
    const verdict = manifest === undefined ? undefined : store.offerManifest(manifest, this.purgeSequence);
    if (verdict?.kind === 'admitted') {
      // A manifest that was offered where none of its slices came, since its device was the only one then, would wait there for ever.
      for (const holder of holders) if (isBare(holder, objectHash)) holder.dropManifest(objectHash, generation);
      return store.offerSlice(offer);
    }
    const holder = holders.find(({ state }) => state === 'online');
    return holder?.offerSlice(offer) ?? verdict ?? { kind: 'declined', reason: 'superseded' };
  }

  hasPart(generation: number, sliceNumber: number): boolean {
    return !this.hasSlice(generation, sliceNumber) && this.#stores().some((store) => store.hasPart(generation, sliceNumber));
  }

  async readPart(address: SliceAddress, signal?: AbortSignal | undefined): Promise<PartVerdict> {
    let verdict: PartVerdict = { kind: 'absent' };
    for (const store of this.#ordered(address.objectHash, address.sliceNumber)) {
      if (!store.hasPart(address.generation, address.sliceNumber)) continue;
      verdict = await store.readPart(address, signal);
      if (verdict.kind === 'hit') return verdict;
    }
    return verdict;
  }

  async drain(): Promise<void> {
    await Promise.all(this.#stores().map((store) => store.drain()));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.members.map((member) => member.close()));
  }

  #stores(): readonly DeviceStore[] {
    const stores: DeviceStore[] = [];
    for (const { store } of this.members) if (store !== undefined) stores.push(store);
    return stores;
  }

  /** Stores in the placement order of a slice's unit. Devices that were never seen have no place in it. */
  #ordered(objectHash: ObjectHash, sliceNumber: number): readonly DeviceStore[] {
    const stores = this.#stores();
    if (stores.length <= 1) return stores;
    const identities = stores.map(({ identity }) => identity);
    return placementOrder(identities, objectHash, sliceNumber).map((place) => must(stores[place], 'a store for each identity'));
  }

  #writable(objectHash: ObjectHash, sliceNumber: number): DeviceStore | undefined {
    return this.#ordered(objectHash, sliceNumber).find(({ state }) => state === 'online');
  }

  /** Stores with the object's highest generation, in its placement order. */
  #holders(objectHash: ObjectHash): readonly DeviceStore[] {
    let generation = 0;
    for (const { store } of this.members) generation = Math.max(generation, store?.generationOf(objectHash) ?? 0);
    if (generation === 0) return [];
    return this.#ordered(objectHash, 0).filter((store) => store.generationOf(objectHash) === generation);
  }

  #dropOlder(objectHash: ObjectHash, generation: number): void {
    for (const store of this.#stores()) {
      const known = store.generationOf(objectHash);
      if (known > 0 && known < generation) store.dropManifest(objectHash, known);
    }
  }
}

/** A device that was away may have missed a renewal. */
function freshest(manifest: Manifest, stores: readonly DeviceStore[]): Manifest {
  let best: Manifest = manifest;
  for (const store of stores) {
    const freshness = store.freshnessOf(manifest.objectHash, manifest.generation);
    if (freshness !== undefined && freshness.receivedAtMs > best.receivedAtMs) best = { ...manifest, ...freshness };
  }
  return best;
}

/**
 * Opens the devices of a cache; the indexes are loaded by recover(). A device that is missing or failing is left out, and tried again, if
 * another one is there; alone it is refused when it is missing, since that is what a misspelt path looks like.
 *
 * @throws EdgeError DEVICE_*, FORMAT_*: what an operator has to put right; DEVICE_FOREIGN for a device of another cache, DEVICE_UNSUITABLE for
 *   one that is named twice
 */
export async function openDeviceSet(options: DeviceSetOptions): Promise<DeviceSet> {
  const set = new DeviceSet(options);
  try {
    await set.open();
    return set;
  } catch (error) {
    await set.close();
    throw error;
  }
}

/** Whether a device that takes changes knows the object and holds nothing of it. */
function isBare(store: DeviceStore, objectHash: ObjectHash): boolean {
  return store.state === 'online' && store.findManifest(objectHash)?.storedSlices === 0;
}

/** The progress of one purge on several devices. */
function together(parts: readonly PurgeProgress[]): PurgeProgress {
  return { objects: parts.reduce((sum, { objects }) => sum + objects, 0), isDone: parts.every(({ isDone }) => isDone) };
}
