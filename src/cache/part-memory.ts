/**
 * Parts of slices in memory: any bytes of a slice whose rest is missing, down to a single one, at any place. They come from origins that
 * answer with less than was asked for and from transfers that broke off; the store keeps the larger ones on the device as well. Two parts
 * of a slice that touch become one. A generation is never given twice, so what was purged or replaced cannot be reached here, and ages out.
 *
 * Bounded in bytes and in slices, the least recently used first. Written by runs, read by responses and by the runs that bring the rest.
 */
import { LRUCache } from 'lru-cache';
import { MIB } from '../base/units.ts';

/** Bytes `start` and on of a slice. Never written to again. */
export interface KeptPart {
  readonly start: number;
  readonly bytes: Buffer;
}

/** All parts together; a few seconds of the transfers that one proxy sees broken off. */
const PART_BYTES_MAX = 8 * MIB;
const SLICES_MAX = 4096;

/** The parts in memory of one proxy. */
export class PartMemory {
  /** Sorted by start; no two of one slice touch. */
  readonly #slices: LRUCache<string, readonly KeptPart[]>;

  /** @param onEvicted called for each slice that had to make room */
  constructor(onEvicted: () => void) {
    this.#slices = new LRUCache({
      max: SLICES_MAX,
      maxSize: PART_BYTES_MAX,
      sizeCalculation: (parts) => Math.max(1, sizeBytesOf(parts)),
      dispose: (_parts, _key, reason) => {
        if (reason === 'evict') onEvicted();
      },
    });
  }

  /** Bytes kept now. */
  get sizeBytes(): number {
    return this.#slices.calculatedSize;
  }

  /** Keeps a copy of `bytes`, which stand at `start` of the slice. */
  add(generation: number, sliceNumber: number, part: KeptPart): void {
    const { start, bytes } = part;
    if (bytes.length === 0) return;
    const key = keyOf(generation, sliceNumber);
    const before: KeptPart[] = [];
    const touching: KeptPart[] = [];
    const after: KeptPart[] = [];
    for (const kept of this.#slices.peek(key) ?? []) {
      if (kept.start + kept.bytes.length < start) before.push(kept);
      else if (kept.start > start + bytes.length) after.push(kept);
      else touching.push(kept);
    }
    this.#slices.set(key, [...before, merge([...touching, part]), ...after]);
  }

  /** What is kept of the slice, in rising order. */
  list(generation: number, sliceNumber: number): readonly KeptPart[] {
    return this.#slices.size === 0 ? [] : (this.#slices.get(keyOf(generation, sliceNumber)) ?? []);
  }

  /** Bytes of a slice from `start` on, as far as they are here and not past `end`; undefined when the first is not. */
  tryRead(generation: number, sliceNumber: number, wanted: { readonly start: number; readonly end: number }): Buffer | undefined {
    const part = this.list(generation, sliceNumber).find(
      ({ start, bytes }) => start <= wanted.start && wanted.start < start + bytes.length,
    );
    return part?.bytes.subarray(wanted.start - part.start, Math.min(wanted.end - part.start, part.bytes.length));
  }

  /** Whether anything of the slice is here. */
  has(generation: number, sliceNumber: number): boolean {
    return this.#slices.size > 0 && this.#slices.has(keyOf(generation, sliceNumber));
  }

  /** Whether all of [start, end) of the slice is here. */
  covers(generation: number, sliceNumber: number, wanted: { readonly start: number; readonly end: number }): boolean {
    return this.tryRead(generation, sliceNumber, wanted)?.length === wanted.end - wanted.start;
  }

  delete(generation: number, sliceNumber: number): void {
    if (this.#slices.size > 0) this.#slices.delete(keyOf(generation, sliceNumber));
  }
}

/** One part of several that touch or overlap; a buffer of its own, whoever owned theirs. */
function merge(parts: readonly KeptPart[]): KeptPart {
  const start = Math.min(...parts.map((part) => part.start));
  const end = Math.max(...parts.map((part) => part.start + part.bytes.length));
  const bytes = Buffer.allocUnsafeSlow(end - start);
  for (const part of parts) part.bytes.copy(bytes, part.start - start);
  return { start, bytes };
}

function sizeBytesOf(parts: readonly KeptPart[]): number {
  return parts.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

function keyOf(generation: number, sliceNumber: number): string {
  return `${generation}/${sliceNumber}`;
}
