/**
 * What should a full device keep? Replays three made-up profiles against eviction policies, each with everything admitted and with the
 * product's own admission ladder, and counts what is missed and what is written. SIEVE is the product's own index.
 */
import { setImmediate as breathe } from 'node:timers/promises';
import { SystemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { alignUp, formatBytes, KIB } from '../../src/base/units.ts';
import { AdmissionLadder } from '../../src/store/admission/admission-ladder.ts';
import { ADMIT_EVERYTHING, type AdmissionPolicy } from '../../src/store/admission/admission-policy.ts';
import type { EngineBenchContext, EngineBenchmark, EngineFigure } from './engine-benchmark.ts';
import { BeladyCache, type ModelCache, QueueCache, S3FifoCache, SieveCache, tagOf } from './eviction-caches.ts';
import { drawTrace, PROFILES, type Profile, type Trace } from './eviction-traces.ts';

const SEED = 1;
const SHARES_OF_FOOTPRINT = [0.1, 0.3] as const;
const SHORT_SHARE = 0.05;
/** The first requests fill the cache and are not counted. */
const WARM_UP_SHARE = 1 / 3;
/** Index entries for each slice and object that fits: format's own guess is never exact. */
const SPARE_ENTRIES = 1.25;

/** What is compared: a policy by name, made for sizes on the device and a capacity. */
const EVICTIONS: Readonly<Record<string, (world: World, capacityBytes: number) => ModelCache>> = {
  FIFO: ({ sizes }) => new QueueCache(sizes, false),
  LRU: ({ sizes }) => new QueueCache(sizes, true),
  'S3-FIFO': ({ sizes }, capacityBytes) => new S3FifoCache(sizes, capacityBytes),
  SIEVE: ({ sizes, trace }) => new SieveCache(sizes, trace.firstSlice),
  Belady: ({ sizes }, capacityBytes) => new BeladyCache(sizes, capacityBytes),
};

interface World {
  readonly trace: Trace;
  /** Bytes of each slice on the device, header included. */
  readonly sizes: Uint32Array;
  readonly footprintBytes: number;
  /** For each access, the number of the next one to the same slice; Infinity for none. */
  readonly nextUses: Float64Array;
}

/** What one policy did with one profile, as shares of what was asked for. */
export interface Outcome {
  readonly objectMisses: number;
  readonly byteMisses: number;
  readonly written: number;
}

/** One replay. */
export interface Replayed {
  readonly profile: string;
  /** Of what is asked for at least once. */
  readonly capacityShare: number;
  readonly eviction: string;
  readonly admission: 'everything' | 'ladder';
  readonly outcome: Outcome;
}

/** The benchmark. */
export const eviction: EngineBenchmark = {
  name: 'eviction',
  question: 'what do eviction and admission miss and write, on three made-up profiles (seed 1)?',
  run: async (context) => (await replayProfiles(context)).map((replayed) => figure(nameOf(replayed), replayed.outcome)),
};

/** Replays every profile against every policy. */
export async function replayProfiles(context: Pick<EngineBenchContext, 'isShort' | 'say'>): Promise<Replayed[]> {
  const replays: Replayed[] = [];
  for (const profile of PROFILES) {
    const world = makeWorld(drawTrace(profile, new SeededRandom(SEED), context.isShort ? SHORT_SHARE : 1));
    const { trace, footprintBytes, nextUses } = world;
    context.say(
      `${profile.name}: ${trace.objects.length} requests, ${nextUses.length} slices, footprint ${formatBytes(footprintBytes)}, seed ${SEED}`,
    );
    for (const share of SHARES_OF_FOOTPRINT) replays.push(...(await compare(profile, world, share, context)));
  }
  return replays;
}

async function compare(profile: Profile, world: World, share: number, context: Pick<EngineBenchContext, 'say'>): Promise<Replayed[]> {
  const replays: Replayed[] = [];
  const capacityBytes = world.footprintBytes * share;
  for (const [name, make] of Object.entries(EVICTIONS)) {
    for (const admission of name === 'Belady' ? (['everything'] as const) : (['everything', 'ladder'] as const)) {
      // A signal to stop is heard between runs.
      await breathe();
      const policy = admission === 'everything' ? ADMIT_EVERYTHING : makeLadder(world, share);
      const outcome = replay(world, make(world, capacityBytes), { policy, capacityBytes });
      const replayed: Replayed = { profile: profile.name, capacityShare: share, eviction: name, admission, outcome };
      replays.push(replayed);
      context.say(`${nameOf(replayed)}: ${describe(outcome)}`);
    }
  }
  return replays;
}

function nameOf({ profile, capacityShare, eviction: policy, admission }: Replayed): string {
  return `${profile}, ${100 * capacityShare} %: ${policy}, ${admission === 'ladder' ? 'ladder' : 'everything admitted'}`;
}

function makeLadder({ trace, footprintBytes }: World, share: number): AdmissionPolicy {
  const entries = share * (trace.footprintSlices + 2 * (trace.firstSlice.length - 1)) * SPARE_ENTRIES;
  const entryCount = Math.ceil(Math.max(entries, (footprintBytes * share) / (256 * KIB)));
  const capacityBytes = footprintBytes * share;
  return new AdmissionLadder({ clock: new SystemClock(), entryCount, capacityBytes, writeBudgetBytes: undefined });
}

/** One pass over the trace. */
export function replay(world: World, cache: ModelCache, options: { policy: AdmissionPolicy; capacityBytes: number }): Outcome {
  const { trace, sizes, nextUses } = world;
  const { policy, capacityBytes } = options;
  const warmUp = Math.floor(trace.objects.length * WARM_UP_SHARE);
  const counted = { requests: 0, missedRequests: 0, bytes: 0, missedBytes: 0, writtenBytes: 0 };
  let isFull = false;
  let access = 0;
  const evictOne = (): void => {
    isFull = true;
    const id = cache.evict();
    const object = objectOf(trace, id);
    policy.noteEvicted(tagOf(object), id - (trace.firstSlice[object] ?? 0));
  };
  for (const [request, object] of trace.objects.entries()) {
    const isCounted = request >= warmUp;
    const tag = tagOf(object);
    policy.noteRequest(tag, 0);
    const first = trace.firstSlice[object] ?? 0;
    let isMissed = false;
    for (let sliceNumber = 0; sliceNumber < (trace.counts[request] ?? 0); sliceNumber += 1) {
      const id = first + sliceNumber;
      const slice = { id, object, sliceNumber, lengthBytes: sizes[id] ?? 0 };
      const nextUse = nextUses[access] ?? 0;
      access += 1;
      if (isCounted) counted.bytes += trace.sliceBytes[id] ?? 0;
      if (cache.hit(slice, nextUse)) continue;
      isMissed = true;
      if (isCounted) counted.missedBytes += trace.sliceBytes[id] ?? 0;
      policy.noteOffer(slice.lengthBytes);
      if (!cache.wants(slice, nextUse)) continue;
      if (policy.judge({ tag, sliceNumber, admission: 'auto', isFull }) !== 'admit') continue;
      while (cache.usedBytes + slice.lengthBytes > capacityBytes) evictOne();
      cache.insert(slice, nextUse);
      if (isCounted) counted.writtenBytes += slice.lengthBytes;
    }
    if (isCounted) counted.requests += 1;
    if (isCounted && isMissed) counted.missedRequests += 1;
  }
  return {
    objectMisses: counted.missedRequests / counted.requests,
    byteMisses: counted.missedBytes / counted.bytes,
    written: counted.writtenBytes / counted.bytes,
  };
}

export function makeWorld(trace: Trace): World {
  const sizes = trace.sliceBytes.map((lengthBytes) => alignUp(lengthBytes, 4 * KIB) + 4 * KIB);
  let accesses = 0;
  for (const count of trace.counts) accesses += count;
  const nextUses = new Float64Array(accesses);
  const nextOf = new Float64Array(sizes.length).fill(Number.POSITIVE_INFINITY);
  let access = accesses;
  let footprintBytes = 0;
  for (let request = trace.objects.length - 1; request >= 0; request -= 1) {
    const first = trace.firstSlice[trace.objects[request] ?? 0] ?? 0;
    for (let id = first + (trace.counts[request] ?? 0) - 1; id >= first; id -= 1) {
      access -= 1;
      if (nextOf[id] === Number.POSITIVE_INFINITY) footprintBytes += sizes[id] ?? 0;
      nextUses[access] = nextOf[id] ?? 0;
      // Numbers of accesses begin at 1: 0 stands for a slice that is not in.
      nextOf[id] = access + 1;
    }
  }
  return { trace, sizes, footprintBytes, nextUses };
}

/** The object that a slice belongs to. */
function objectOf({ firstSlice }: Trace, id: number): number {
  let low = 0;
  let high = firstSlice.length - 2;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((firstSlice[middle] ?? 0) <= id) low = middle;
    else high = middle - 1;
  }
  return low;
}

function figure(what: string, outcome: Outcome): EngineFigure {
  return { what, value: describe(outcome), number: outcome.byteMisses, unit: 'bytes missed per byte asked for' };
}

function describe({ objectMisses, byteMisses, written }: Outcome): string {
  return `misses ${objectMisses.toFixed(3)} of objects, ${byteMisses.toFixed(3)} of bytes; ${written.toFixed(3)} written per byte`;
}
