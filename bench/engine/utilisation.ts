/**
 * How much of a device holds records once it has been written over many times: the real catalogue (index, SIEVE, allocator) under a mirror's
 * mix of sizes and requests, without I/O. Sizes are those of Debian's archive (reference/engine.md s5): log-normal, cut into slices of 1 MiB.
 */
import assert from 'node:assert/strict';
import { SystemClock } from '../../src/base/clock.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { GIB, KIB, MIB } from '../../src/base/units.ts';
import { extentBlocks } from '../../src/format/extent-header.ts';
import { computeGeometry, defaultParameters, type Geometry } from '../../src/format/geometry.ts';
import { Arena } from '../../src/memory/arena.ts';
import { ADMIT_EVERYTHING } from '../../src/store/admission/admission-policy.ts';
import { BANDS } from '../../src/store/index/block-allocator.ts';
import { Catalogue } from '../../src/store/index/catalogue.ts';
import type { ObjectTag } from '../../src/store/index/object-table.ts';
import { NO_SLOT, SliceIndex } from '../../src/store/index/slice-index.ts';
import { Journal } from '../../src/store/recovery/journal.ts';
import { makeAllocator } from '../../src/store/recovery/recovery.ts';
import { DEFAULT_STORE_LIMITS } from '../../src/store/store-limits.ts';
import { STORE_METRICS } from '../../src/store/store-metrics.ts';
import type { EngineBenchContext, EngineBenchmark, EngineFigure } from './engine-benchmark.ts';
import { createNullDevice } from './null-device.ts';

const SLICE_BYTES = MIB;
/** A small device in many groups, and with entries to spare: what is measured is the room. */
const GROUP_BYTES = 128 * MIB;
const BLOCK_BYTES = 4 * KIB;
/** Natural logarithm of sizes in bytes: mean and deviation; and the largest file. */
const SIZES = { mu: 11.31, sigma: 2.08, maxBytes: 256 * MIB };
const MANIFEST_BYTES = 900;
/** Popularity of objects by rank, and how many devices' worth of them there are. */
const ZIPF_ALPHA = 0.9;
const FOOTPRINT_DEVICES = 10;
/** One request in so many finds that its object has changed. */
const CHURN = 200;
/** The share of requests for objects that nobody asks for again. */
const ONE_OFFS = 0.1;
const TURNOVERS = 100;
const SEEDS = [71, 72, 73];

interface Outcome {
  readonly utilisation: number;
  readonly lowest: number;
  readonly records: number;
  readonly evictions: number;
  readonly reserveMs: number;
  readonly manifestGroups: number;
  readonly groups: number;
  readonly bands: string;
}

/** See the file's head. */
export const utilisation: EngineBenchmark = {
  name: 'utilisation',
  question: `how much of the device is in use after ${TURNOVERS} turnovers of a mixed load?`,
  run: (context) => Promise.resolve(run(context)),
};

function run({ isShort, say }: EngineBenchContext): EngineFigure[] {
  const capacityBytes = (isShort ? 4 : 8) * GIB;
  const figures: EngineFigure[] = [];
  for (const seed of isShort ? SEEDS.slice(0, 1) : SEEDS) {
    const bench = new Workload(seed, capacityBytes);
    const outcome = bench.run();
    say(`seed ${seed}: ${outcome.records} records written, ${percent(outcome.utilisation)} in use; groups: ${outcome.bands}`);
    const figure = (what: string, value: string, number: number, unit: string): void => {
      figures.push({ what: `${what} (seed ${seed})`, value, number, unit });
    };
    figure('in use, mean of the last 10 turnovers', percent(outcome.utilisation), outcome.utilisation, 'share');
    figure('in use, lowest of the last 10 turnovers', percent(outcome.lowest), outcome.lowest, 'share');
    const evictions = outcome.evictions / outcome.records;
    figure('evictions a record', evictions.toFixed(2), evictions, '1');
    const reserveUs = (1000 * outcome.reserveMs) / outcome.records;
    figure('time to reserve, with evictions', `${reserveUs.toFixed(1)} us`, reserveUs, 'us');
    const share = outcome.manifestGroups / outcome.groups;
    figure('groups that hold manifests', `${outcome.manifestGroups} of ${outcome.groups}`, share, 'share');
  }
  return figures;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}

/** One device under one seed's requests. */
class Workload {
  readonly #random: SeededRandom;
  readonly #catalogue: Catalogue;
  readonly #metrics = new MetricSet(STORE_METRICS);
  readonly #geometry: Geometry;
  readonly #sizes: Float64Array;
  readonly #versions: Uint32Array;
  readonly #ranks: Float64Array;
  #generation = 0;
  #writeSequence = 0;
  #oneOffs = 0;
  #writtenBlocks = 0;
  #records = 0;
  #reserveMs = 0;

  constructor(seed: number, capacityBytes: number) {
    this.#random = new SeededRandom(seed);
    const device = createNullDevice(capacityBytes);
    const geometry = computeGeometry(
      defaultParameters(device, { entryCount: Math.floor(capacityBytes / (64 * KIB)), groupBytes: GROUP_BYTES }),
    );
    assert.ok(geometry !== undefined);
    this.#geometry = geometry;
    const clock = new SystemClock();
    const shared = { device, clock, metrics: this.#metrics, limits: DEFAULT_STORE_LIMITS, arena: new Arena({ sizeBytes: 4 * MIB, clock }) };
    const journal = new Journal({
      ...shared,
      geometry,
      deviceTag: new Uint8Array(8),
      epoch: 1,
      position: { nextSequence: 1, previousCrc: 0 },
      startSequence: 1,
      purgeSequence: 0,
      onCrowded: () => undefined,
      onFailure: () => undefined,
    });
    journal.stop();
    this.#catalogue = new Catalogue({
      ...shared,
      index: new SliceIndex(geometry.entryCount),
      allocator: makeAllocator(geometry),
      journal,
      policy: ADMIT_EVERYTHING,
      onVanish: () => undefined,
    });
    this.#sizes = this.#drawSizes(FOOTPRINT_DEVICES * capacityBytes);
    this.#versions = new Uint32Array(this.#sizes.length);
    this.#ranks = zipfTable(this.#sizes.length);
  }

  run(): Outcome {
    const { allocator } = this.#catalogue;
    const samples: number[] = [];
    for (let turnover = 1; turnover <= TURNOVERS; turnover += 1) {
      while (this.#writtenBlocks < turnover * this.#geometry.groupsBlocks) this.#request();
      samples.push(1 - allocator.freeBlocks / allocator.blockCount);
    }
    assert.equal(allocator.reservedBlocks, 0);
    const last = samples.slice(-10);
    return {
      utilisation: last.reduce((sum, sample) => sum + sample, 0) / last.length,
      lowest: Math.min(...last),
      records: this.#records,
      evictions: this.#metrics.value('evicted', 'blocks') + this.#metrics.value('evicted', 'entries'),
      reserveMs: this.#reserveMs,
      manifestGroups: this.#manifestGroups(),
      groups: this.#geometry.groupCount,
      bands: BANDS.map((band) => `${band} ${allocator.groupsOf(band)}`).join(', '),
    };
  }

  #request(): void {
    if (this.#random.integerBelow(1000) < 1000 * ONE_OFFS) {
      this.#oneOffs += 1;
      this.#store({ tagLow: this.#oneOffs, tagHigh: 2 ** 31 }, this.#drawSize());
      return;
    }
    const object = this.#drawObject();
    if (this.#random.integerBelow(CHURN) === 0) this.#versions[object] = (this.#versions[object] ?? 0) + 1;
    const tag = { tagLow: object, tagHigh: this.#versions[object] ?? 0 };
    const { index } = this.#catalogue;
    const tagSlot = index.findTag(tag);
    const sizeBytes = this.#sizes[object] ?? 1;
    if (tagSlot === NO_SLOT) this.#store(tag, sizeBytes);
    else this.#read(tagSlot, sizeBytes);
  }

  /** Marks what is there and writes what has gone. */
  #read(tagSlot: number, sizeBytes: number): void {
    const { index } = this.#catalogue;
    const record = index.recordOf(tagSlot);
    const generation = index.generation(record);
    index.markVisited(record);
    for (let sliceNumber = 0; sliceNumber * SLICE_BYTES < sizeBytes; sliceNumber += 1) {
      const slot = index.findSlice(generation, sliceNumber);
      if (slot === NO_SLOT) this.#writeSlice(generation, sliceNumber, sizeBytes);
      else index.markVisited(slot);
    }
  }

  #store(tag: ObjectTag, sizeBytes: number): void {
    const catalogue = this.#catalogue;
    if (!catalogue.reserveEntries(2)) return;
    this.#generation += 1;
    const generation = this.#generation;
    const tagSlot = catalogue.index.putManifest(tag, generation);
    const blocks = extentBlocks(MANIFEST_BYTES, BLOCK_BYTES);
    const block = this.#reserve(blocks, 'manifest');
    this.#writeSequence += 1;
    if (block === undefined) return catalogue.dropObject(tagSlot, 'other');
    catalogue.putManifest(tagSlot, { block, blocks, writeSequence: this.#writeSequence, flags: 0 });
    for (let sliceNumber = 0; sliceNumber * SLICE_BYTES < sizeBytes; sliceNumber += 1) this.#writeSlice(generation, sliceNumber, sizeBytes);
  }

  #writeSlice(generation: number, sliceNumber: number, sizeBytes: number): void {
    const lengthBytes = Math.min(SLICE_BYTES, sizeBytes - sliceNumber * SLICE_BYTES);
    const blocks = extentBlocks(lengthBytes, BLOCK_BYTES);
    const block = this.#reserve(blocks, 'slice');
    this.#writeSequence += 1;
    if (block !== undefined)
      this.#catalogue.putSlice(generation, sliceNumber, { block, blocks, writeSequence: this.#writeSequence, flags: 0 });
  }

  #reserve(blocks: number, kind: 'slice' | 'manifest'): number | undefined {
    const startedAtMs = performance.now();
    const block = this.#catalogue.reserveBlocks(blocks, kind);
    this.#reserveMs += performance.now() - startedAtMs;
    this.#records += 1;
    this.#writtenBlocks += blocks;
    return block;
  }

  #manifestGroups(): number {
    const { index, allocator } = this.#catalogue;
    const groups = new Set<number>();
    const groupBlocks = this.#geometry.groupBytes / BLOCK_BYTES;
    for (const slot of index.records())
      if (index.kind(slot) === 'manifest') groups.add(Math.floor((index.block(slot) - allocator.firstBlock) / groupBlocks));
    return groups.size;
  }

  #uniform(): number {
    return (this.#random.integerBelow(2 ** 32) + 0.5) / 2 ** 32;
  }

  #drawSize(): number {
    const normal = Math.sqrt(-2 * Math.log(this.#uniform())) * Math.cos(2 * Math.PI * this.#uniform());
    return Math.max(1, Math.min(SIZES.maxBytes, Math.round(Math.exp(SIZES.mu + SIZES.sigma * normal))));
  }

  #drawSizes(totalBytes: number): Float64Array {
    const sizes: number[] = [];
    for (let sum = 0; sum < totalBytes; ) {
      const size = this.#drawSize();
      sizes.push(size);
      sum += size;
    }
    return Float64Array.from(sizes);
  }

  #drawObject(): number {
    const wanted = this.#uniform() * (this.#ranks.at(-1) ?? 1);
    let low = 0;
    let high = this.#ranks.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranks[middle] ?? 0) < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Sums of the weights of ranks 1 to n. */
function zipfTable(count: number): Float64Array {
  const table = new Float64Array(count);
  let sum = 0;
  for (let rank = 0; rank < count; rank += 1) {
    sum += 1 / (rank + 1) ** ZIPF_ALPHA;
    table[rank] = sum;
  }
  return table;
}
