/**
 * What clients and the fill do to the store, many at a time: store whole objects and growing ones, read, refresh, rewrite, drop, purge,
 * drain, take checkpoints. Each piece of work goes on by itself in virtual time and ends when its mount is over.
 */
import { EdgeError } from '../../src/base/errors.ts';
import type { Random } from '../../src/base/random.ts';
import { KIB } from '../../src/base/units.ts';
import type { Manifest, ObjectHash } from '../../src/format/manifest.ts';
import type { PurgeTarget } from '../../src/store/slice-store.ts';
import { hashOf } from '../store/store-bench.ts';
import { bodyBytes } from './bodies.ts';
import { demand, type Model, type ShownFrom, sliceCountOf, sliceLengthOf, type Version } from './model.ts';
import { DISK_PROMISES, type Profile, type Promises } from './profiles.ts';
import type { Mount, World } from './world.ts';

const WORKERS_MAX = 12;
/** Longest pause within a piece of work. */
const PAUSE_MS_MAX = 8;

export class Work {
  readonly #world: World;
  readonly #model: Model;
  readonly #random: Random;
  readonly #promises: Promises;
  readonly #workers = new Set<Promise<void>>();
  purges = 0;
  hits = 0;
  drains = 0;

  constructor(world: World, model: Model, profile: Profile) {
    this.#world = world;
    this.#model = model;
    this.#random = world.random;
    this.#promises = DISK_PROMISES[profile];
  }

  /** Begins one piece of work; does nothing when many are in progress. */
  begin(mount: Mount): void {
    if (this.#workers.size >= WORKERS_MAX) return;
    const choice = this.#random.integerBelow(100);
    if (choice < 30) this.#spawn(this.#store(mount));
    else if (choice < 34) this.#refill(mount);
    else if (choice < 62) this.#spawn(this.#read(mount));
    else if (choice < 68) this.#spawn(this.#follow(mount));
    else if (choice < 74) this.#refresh(mount);
    else if (choice < 79) this.#rewrite(mount);
    else if (choice < 83) this.#drop(mount);
    else if (choice < 89) this.#spawn(this.#purge(mount));
    else if (choice < 96) this.#spawn(this.#drain(mount));
    else this.#spawn(this.#checkpoint(mount));
  }

  /** Asks for whatever there may be until the index is loaded. */
  async askWhileLoading(mount: Mount): Promise<void> {
    while (mount.store.state === 'loading' && !this.#isOver(mount)) {
      const keyText = this.#key();
      await this.#readManifest(mount, keyText);
      const versions = this.#model.versionsOf(keyText);
      const version = versions[this.#random.integerBelow(versions.length + 1)] ?? versions.at(-1);
      if (version !== undefined && version.lengthBytes > 0)
        await this.#readSlice(mount, version, this.#random.integerBelow(sliceCountOf(version)));
      await this.#world.stage.clock.sleep(this.#random.integerBelow(16) / 8);
    }
  }

  /** Resolves when no work is in progress. @throws what any of it found */
  async idle(): Promise<void> {
    while (this.#workers.size > 0) await Promise.all([...this.#workers]);
  }

  #spawn(work: Promise<void>): void {
    this.#workers.add(work);
    const leave = (): void => void this.#workers.delete(work);
    // A violation stays unhandled here on purpose: the play watches for it.
    void work.finally(leave);
  }

  #key(): string {
    return `key-${this.#random.integerBelow(this.#world.shape.keys)}`;
  }

  async #pause(): Promise<void> {
    if (this.#random.integerBelow(3) > 0) await this.#world.stage.clock.sleep(this.#random.integerBelow(PAUSE_MS_MAX * 8) / 8);
  }

  #isOver(mount: Mount): boolean {
    return mount.isOver || this.#world.hasCrashed;
  }

  #length(): number {
    const kind = this.#random.integerBelow(20);
    if (kind === 0) return 0;
    if (kind < 8) return 1 + this.#random.integerBelow(4 * KIB);
    if (kind < 16) return 1 + this.#random.integerBelow(48 * KIB);
    return 1 + this.#random.integerBelow(260 * KIB);
  }

  #makeManifest(keyText: string, generation: number, lengthBytes: number): Manifest {
    return {
      generation,
      objectHash: hashOf(keyText),
      keyText,
      status: 200,
      fields: [['etag', `"${generation}"`]],
      tags: [tagOf(keyText)],
      lengthBytes,
      sliceSizeBytes: (this.#random.integerBelow(3) === 0 ? 256 : 64) * KIB,
      ...this.#freshness(),
    };
  }

  #freshness(): { receivedAtMs: number; initialAgeSeconds: number; freshUntilMs: number } {
    const receivedAtMs = this.#world.stage.clock.wallMs();
    return {
      receivedAtMs,
      initialAgeSeconds: this.#random.integerBelow(100),
      freshUntilMs: receivedAtMs + this.#random.integerBelow(10_000),
    };
  }

  /** Stores an object as a fill does: note the purges, ask the origin, offer the manifest, then slice after slice. */
  async #store(mount: Mount, keyText = this.#key()): Promise<void> {
    const { store } = mount;
    const objectHash = hashOf(keyText);
    const noted = store.purgeSequence;
    const buried = this.#purgesOf(keyText);
    store.noteRequest(objectHash, 0);
    await this.#pause();
    if (this.#isOver(mount)) return;
    const generation = store.nextGeneration();
    if (this.#promises.isOrderKept) this.#model.noteGeneration(generation);
    const manifest = this.#makeManifest(keyText, generation, this.#length());
    await this.#pause();
    if (this.#isOver(mount)) return;
    const known = store.findManifest(objectHash)?.generation ?? 0;
    const isGrowing = this.#random.integerBelow(5) === 0;
    const verdict = store.offerManifest(isGrowing ? { ...manifest, lengthBytes: undefined } : manifest, noted);
    this.#world.note(`offer ${keyText}/${generation} ${manifest.lengthBytes}: ${JSON.stringify(verdict)}`);
    if (verdict.kind === 'declined') return;
    demand(known < generation, () => `${keyText}/${generation} was admitted over ${known}`);
    demand(this.#purgesOf(keyText) === buried, () => `${keyText}/${generation} was admitted, though a purge came after its request`);
    const lengthBytes = manifest.lengthBytes ?? 0;
    const version = this.#model.begin(isGrowing ? { ...manifest, lengthBytes: undefined } : manifest, lengthBytes);
    const sliceCount = sliceCountOf(version);
    const breaksOff = this.#random.integerBelow(6) === 0;
    for (let sliceNumber = 0; sliceNumber < sliceCount; sliceNumber += 1) {
      await this.#pause();
      if (this.#isOver(mount)) return;
      if (breaksOff && sliceNumber === sliceCount - 1) break;
      this.#offerSlice(mount, version, sliceNumber);
    }
    if (isGrowing) this.#finishGrowing(mount, version, breaksOff ? undefined : manifest);
  }

  #finishGrowing(mount: Mount, version: Version, manifest: Manifest | undefined): void {
    const { store } = mount;
    if (version.isHidden) return;
    if (manifest === undefined) {
      store.dropManifest(version.objectHash, version.generation);
      this.#model.hide([version]);
      return;
    }
    if (store.findManifest(version.objectHash)?.generation !== version.generation) return;
    const verdict = store.offerManifest(manifest, store.purgeSequence);
    this.#world.note(`grown ${version.keyText}/${version.generation}: ${JSON.stringify(verdict)}`);
    if (verdict.kind === 'admitted') this.#model.renew(version, manifest, true);
  }

  #offerSlice(mount: Mount, version: Version, sliceNumber: number): void {
    const { store } = mount;
    const { objectHash, generation } = version;
    const bytes = bodyBytes({ ...version, sliceNumber }, sliceLengthOf(version, sliceNumber));
    const lease = this.#world.stage.arena.tryLease('fill', bytes.length);
    if (lease === undefined) return;
    lease.bytes.set(bytes);
    // An unproved body in its record is replaced with the record, whose old blocks are free then.
    if (sliceCountOf(version) === 1 && store.extentState(generation, sliceNumber) === 'unproved') version.isManifestDurable = false;
    const verdict = store.offerSlice({ objectHash, generation, sliceNumber, lease, lengthBytes: bytes.length });
    lease.end();
    this.#world.note(`offer ${version.keyText}/${generation}/${sliceNumber}: ${JSON.stringify(verdict)}`);
    // One that was declined may be written later all the same.
    this.#model.noteOffer(version, sliceNumber, verdict.kind === 'admitted');
    if (verdict.kind === 'declined') return;
    demand(!version.isHidden && !version.isGone, () => `a slice of ${version.keyText}/${generation} was admitted after its end`);
    demand(store.hasSlice(generation, sliceNumber), 'a slice that was admitted is there at once');
  }

  async #read(mount: Mount): Promise<void> {
    const keyText = this.#key();
    const versions = this.#model.versionsOf(keyText);
    // The newest most of the time; an older one must stay away.
    const back = this.#random.integerBelow(4) === 0 ? this.#random.integerBelow(versions.length + 1) : 0;
    const version = versions[versions.length - 1 - back];
    await this.#pause();
    if (this.#isOver(mount)) return;
    mount.store.noteRequest(hashOf(keyText), 0);
    this.#judgeFound(mount, keyText, hashOf(keyText));
    if (this.#random.integerBelow(3) === 0) await this.#readManifest(mount, keyText);
    if (version === undefined || version.lengthBytes === 0) return;
    for (let count = 1 + this.#random.integerBelow(3); count > 0; count -= 1) {
      if (this.#isOver(mount)) return;
      await this.#readSlice(mount, version, this.#random.integerBelow(sliceCountOf(version)));
    }
  }

  /** Reads all of one version, slice by slice, while others replace it: what is stored of it stays for as long as it is held. */
  async #follow(mount: Mount): Promise<void> {
    const { store } = mount;
    const version = this.#model.current(this.#key());
    const manifest = version?.manifests.at(-1);
    if (version === undefined || manifest === undefined || store.findManifest(version.objectHash)?.generation !== version.generation)
      return;
    const release = store.holdGeneration(manifest);
    const end = this.#model.hold(version);
    this.#world.note(`hold ${version.keyText}/${version.generation}`);
    if (this.#random.integerBelow(2) === 0) this.#spawn(this.#store(mount, version.keyText));
    for (let sliceNumber = 0; sliceNumber < sliceCountOf(version) && !this.#isOver(mount); sliceNumber += 1) {
      await this.#pause();
      if (this.#isOver(mount)) break;
      await this.#readSlice(mount, version, sliceNumber);
      if (version.isHidden) await this.#pause();
    }
    release();
    end();
    if (this.#isOver(mount) || !this.#promises.isOrderKept || this.#model.isReadable(version)) return;
    demand(!store.hasSlice(version.generation, 0), () => `${version.keyText}/${version.generation} stayed after its last reader`);
  }

  #judgeFound(mount: Mount, keyText: string, objectHash: ObjectHash): Version | undefined {
    const found = mount.store.findManifest(objectHash);
    if (found === undefined || !this.#promises.isOrderKept) return undefined;
    return this.#model.judgeFound(keyText, found.generation, 'the index');
  }

  async #readManifest(mount: Mount, keyText: string): Promise<void> {
    const shown = this.#model.versionsOf(keyText).filter((version) => !version.isHidden && !version.isGone);
    const shownFrom = new Map<Version, ShownFrom>();
    for (const version of shown) shownFrom.set(version, { recordFrom: version.recordFrom, freshFrom: version.freshFrom });
    const verdict = await mount.store.readManifest(hashOf(keyText));
    this.#world.note(`manifest ${keyText}: ${verdict.kind}`);
    if (verdict.kind !== 'hit' || this.#isOver(mount)) return;
    const { generation } = verdict.manifest;
    const version = this.#model.versionsOf(keyText).find((known) => known.generation === generation);
    demand(version !== undefined, () => `a manifest of ${keyText}/${generation}, which was never offered`);
    this.hits += 1;
    if (!this.#promises.isOrderKept) return;
    // It may have been hidden while it was read; not before. A newer one may have come meanwhile.
    demand(shown.includes(version) || !version.isHidden, () => `the manifest of ${keyText}/${generation} was shown after its end`);
    this.#judgeManifest(mount, version, { manifest: verdict.manifest, shownFrom: shownFrom.get(version) ?? version });
  }

  /** Compares a manifest with what was offered. */
  #judgeManifest(mount: Mount, version: Version, read: { readonly manifest: Manifest; readonly shownFrom: ShownFrom }): void {
    this.#model.judgeManifest(version, read.manifest, {
      mayBeOld: countLost(mount) > 0 || version.isHidden,
      recordFrom: read.shownFrom.recordFrom,
      freshFrom: read.shownFrom.freshFrom,
      what: 'the store',
    });
  }

  /** Every object that the store says it has is one that it may have. */
  judgeAll(mount: Mount): void {
    for (let key = 0; key < this.#world.shape.keys; key += 1) this.#judgeFound(mount, `key-${key}`, hashOf(`key-${key}`));
  }

  /** Reads a whole slice that has to be there. */
  async mustRead(mount: Mount, version: Version, sliceNumber: number): Promise<void> {
    const { objectHash, generation } = version;
    const read = { objectHash, generation, sliceNumber, startBytes: 0, endBytes: sliceLengthOf(version, sliceNumber) };
    const verdict = await mount.store.readSlice(read);
    demand(verdict.kind === 'hit', () => `${version.keyText}/${generation}/${sliceNumber} was durable and is ${verdict.kind}`);
    try {
      this.#model.judgeBytes(version, sliceNumber, { startBytes: 0, bytes: verdict.bytes });
    } finally {
      verdict.lease.end();
    }
  }

  /** Reads a manifest that has to be there. */
  async mustReadManifest(mount: Mount, version: Version): Promise<void> {
    const verdict = await mount.store.readManifest(version.objectHash);
    demand(verdict.kind === 'hit', () => `the manifest of ${version.keyText}/${version.generation} was durable and is ${verdict.kind}`);
    demand(verdict.manifest.generation === version.generation, () => `${version.keyText} was ${version.generation} and is older now`);
    this.#judgeManifest(mount, version, { manifest: verdict.manifest, shownFrom: version });
  }

  async #readSlice(mount: Mount, version: Version, sliceNumber: number): Promise<void> {
    const lengthBytes = sliceLengthOf(version, sliceNumber);
    const startBytes = this.#random.integerBelow(3) === 0 ? this.#random.integerBelow(lengthBytes) : 0;
    const endBytes =
      this.#random.integerBelow(3) === 0 ? startBytes + 1 + this.#random.integerBelow(lengthBytes - startBytes) : lengthBytes;
    const wasReadable = this.#model.isReadable(version);
    const abort = new AbortController();
    if (this.#random.integerBelow(8) === 0)
      this.#world.stage.clock.startTimer(this.#random.integerBelow(PAUSE_MS_MAX), () => abort.abort());
    const { objectHash, generation } = version;
    const verdict = await mount.store.readSlice({ objectHash, generation, sliceNumber, startBytes, endBytes }, abort.signal);
    this.#world.note(`read ${version.keyText}/${generation}/${sliceNumber} ${startBytes}-${endBytes}: ${verdict.kind}`);
    if (verdict.kind !== 'hit') return;
    this.hits += 1;
    try {
      demand(verdict.bytes.length === endBytes - startBytes, 'a hit is exactly what was asked for');
      this.#model.judgeBytes(version, sliceNumber, { startBytes, bytes: verdict.bytes });
      const mayHit = wasReadable || !this.#promises.isOrderKept;
      demand(mayHit, () => `slice ${sliceNumber} of ${version.keyText}/${generation} was read after its end`);
    } finally {
      verdict.lease.end();
    }
  }

  #refresh(mount: Mount): void {
    const version = this.#model.current(this.#key());
    if (version === undefined) return;
    const { store } = mount;
    const manifest: Manifest = { ...(version.manifests.at(-1) as Manifest), ...this.#freshness() };
    // A refresh of what the store has lost changes nothing.
    const isKnown = store.findManifest(version.objectHash)?.generation === version.generation;
    store.refreshManifest(version.objectHash, version.generation, manifest);
    this.#world.note(`refresh ${version.keyText}/${version.generation}: ${isKnown}`);
    if (isKnown) this.#model.renew(version, manifest, false);
  }

  /** The same generation with other fields. */
  #rewrite(mount: Mount): void {
    const version = this.#model.current(this.#key());
    if (version === undefined || version.isGrowing) return;
    const { store } = mount;
    if (store.findManifest(version.objectHash)?.generation !== version.generation) return;
    const last = version.manifests.at(-1) as Manifest;
    const fields = [...(last.fields.slice(0, 1) as Manifest['fields']), ['x-count', String(version.manifests.length)] as const];
    const manifest: Manifest = { ...last, fields, ...this.#freshness() };
    const verdict = store.offerManifest(manifest, store.purgeSequence);
    this.#world.note(`rewrite ${version.keyText}/${version.generation}: ${JSON.stringify(verdict)}`);
    if (verdict.kind === 'admitted') this.#model.renew(version, manifest, true);
  }

  #drop(mount: Mount): void {
    const version = this.#model.current(this.#key());
    if (version === undefined) return;
    this.#world.note(`drop ${version.keyText}/${version.generation}`);
    mount.store.dropManifest(version.objectHash, version.generation);
    if (mount.store.state === 'online' || mount.store.state === 'readonly') this.#model.hide([version]);
  }

  readonly #purgeCounts = new Map<string, number>();

  #purgesOf(keyText: string): number {
    return this.#purgeCounts.get(keyText) ?? 0;
  }

  async #purge(mount: Mount): Promise<void> {
    const { store } = mount;
    const target = this.#target();
    const isSoft = this.#random.integerBelow(4) === 0;
    const covers = (version: { readonly keyText: string }): boolean => isCovered(version, target);
    const covered = [...this.#model.versions()].filter(covers);
    const before = store.purgeSequence;
    const atMs = this.#world.stage.clock.wallMs();
    const purging = store.purge(target, { isSoft });
    // With too many epochs in force nothing was done.
    const isInForce = store.purgeSequence > before;
    const standing = isInForce && isSoft ? this.#model.makeStale(covers, atMs) : new Map<Version, number>();
    if (isInForce && !isSoft) this.#model.purge(covered);
    for (let key = 0; key < this.#world.shape.keys && isInForce; key += 1) {
      const keyText = `key-${key}`;
      if (covers({ keyText })) this.#purgeCounts.set(keyText, this.#purgesOf(keyText) + 1);
    }
    this.#world.note(`purge ${isSoft ? 'soft' : 'hard'} ${JSON.stringify(target)}: ${isInForce}`);
    try {
      const { objects, isDone } = await purging;
      this.#world.note(`purged ${JSON.stringify(target)}: ${objects} ${isDone}`);
      this.purges += 1;
      if (isSoft) this.#model.bindFreshness(standing);
      else this.#model.bury(covered);
      this.#mayCrash(mount);
    } catch (error) {
      demand(error instanceof EdgeError && error.code === 'STORE_UNAVAILABLE', () => `a purge failed with ${String(error)}`);
      this.#world.note(`purge of ${JSON.stringify(target)} refused`);
    }
  }

  #target(): PurgeTarget {
    const keyText = this.#key();
    const kind = this.#random.integerBelow(10);
    if (kind === 0) return { kind: 'everything' };
    if (kind === 1) return { kind: 'prefix', keyPrefix: keyText.slice(0, 5) };
    if (kind === 2) return { kind: 'tag', tag: tagOf(keyText) };
    return { kind: 'object', objectHash: hashOf(keyText) };
  }

  async #drain(mount: Mount): Promise<void> {
    const { store } = mount;
    const barrier = this.#model.beginBarrier();
    const droppedBefore = mount.journalDroppedAtStart;
    await store.drain();
    this.#world.note('drained');
    const isSure = !this.#isOver(mount) && store.state === 'online' && !mount.complaints.some((line) => line.includes('not flushed'));
    if (!isSure || store.metrics.value('journalDropped') !== droppedBefore) return;
    this.drains += 1;
    this.#model.noteDurable(barrier, store);
    this.#mayCrash(mount);
  }

  /** The best moment for the power to fail is right after a promise. */
  #mayCrash(mount: Mount): void {
    if (this.#random.integerBelow(6) === 0 && !this.#isOver(mount)) this.#world.crash(this.#random.integerBelow(2) === 0 ? 'none' : 'any');
  }

  /** Many things at a time, and the power fails in the midst of it. */
  burst(mount: Mount): void {
    this.#world.planCrash(1 + this.#random.integerBelow(16), 'any');
    for (let count = 2 + this.#random.integerBelow(4); count > 0; count -= 1) this.#spawn(this.#purge(mount));
    for (let count = 1 + this.#random.integerBelow(3); count > 0; count -= 1) this.#spawn(this.#store(mount));
    if (this.#random.integerBelow(2) === 0) this.#spawn(this.#checkpoint(mount));
  }

  /** A fill that found slices missing, or did not ask: all of the present version once more. */
  #refill(mount: Mount): void {
    const version = this.#model.current(this.#key());
    if (version === undefined || version.isGrowing || mount.store.findManifest(version.objectHash)?.generation !== version.generation)
      return;
    for (let sliceNumber = 0; sliceNumber < sliceCountOf(version); sliceNumber += 1) this.#offerSlice(mount, version, sliceNumber);
  }

  async #checkpoint(mount: Mount): Promise<void> {
    try {
      await mount.store.checkpoint();
      this.#world.note('checkpointed');
    } catch (error) {
      const isKnown = error instanceof EdgeError && (error.code === 'STORE_UNAVAILABLE' || error.code === 'DEVICE_FAULT');
      demand(isKnown, () => `a checkpoint failed with ${String(error)}`);
      demand(
        !this.#promises.isHealthy || this.#isOver(mount) || error.code === 'STORE_UNAVAILABLE',
        () => `a checkpoint failed with ${String(error)}`,
      );
    }
  }
}

/** Records that were admitted and not written. */
export function countLost({ store }: Mount): number {
  const reasons = ['error', 'no-space', 'no-slot', 'unavailable'] as const;
  return reasons.reduce((sum, reason) => sum + store.metrics.value('dropped', reason), 0);
}

/** Every key has one tag. */
function tagOf(keyText: string): string {
  return `tag-${Number(keyText.slice('key-'.length)) % 5}`;
}

function isCovered({ keyText }: { readonly keyText: string }, target: PurgeTarget): boolean {
  if (target.kind === 'object') return target.objectHash === hashOf(keyText);
  if (target.kind === 'prefix') return keyText.startsWith(target.keyPrefix);
  return target.kind === 'everything' || target.tag === tagOf(keyText);
}
