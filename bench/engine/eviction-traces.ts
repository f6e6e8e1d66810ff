/**
 * Requests of made-up clients, for eviction.ts: three profiles of what caches see. Popularity is Zipf's, objects are replaced by new ones
 * (churn), and some are asked for once and never again. A seed gives the same trace on every machine.
 */
import type { Random } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';

/** What a trace is drawn from. */
export interface Profile {
  readonly name: 'mirror' | 'web' | 'video';
  readonly zipfExponent: number;
  /** Objects that can be asked for at a time. */
  readonly catalogue: number;
  readonly requests: number;
  /** Requests after which an object is replaced by a new one. */
  readonly requestsPerChange: number;
  /** Share of requests for an object that nobody else asks for. */
  readonly oneOffShare: number;
  /** Length of an object: exp(mu + sigma * normal) bytes, at most `lengthMax`. */
  readonly lengthMu: number;
  readonly lengthSigma: number;
  readonly lengthMax: number;
  /** Share of the object, from its start, that a request takes. */
  readonly takenShare: (random: Random) => number;
}

/** Requests in order, as columns. */
export interface Trace {
  /** Object of each request. */
  readonly objects: Uint32Array;
  /** Slices that each request takes, from the first. */
  readonly counts: Uint32Array;
  /** First slice of each object among the slices of all, and the number of all slices at the end. */
  readonly firstSlice: Uint32Array;
  /** Length of each slice. */
  readonly sliceBytes: Uint32Array;
  /** Bytes of all slices that are asked for at least once. */
  readonly footprintBytes: number;
  readonly footprintSlices: number;
}

const WHOLE = (): number => 1;

/** Lengths: mirror as measured in Debian's bookworm, web as in CacheLib's CDN trace (median 13 kB, mean 33 kB), video with a median of 250 MiB. */
export const PROFILES: readonly Profile[] = [
  {
    name: 'mirror',
    zipfExponent: 0.9,
    catalogue: 40_000,
    requests: 500_000,
    requestsPerChange: 200,
    oneOffShare: 0.1,
    lengthMu: 11.31,
    lengthSigma: 2.08,
    lengthMax: 1540 * MIB,
    takenShare: WHOLE,
  },
  {
    name: 'web',
    zipfExponent: 0.75,
    catalogue: 150_000,
    requests: 900_000,
    requestsPerChange: 50,
    oneOffShare: 0.25,
    lengthMu: 9.47,
    lengthSigma: 1.365,
    lengthMax: 100 * MIB,
    takenShare: WHOLE,
  },
  {
    name: 'video',
    zipfExponent: 0.9,
    catalogue: 1500,
    requests: 7000,
    requestsPerChange: 200,
    oneOffShare: 0,
    lengthMu: Math.log(250 * MIB),
    lengthSigma: 0.6,
    lengthMax: 4000 * MIB,
    takenShare: (random) => {
      const kind = uniform(random);
      if (kind < 0.35) return 0.1 * uniform(random);
      return kind < 0.6 ? 1 : 0.1 + 0.9 * uniform(random);
    },
  },
];

/** Draws a trace. @param share of the profile's catalogue and requests, for short runs */
export function drawTrace(profile: Profile, random: Random, share: number): Trace {
  const requests = Math.ceil(profile.requests * share);
  const catalogue = Math.ceil(profile.catalogue * share);
  const ranks = zipfTable(catalogue, profile.zipfExponent);
  const objectAt = Uint32Array.from({ length: catalogue }, (_, rank) => rank);
  const objects = new Uint32Array(requests);
  const shares = new Float64Array(requests);
  let objectCount = catalogue;
  for (let request = 0; request < requests; request += 1) {
    if (request % profile.requestsPerChange === 0) objectAt[random.integerBelow(catalogue)] = objectCount++;
    const isOneOff = uniform(random) < profile.oneOffShare;
    objects[request] = isOneOff ? objectCount++ : (objectAt[pick(ranks, random)] ?? 0);
    shares[request] = profile.takenShare(random);
  }
  const lengths = Float64Array.from({ length: objectCount }, () => {
    const length = Math.exp(profile.lengthMu + profile.lengthSigma * normal(random));
    return Math.max(1, Math.min(profile.lengthMax, Math.floor(length)));
  });
  return layOut(objects, shares, lengths);
}

function layOut(objects: Uint32Array, shares: Float64Array, lengths: Float64Array): Trace {
  const firstSlice = new Uint32Array(lengths.length + 1);
  for (const [object, length] of lengths.entries()) firstSlice[object + 1] = (firstSlice[object] ?? 0) + Math.ceil(length / MIB);
  const sliceBytes = new Uint32Array(firstSlice[lengths.length] ?? 0).fill(MIB);
  for (const [object, length] of lengths.entries()) {
    const last = (firstSlice[object + 1] ?? 0) - 1;
    sliceBytes[last] = length - (last - (firstSlice[object] ?? 0)) * MIB;
  }
  const counts = objects.map((object, request) => {
    const slices = (firstSlice[object + 1] ?? 0) - (firstSlice[object] ?? 0);
    return Math.max(1, Math.round(slices * (shares[request] ?? 1)));
  });
  const taken = new Uint32Array(lengths.length);
  for (const [request, object] of objects.entries()) taken[object] = Math.max(taken[object] ?? 0, counts[request] ?? 0);
  let footprintBytes = 0;
  let footprintSlices = 0;
  for (const [object, count] of taken.entries()) {
    footprintSlices += count;
    for (let slice = 0; slice < count; slice += 1) footprintBytes += sliceBytes[(firstSlice[object] ?? 0) + slice] ?? 0;
  }
  return { objects, counts, firstSlice, sliceBytes, footprintBytes, footprintSlices };
}

function zipfTable(count: number, exponent: number): Float64Array {
  const sums = new Float64Array(count);
  let sum = 0;
  for (let rank = 0; rank < count; rank += 1) {
    sum += (rank + 1) ** -exponent;
    sums[rank] = sum;
  }
  return sums.map((value) => value / sum);
}

function pick(sums: Float64Array, random: Random): number {
  const wanted = uniform(random);
  let low = 0;
  let high = sums.length - 1;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((sums[middle] ?? 1) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

function uniform(random: Random): number {
  return random.integerBelow(2 ** 32) / 2 ** 32;
}

/** Box and Muller. */
function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - uniform(random))) * Math.cos(2 * Math.PI * uniform(random));
}
