/**
 * Reads a checkpoint part by part, in whatever order its parts are wanted: those with purges first, then those that somebody asks for, as the
 * table of contents says where to look, and the others from the front. Each part is read once, and damaged ones are left out: their entries are
 * forgotten. Called by recovery.ts, which takes the entries; early-reader.ts asks.
 */
import { partitionPoint } from '../../base/partition-point.ts';
import { divCeil, divFloor } from '../../base/units.ts';
import { type CheckpointPlaces, CONTENTS_PART_ENTRIES, type ContentsEntry, decodeContentsPart } from '../../format/checkpoint-contents.ts';
import { hashOfGeneration, hashOfTag, placeOfHash, SLICE_ORDER, stepOfSlice } from '../../format/checkpoint-order.ts';
import { CHECKPOINT_KINDS, type CheckpointEntry, decodeCheckpointEntry, verifyCheckpointPart } from '../../format/checkpoint-part.ts';
import { CHECKPOINT_PART_BYTES } from '../../format/geometry.ts';
import type { CheckpointReference } from '../../format/superblock.ts';
import { tryRead, withStaging } from '../device-io.ts';
import type { ObjectTag } from '../index/object-table.ts';
import { type CheckpointPlace, chainCrc, contentsOffset, partOffset } from './checkpoint.ts';

/** Parts that are read at a time. Between two turns of the event loop so many are taken in at most, a millisecond or two each. */
const PARTS_IN_FLIGHT = 4;
/** Parts that one question waits for at most: the first ten thousand slices of an object, more or less. The others come in their turn. */
const PARTS_BROUGHT_MAX = 16;

/** What reading a checkpoint met. */
export interface CheckpointReport {
  readonly entries: number;
  readonly damagedParts: number;
  /** All parts verified and their CRCs are the ones that the superblock vouches for. */
  readonly isWhole: boolean;
  /** No purge is missing: the parts up to the first entry of another kind verified. */
  readonly arePurgesWhole: boolean;
}

/** Who takes what is read. */
export interface CheckpointTaker {
  /** Gets every entry, unchecked. */
  readonly take: (entry: CheckpointEntry) => void;
  /** Called before the first entry that is no purge, unless one may be missing. From then on bringing is allowed. */
  readonly onPurgesTaken?: (() => void) | undefined;
}

/** Slices of one object in a row. */
export interface SliceRun {
  readonly generation: number;
  readonly firstSlice: number;
  readonly count: number;
}

/** What the table of contents says. */
export interface CheckpointContents {
  readonly places: CheckpointPlaces;
  /** Of each part, the order of its first entry and its CRC. */
  readonly firstOrders: Uint32Array;
  readonly crcs: Uint32Array;
}

const UNTOUCHED = 0;
const BEGUN = 1;
const TAKEN = 2;
const DAMAGED = 3;

/** One reading of one checkpoint. */
export class CheckpointLoader {
  readonly #place: CheckpointPlace;
  readonly #reference: CheckpointReference;
  readonly #taker: CheckpointTaker;
  /** What has become of each part, and its CRC. */
  readonly #states: Uint8Array;
  readonly #crcs: Uint32Array;
  /** Parts that somebody waits for, in the order in which they were asked for. */
  readonly #wanted = new Map<number, (() => void)[]>();
  #contents: CheckpointContents | undefined;
  #nextPart = 0;
  #entries = 0;
  #arePurgesOver = false;
  #isPurgeDamaged = false;
  #isEnded = false;

  constructor(place: CheckpointPlace, reference: CheckpointReference, taker: CheckpointTaker) {
    this.#place = place;
    this.#reference = reference;
    this.#taker = taker;
    const partsMax = divFloor(place.geometry.checkpointBytes, CHECKPOINT_PART_BYTES);
    const parts = reference.zone <= 1 ? Math.min(reference.parts, partsMax) : 0;
    this.#states = new Uint8Array(parts);
    this.#crcs = new Uint32Array(parts);
  }

  /** Reads all of it; once. @throws EdgeError STORE_UNAVAILABLE when the arena has no slot */
  async load(): Promise<CheckpointReport> {
    const inFlight = Math.max(1, Math.min(PARTS_IN_FLIGHT, this.#states.length));
    await withStaging(this.#place.arena, inFlight * CHECKPOINT_PART_BYTES, async (staging) => {
      const pieces = Array.from({ length: inFlight }, (_, piece) =>
        staging.subarray(piece * CHECKPOINT_PART_BYTES, (piece + 1) * CHECKPOINT_PART_BYTES),
      );
      const [first] = pieces;
      if (first === undefined) return;
      try {
        this.#contents = await readContents(this.#place, this.#reference, first);
        while (!this.#arePurgesOver && (await this.#takeNext(first)));
        // The device must be through with the slot before it is given back.
        const ends = await Promise.allSettled(pieces.map((piece) => this.#takeAll(piece)));
        for (const end of ends) if (end.status === 'rejected') throw end.reason;
      } finally {
        this.#isEnded = true;
        for (const part of [...this.#wanted.keys()]) this.#answer(part);
      }
    });
    return this.#report();
  }

  /** Resolves when the entry of the object was taken, if the checkpoint has one and says where; it may be there and not be the newest. */
  async bringObject(tag: ObjectTag): Promise<void> {
    if (this.#contents === undefined) return;
    const order = placeOfHash(hashOfTag(tag), this.#contents.places.objectPlaces);
    await this.#bring(this.#contents, [order, order]);
  }

  /** The same for the first of these slices, as many as lie in a few parts. */
  async bringSlices({ generation, firstSlice, count }: SliceRun): Promise<void> {
    if (this.#contents === undefined || count < 1) return;
    const { slicePlaces } = this.#contents.places;
    const first = placeOfHash(hashOfGeneration(generation), slicePlaces, stepOfSlice(firstSlice));
    const end = first + Math.min(count, slicePlaces) - 1;
    await this.#bring(this.#contents, [SLICE_ORDER + first, SLICE_ORDER + Math.min(end, slicePlaces - 1)]);
    if (end >= slicePlaces) await this.#bring(this.#contents, [SLICE_ORDER, SLICE_ORDER + end - slicePlaces]);
  }

  /** Waits for the parts that may hold entries of these orders, both included. */
  async #bring({ firstOrders }: CheckpointContents, [low, high]: readonly [number, number]): Promise<void> {
    // Entries of one order may go on in the next part.
    const start = Math.max(0, countBelow(firstOrders, low) - 1);
    const end = Math.min(countBelow(firstOrders, high + 1), start + PARTS_BROUGHT_MAX);
    const waits: Promise<void>[] = [];
    for (let part = start; part < end; part += 1) {
      const state = this.#states[part];
      if (this.#isEnded || state === TAKEN || state === DAMAGED) continue;
      const waiters = this.#wanted.get(part) ?? [];
      this.#wanted.set(part, waiters);
      waits.push(new Promise((resolve) => waiters.push(resolve)));
    }
    await Promise.all(waits);
  }

  #answer(part: number): void {
    const waiters = this.#wanted.get(part) ?? [];
    this.#wanted.delete(part);
    for (const resolve of waiters) resolve();
  }

  async #takeAll(bytes: Buffer): Promise<void> {
    while (await this.#takeNext(bytes));
  }

  /** @returns false when every part is taken or on its way */
  async #takeNext(bytes: Buffer): Promise<boolean> {
    const part = this.#choose();
    if (part === undefined) return false;
    this.#states[part] = BEGUN;
    const ownOffset = partOffset(this.#place.geometry, this.#reference.zone, part);
    const { sequence } = this.#reference;
    const isRead = await tryRead(this.#place.device, bytes, ownOffset);
    const whole = isRead
      ? verifyCheckpointPart(bytes, { sequence, partNumber: part, ownOffset, deviceTag: this.#place.deviceTag })
      : undefined;
    // One that verifies and is another than the table has is of an attempt that came to nothing.
    if (whole !== undefined && whole.crc === (this.#contents?.crcs[part] ?? whole.crc)) {
      this.#crcs[part] = whole.crc;
      this.#takeEntries(bytes, whole.count);
      this.#states[part] = TAKEN;
    } else {
      this.#isPurgeDamaged ||= !this.#arePurgesOver;
      this.#states[part] = DAMAGED;
    }
    this.#answer(part);
    return true;
  }

  #choose(): number | undefined {
    for (const part of this.#wanted.keys()) if (this.#states[part] === UNTOUCHED) return part;
    while (this.#nextPart < this.#states.length && this.#states[this.#nextPart] !== UNTOUCHED) this.#nextPart += 1;
    return this.#nextPart < this.#states.length ? this.#nextPart : undefined;
  }

  #takeEntries(bytes: Buffer, count: number): void {
    this.#entries += count;
    for (let number = 0; number < count; number += 1) {
      const entry = decodeCheckpointEntry(bytes, number);
      if (!this.#arePurgesOver && entry.kind !== CHECKPOINT_KINDS.purge) {
        this.#arePurgesOver = true;
        if (!this.#isPurgeDamaged) this.#taker.onPurgesTaken?.();
      }
      this.#taker.take(entry);
    }
  }

  #report(): CheckpointReport {
    const { parts, crc, entries, purgeSequence } = this.#reference;
    const damagedParts = this.#states.reduce((count, state) => count + Number(state === DAMAGED), 0);
    const isAll = damagedParts === 0 && parts === this.#states.length;
    const isWhole = isAll && entries === this.#entries && crc === this.#crcs.reduce(chainCrc, 0);
    // Parts that verify and are not those that the superblock vouches for may be of an earlier attempt, which knew of fewer purges.
    const isOfAnother = !isWhole && damagedParts === 0;
    const arePurgesWhole = purgeSequence === 0 || !(this.#isPurgeDamaged || isOfAnother);
    return { entries: this.#entries, damagedParts, isWhole, arePurgesWhole };
  }
}

/**
 * Reads a checkpoint's table of contents; `bytes` is as long as one of its parts.
 *
 * @returns undefined where there is none, or none that the superblock vouches for: the parts then come from the front
 */
export async function readContents(
  place: CheckpointPlace,
  { zone, sequence, parts, crc }: CheckpointReference,
  bytes: Buffer,
): Promise<CheckpointContents | undefined> {
  const { geometry, device, deviceTag } = place;
  const end = parts + divCeil(parts, CONTENTS_PART_ENTRIES);
  if (zone > 1 || parts === 0 || end * CHECKPOINT_PART_BYTES > geometry.checkpointBytes) return undefined;
  const entries: ContentsEntry[] = [];
  let places: CheckpointPlaces | undefined;
  while (entries.length < parts) {
    const firstPart = entries.length;
    const ownOffset = contentsOffset(geometry, { zone, parts }, firstPart);
    const isRead = await tryRead(device, bytes, ownOffset);
    const listed = isRead ? decodeContentsPart(bytes, { sequence, ownOffset, deviceTag, firstPart }) : undefined;
    if (listed === undefined || listed.entries.length !== Math.min(CONTENTS_PART_ENTRIES, parts - firstPart)) return undefined;
    entries.push(...listed.entries);
    places = listed.places;
  }
  if (places === undefined || crc !== entries.reduce((chain, entry) => chainCrc(chain, entry.crc), 0)) return undefined;
  const firstOrders = Uint32Array.from(entries, ({ firstOrder }) => firstOrder);
  return { places, firstOrders, crcs: Uint32Array.from(entries, (entry) => entry.crc) };
}

/** How many of `numbers`, which rise, are below `limit`. */
function countBelow(numbers: Uint32Array, limit: number): number {
  return partitionPoint(numbers.length, (index) => (numbers[index] ?? 0) < limit);
}
