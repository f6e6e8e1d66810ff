/**
 * Builders for store tests: a tiny simulated device, a store on it, and bytes that can be told from their address alone.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { BlockDevice } from '../../src/device/block-device.ts';
import type { FormatParameters } from '../../src/format/geometry.ts';
import type { Manifest, ObjectHash } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { formatDevice } from '../../src/store/device-format.ts';
import { type DeviceStore, openStore, type StoreOptions } from '../../src/store/device-store.ts';
import { objectTag } from '../../src/store/index/slice-index.ts';
import { type DeviceView, viewDevice } from '../../src/store/inspect-device.ts';
import type { OfferVerdict, SliceStore } from '../../src/store/slice-store.ts';
import type { StoreLimits } from '../../src/store/store-limits.ts';

export const SLICE_BYTES = 64 * KIB;
export const clock = new SystemClock();

/** Geometry for devices of a few MiB: labels of 8 blocks, a ring of `journalBlocks`, groups of 2 MiB. */
export function tinyParameters(options: { entryCount?: number; journalBlocks?: number } = {}): Partial<FormatParameters> {
  return {
    labelBytes: 32 * KIB,
    journalBytes: (options.journalBlocks ?? 64) * 4 * KIB,
    groupBytes: 2 * MIB,
    entryCount: options.entryCount ?? 512,
  };
}

export async function formatTiny(device: BlockDevice, parameters = tinyParameters(), seed = 1): Promise<void> {
  await formatDevice(device, { clock, random: new SeededRandom(seed), parameters });
}

export interface Bench {
  readonly store: DeviceStore;
  readonly arena: Arena;
}

export interface BenchOptions {
  readonly limits?: Partial<StoreLimits>;
  readonly arenaBytes?: number;
  readonly admission?: StoreOptions['admission'];
  readonly compression?: StoreOptions['compression'];
  readonly codec?: StoreOptions['codec'];
  readonly clock?: Clock;
}

export async function openBench(device: BlockDevice, options: BenchOptions = {}): Promise<Bench> {
  const { arenaBytes, ...chosen } = options;
  const arena = new Arena({ sizeBytes: arenaBytes ?? 8 * MIB, clock });
  const store = await openStore({ clock, ...chosen, device, arena, logger: createSilentLogger() });
  return { store, arena };
}

/** A store over an arena that others use as well. */
export function openBenchOn(device: BlockDevice, arena: Arena): Promise<DeviceStore> {
  return openStore({ device, arena, clock, logger: createSilentLogger() });
}

export function hashOf(keyText: string): ObjectHash {
  return createHash('sha256').update(keyText).digest('hex').slice(0, 32) as ObjectHash;
}

export function makeManifest(keyText: string, generation: number, lengthBytes: number, changes: Partial<Manifest> = {}): Manifest {
  return {
    generation,
    objectHash: hashOf(keyText),
    keyText,
    status: 200,
    fields: [
      ['etag', `"${keyText}-${generation}"`],
      ['content-type', 'application/octet-stream'],
    ],
    tags: [],
    lengthBytes,
    sliceSizeBytes: SLICE_BYTES,
    receivedAtMs: 1_700_000_000_123,
    initialAgeSeconds: 3,
    freshUntilMs: 1_700_000_060_456,
    ...changes,
  };
}

/** Bytes of a slice: different for each key, generation and place. */
export function sliceBytes(keyText: string, generation: number, sliceNumber: number, lengthBytes: number): Buffer {
  const random = new SeededRandom(Number.parseInt(hashOf(`${keyText}/${generation}/${sliceNumber}`).slice(0, 8), 16));
  const word = Buffer.from(random.bytes(64));
  const bytes = Buffer.alloc(lengthBytes, word);
  for (let at = 0; at + 4 <= lengthBytes; at += 4096) bytes.writeUInt32LE(at, at);
  return bytes;
}

/** Length of slice `sliceNumber` of `manifest`. */
export function sliceLength(manifest: Manifest, sliceNumber: number): number {
  return Math.min(manifest.sliceSizeBytes, (manifest.lengthBytes ?? 0) - sliceNumber * manifest.sliceSizeBytes);
}

export function sliceCount(manifest: Manifest): number {
  return Math.ceil((manifest.lengthBytes ?? 0) / manifest.sliceSizeBytes);
}

/** Offers one slice with its right bytes. */
export function offerOne(bench: { store: SliceStore; arena: Arena }, manifest: Manifest, sliceNumber: number): OfferVerdict | undefined {
  const lengthBytes = sliceLength(manifest, sliceNumber);
  const lease = bench.arena.tryLease('fill', lengthBytes);
  if (lease === undefined) return undefined;
  lease.bytes.set(sliceBytes(manifest.keyText, manifest.generation, sliceNumber, lengthBytes));
  const { objectHash, generation } = manifest;
  const verdict = bench.store.offerSlice({ objectHash, generation, sliceNumber, lease, lengthBytes });
  lease.end();
  return verdict;
}

/** Offers bytes [startBytes, endBytes) of one slice; the rest of the slot is something else. */
export function offerPart(
  bench: { store: SliceStore; arena: Arena },
  manifest: Manifest,
  part: { readonly sliceNumber: number; readonly startBytes: number; readonly endBytes: number },
): OfferVerdict | undefined {
  const { sliceNumber, startBytes, endBytes } = part;
  const lengthBytes = sliceLength(manifest, sliceNumber);
  const lease = bench.arena.tryLease('fill', lengthBytes);
  if (lease === undefined) return undefined;
  lease.bytes.fill(0xee);
  sliceBytes(manifest.keyText, manifest.generation, sliceNumber, lengthBytes).copy(lease.bytes, startBytes, startBytes, endBytes);
  const { objectHash, generation } = manifest;
  const present = { startBytes, endBytes };
  const verdict = bench.store.offerSlice({ objectHash, generation, sliceNumber, lease, lengthBytes, present });
  lease.end();
  return verdict;
}

/** What is kept of a slice in part, every byte checked: `start-end`, or the verdict's kind. */
export async function readPartAndCheck(store: SliceStore, manifest: Manifest, sliceNumber: number): Promise<string> {
  const { objectHash, generation, keyText } = manifest;
  const verdict = await store.readPart({ objectHash, generation, sliceNumber });
  if (verdict.kind !== 'hit') return verdict.kind;
  const { startBytes, endBytes, bytes } = verdict;
  const expected = sliceBytes(keyText, generation, sliceNumber, sliceLength(manifest, sliceNumber)).subarray(startBytes, endBytes);
  assert.ok(bytes.equals(expected), `wrong bytes in the part of ${keyText}/${generation}/${sliceNumber}`);
  verdict.lease.end();
  return `${startBytes}-${endBytes}`;
}

/** Offers an object whole and waits until it is written. */
export async function storeObject(bench: { store: SliceStore; arena: Arena }, keyText: string, lengthBytes: number): Promise<Manifest> {
  const { store } = bench;
  const manifest = makeManifest(keyText, store.nextGeneration(), lengthBytes);
  assert.deepEqual(store.offerManifest(manifest, store.purgeSequence), { kind: 'admitted' });
  for (let number = 0; number < sliceCount(manifest); number += 1) {
    assert.deepEqual(offerOne(bench, manifest, number), { kind: 'admitted' });
    await store.drain();
  }
  await store.drain();
  return manifest;
}

/** Reads [startBytes, endBytes) of a slice; checks every byte of a hit. @returns the verdict's kind and tier */
export async function readAndCheck(
  store: SliceStore,
  manifest: Manifest,
  sliceNumber: number,
  range?: readonly [number, number],
): Promise<string> {
  const { objectHash, generation, keyText } = manifest;
  const lengthBytes = sliceLength(manifest, sliceNumber);
  const [startBytes, endBytes] = range ?? [0, lengthBytes];
  const verdict = await store.readSlice({ objectHash, generation, sliceNumber, startBytes, endBytes });
  if (verdict.kind !== 'hit') return verdict.kind;
  try {
    const expected = sliceBytes(keyText, generation, sliceNumber, lengthBytes).subarray(startBytes, endBytes);
    assert.ok(verdict.bytes.equals(expected), `wrong bytes for ${keyText}/${generation}/${sliceNumber}`);
  } finally {
    verdict.lease.end();
  }
  return verdict.tier;
}

/** Slots that are neither free nor the RAM tier's: none when nothing is going on. */
export function assertNoLeases(arena: Arena): void {
  for (const slotClass of ['device-read', 'fill', 'staging'] as const) assert.equal(arena.usedBytes(slotClass), 0, slotClass);
}

/** The device as an index, for looking at it. */
export function lookAt(device: BlockDevice): Promise<DeviceView> {
  return viewDevice(device, new Arena({ sizeBytes: 4 * MIB, clock }));
}

/** Where the slices of an object lie, in their order; one that rides in the object's record has that record's place. */
export async function slicePlaces(device: BlockDevice, objectHash: ObjectHash): Promise<{ offsetBytes: number; allocatedBytes: number }[]> {
  const { state, root } = await lookAt(device);
  const { index } = state;
  const { blockSizeBytes } = root.format.geometry;
  const generation = index.generation(index.recordOf(index.findTag(objectTag(objectHash))));
  return [...index.records()]
    .filter((slot) => (index.kind(slot) === 'slice' || index.hasBody(slot)) && index.generation(slot) === generation)
    .sort((left, right) => index.sliceNumber(left) - index.sliceNumber(right))
    .map((slot) => ({ offsetBytes: index.block(slot) * blockSizeBytes, allocatedBytes: index.blocks(slot) * blockSizeBytes }));
}
