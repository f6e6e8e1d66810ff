/**
 * What was purged, for everybody who must not bring it back: answers that were asked for before a purge and come after it (the last so many
 * purges, and a floor below which all such answers are refused), objects in the index that a purge by prefix or tag may cover until their
 * records have been looked at (*epochs*), checkpoints, and devices that were away.
 *
 *   epoch:   remembered -> active -- walked --> retiring -- a checkpoint that began after the walk is durable --> gone
 *                          held against every      the index holds nothing
 *                          object of the index     that it covers
 */
import { type Coverable, isEpoch, type Purge, type PurgeOrder } from './purge.ts';
import { PurgeLedger } from './purge-ledger.ts';
import { PurgeTable } from './purge-table.ts';

/** What purges mean for an object. `stale`: it counts as stale from `atMs` on. */
export type PurgeVerdict = { readonly kind: 'clear' } | { readonly kind: 'covered' } | { readonly kind: 'stale'; readonly atMs: number };
/** What epochs mean for an object of the index, and which of them wants it. */
export type StoredVerdict =
  | { readonly kind: 'clear' }
  | { readonly kind: 'covered'; readonly sequence: number }
  | { readonly kind: 'stale'; readonly atMs: number; readonly sequence: number };

/** An object that was offered: what it is, and what was current when it was asked for. */
export interface OfferedObject extends Coverable {
  readonly generation: number;
  /** Newest purge when the request that brought it was sent. */
  readonly purgeSequence: number;
  /** Whether the index holds this generation, and no purge covers that or may. */
  readonly isStored: boolean;
}

/** What a device remembered of purges when its last writer ended. */
export interface RememberedPurges {
  /** Those that the index has to be held against. */
  readonly epochs: readonly Purge[];
  /** The last ones, of every kind, in no order; some may be missing. */
  readonly recent: readonly Purge[];
  readonly newestSequence: number;
  readonly purgedGeneration: number;
}

/** Purges for a checkpoint: both lists together fit into what the geometry sets apart. */
export interface CheckpointPurges {
  /** In force: the image may hold what they cover. */
  readonly active: readonly Purge[];
  /** For devices that were away. */
  readonly recent: readonly Purge[];
  /** Walked before it began: to be told to retire() when it is durable. */
  readonly retired: readonly Purge[];
}

/** Bounds of a memory. */
export interface PurgeMemoryOptions {
  /** Scopes that are told apart for late answers. */
  readonly scopesMax: number;
  /** Epochs that may be in force, and purges that a device that was away can be told of: what a checkpoint has room for. */
  readonly epochsMax: number;
  /** Generations that are known not to be covered. */
  readonly clearedMax: number;
}

/** One per store. */
export class PurgeMemory {
  /** What each of the last purges has done. */
  readonly ledger = new PurgeLedger();
  readonly #options: PurgeMemoryOptions;
  readonly #table = new PurgeTable();
  readonly #active = new PurgeTable();
  readonly #retiring = new Set<Purge>();
  /** Generations below #suspectBelow that no active epoch covers. */
  readonly #cleared = new Set<number>();
  #suspectBelow = 0;
  #purgedGeneration = 0;
  /** The newest purge of everything. */
  #everythingSequence = 0;
  #newest = { sequence: 0, generation: 0 };
  /** Purges up to this one are no longer told apart; `generation` is of those that are not soft. */
  #floor = { sequence: 0, generation: 0, softGeneration: 0 };
  /** The last purges, each; complete from #knownSince on. */
  #recent: Purge[] = [];
  #knownSince = 0;

  constructor(options: PurgeMemoryOptions) {
    this.#options = options;
  }

  /** Number of the newest purge. */
  get newestSequence(): number {
    return this.#newest.sequence;
  }

  /** Generations below it were forgotten by a purge of everything. */
  get purgedGeneration(): number {
    return this.#purgedGeneration;
  }

  /** Epochs that the index has to be held against. */
  get activeEpochs(): number {
    return this.#active.size;
  }

  /** Epochs that were walked and that the device still names. */
  get retiringEpochs(): number {
    return this.#retiring.size;
  }

  /** Whether one more epoch finds room; one of a scope that is active already always does. */
  hasRoomFor(purge: PurgeOrder): boolean {
    return !isEpoch(purge) || this.#active.has(purge) || this.#active.size + this.#retiring.size < this.#options.epochsMax;
  }

  /** Takes over what a device remembered; answers asked for since then are newer than all of it. */
  restore(remembered: RememberedPurges): void {
    for (const purge of remembered.epochs) this.#activate(purge);
    this.#purgedGeneration = Math.max(this.#purgedGeneration, remembered.purgedGeneration);
    this.skipTo(remembered.newestSequence);
    // Numbers rise by one: what is missing in between may have been a purge of anything.
    for (const purge of [...remembered.recent].sort((left, right) => right.sequence - left.sequence)) {
      if (purge.sequence !== this.#knownSince || this.#recent.length >= this.#options.epochsMax) break;
      this.#recent.unshift(purge);
      this.#knownSince -= 1;
    }
  }

  /** Numbers up to `sequence` were given to purges that are not known one by one. */
  skipTo(sequence: number): void {
    if (sequence <= this.#newest.sequence) return;
    this.#newest = { ...this.#newest, sequence };
    this.#knownSince = sequence;
    this.#recent = [];
  }

  /** Takes a purge; from here on it covers. The index and what is in memory are the caller's. */
  remember(purge: Purge): void {
    this.#newest = {
      sequence: Math.max(this.#newest.sequence, purge.sequence),
      generation: Math.max(this.#newest.generation, purge.generation),
    };
    this.#table.add(purge);
    if (this.#table.size > this.#options.scopesMax) this.#forgetOldest();
    if (purge.kind === 'everything' && !purge.isSoft) {
      this.#purgedGeneration = Math.max(this.#purgedGeneration, purge.generation);
      this.#everythingSequence = Math.max(this.#everythingSequence, purge.sequence);
    }
    this.#activate(purge);
    this.#recent.push(purge);
    if (this.#recent.length <= this.#options.epochsMax) return;
    this.#knownSince = this.#recent.shift()?.sequence ?? this.#knownSince;
  }

  /** What purges mean for an offer. An answer from before a soft purge is stale if the index has its generation, else not wanted. */
  judgeOffer(offer: OfferedObject): PurgeVerdict {
    const { purgeSequence, generation, isStored } = offer;
    if (purgeSequence < this.#floor.sequence || generation < this.#purgedGeneration) return { kind: 'covered' };
    if (generation < this.#floor.generation && !isStored) return { kind: 'covered' };
    if (purgeSequence >= this.#newest.sequence && generation >= this.#newest.generation) return { kind: 'clear' };
    let atMs: number | undefined;
    for (const purge of this.#table.covering(offer)) {
      const isLate = purgeSequence < purge.sequence;
      if (isLate && purge.isSoft && isStored) atMs = Math.min(atMs ?? purge.atMs, purge.atMs);
      else if (isLate || (!purge.isSoft && !isStored && generation < purge.generation)) return { kind: 'covered' };
    }
    return atMs === undefined ? { kind: 'clear' } : { kind: 'stale', atMs };
  }

  /** Whether the generation is out of the index by a purge of everything. */
  isForgotten(generation: number): boolean {
    return generation < this.#purgedGeneration;
  }

  /** Whether an epoch may cover the generation: its record has to be looked at before anything of it is handed out. */
  isSuspect(generation: number): boolean {
    return generation < this.#suspectBelow && !this.#cleared.has(generation);
  }

  /** What epochs mean for an object of the index. */
  judgeStored(object: Coverable & { readonly generation: number }): StoredVerdict {
    if (this.isForgotten(object.generation)) return { kind: 'covered', sequence: this.#everythingSequence };
    if (!this.isSuspect(object.generation)) return { kind: 'clear' };
    let first: Purge | undefined;
    for (const purge of this.#active.covering(object)) {
      if (object.generation >= purge.generation) continue;
      if (!purge.isSoft) return { kind: 'covered', sequence: purge.sequence };
      if (first === undefined || purge.atMs < first.atMs) first = purge;
    }
    return first === undefined ? { kind: 'clear' } : { kind: 'stale', atMs: first.atMs, sequence: first.sequence };
  }

  /** What every purge that is known means for an object of an index that is still loading, whose purges were not carried out yet. */
  judgeLoading(object: Coverable & { readonly generation: number }): PurgeVerdict {
    // Of those that are no longer told apart any may be of this object.
    const floor = Math.max(this.#floor.generation, this.#floor.softGeneration);
    if (this.isForgotten(object.generation) || object.generation < floor) return { kind: 'covered' };
    let atMs: number | undefined;
    for (const table of [this.#table, this.#active]) {
      for (const purge of table.covering(object)) {
        if (object.generation >= purge.generation) continue;
        if (!purge.isSoft) return { kind: 'covered' };
        atMs = Math.min(atMs ?? purge.atMs, purge.atMs);
      }
    }
    return atMs === undefined ? { kind: 'clear' } : { kind: 'stale', atMs };
  }

  /** Purges that a device names, before all of them are known: they are in force from here on. */
  foresee(epochs: readonly Purge[], purgedGeneration: number): void {
    for (const purge of epochs) this.#activate(purge);
    this.#purgedGeneration = Math.max(this.#purgedGeneration, purgedGeneration);
  }

  /** The generation was looked at, and made stale where it had to be. */
  clear(generation: number): void {
    if (generation >= this.#suspectBelow) return;
    this.#cleared.delete(generation);
    this.#cleared.add(generation);
    if (this.#cleared.size <= this.#options.clearedMax) return;
    for (const oldest of this.#cleared) {
      this.#cleared.delete(oldest);
      return;
    }
  }

  /** A new epoch is in force: only the generations in `known` are sure not to be covered by it. */
  resuspect(known: Iterable<number>): void {
    this.#cleared.clear();
    for (const generation of known) this.clear(generation);
  }

  /** A generation that isForgotten() was dropped. */
  countForgotten(): void {
    this.ledger.count(this.#everythingSequence, 1);
  }

  /** The index was walked: nothing in it is covered by the epochs up to `sequence`. */
  markWalked(sequence: number): void {
    this.ledger.close(sequence);
    for (const purge of [...this.#active.values()]) {
      if (purge.sequence > sequence) continue;
      this.#active.delete(purge);
      this.#retiring.add(purge);
    }
    this.#suspectBelow = 0;
    for (const purge of this.#active.values()) this.#suspectBelow = Math.max(this.#suspectBelow, purge.generation);
    if (this.#suspectBelow === 0) this.#cleared.clear();
  }

  /** What a checkpoint that begins now holds, and what its end retires. */
  forCheckpoint(): CheckpointPurges {
    const active = [...this.#active.values()];
    const held = new Set(active.map(({ sequence }) => sequence));
    const room = Math.max(0, this.#options.epochsMax - active.length);
    const others = this.#recent.filter(({ sequence }) => !held.has(sequence));
    return { active, recent: room === 0 ? [] : others.slice(-room), retired: [...this.#retiring] };
  }

  /** A checkpoint that began when `retired` were handed out is durable. */
  retire(retired: readonly Purge[]): void {
    for (const purge of retired) this.#retiring.delete(purge);
  }

  /** The purges after `sequence`, oldest first; `unknown` when they are no longer all remembered. */
  since(sequence: number): readonly Purge[] | 'unknown' {
    return sequence < this.#knownSince ? 'unknown' : this.#recent.filter((purge) => purge.sequence > sequence);
  }

  #activate(purge: Purge): void {
    if (!isEpoch(purge)) return;
    this.#active.add(purge);
    this.#suspectBelow = Math.max(this.#suspectBelow, purge.generation);
  }

  #forgetOldest(): void {
    for (const oldest of this.#table.values()) {
      this.#table.delete(oldest);
      this.#floor = {
        sequence: Math.max(this.#floor.sequence, oldest.sequence),
        generation: Math.max(this.#floor.generation, oldest.isSoft ? 0 : oldest.generation),
        softGeneration: Math.max(this.#floor.softGeneration, oldest.isSoft ? oldest.generation : 0),
      };
      return;
    }
  }
}
