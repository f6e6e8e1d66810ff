/**
 * Every limit of the store in one place, with the values to start with. Reaching one is counted in store-metrics.ts.
 */
import { MIB, SECOND_MS } from '../base/units.ts';

/** Limits of one store. */
export interface StoreLimits {
  /** Slices waiting for or in their write. */
  readonly queueSlices: number;
  /** Bytes of them. */
  readonly queueBytes: number;
  /** Writes at the device at a time. */
  readonly writesMax: number;
  /** How long a small record waits for others that are written with it. */
  readonly gatherMs: number;
  /** Manifests that wait in memory for their first slice. */
  readonly pendingManifests: number;
  /** Decoded manifests kept, and their fields' and keys' characters. */
  readonly manifestCacheEntries: number;
  readonly manifestCacheCharacters: number;
  /** Extent headers kept for reading parts of slices, and chunks that they name: 8 bytes each. */
  readonly headersKept: number;
  readonly headerChunksKept: number;
  /** Reads of the device at a time; one more is `busy`. */
  readonly readsMax: number;
  readonly readDeadlineMs: number;
  /** Of a write or a flush; one that takes longer while nothing else is answered is a fault of the device. */
  readonly writeDeadlineMs: number;
  /** A device that answers nothing for so long while the store closes is given up. */
  readonly closeSilenceMs: number;
  readonly slotWaitMs: number;
  /** Purges that are told apart when a late answer comes. */
  readonly purgesRemembered: number;
  /** Objects that are known not to be covered by the purges by prefix and tag in force. */
  readonly purgeClearedObjects: number;
  /** Records that the walk after a purge reads at a time, and its rest after them. */
  readonly purgeWalkReads: number;
  readonly purgeWalkPauseMs: number;
  /** Generations that are kept readable for those who read them. */
  readonly heldGenerations: number;
  /** Entries given up to make room for one record. */
  readonly evictionsPerRecord: number;
  readonly journalBatchMs: number;
  readonly journalFlushMs: number;
  /** Journal records waiting for their write. */
  readonly journalRecords: number;
  readonly checkpointMs: number;
}

/** Values to start with; benchmarks settle them. */
export const DEFAULT_STORE_LIMITS: StoreLimits = {
  queueSlices: 256,
  queueBytes: 64 * MIB,
  writesMax: 4,
  gatherMs: 10,
  pendingManifests: 4096,
  manifestCacheEntries: 16384,
  manifestCacheCharacters: 32 * MIB,
  headersKept: 16384,
  headerChunksKept: 262144,
  readsMax: 1024,
  readDeadlineMs: 5 * SECOND_MS,
  writeDeadlineMs: 30 * SECOND_MS,
  closeSilenceMs: 10 * SECOND_MS,
  slotWaitMs: 50,
  purgesRemembered: 65536,
  purgeClearedObjects: 65536,
  purgeWalkReads: 16,
  purgeWalkPauseMs: 10,
  heldGenerations: 65536,
  evictionsPerRecord: 4096,
  journalBatchMs: 50,
  journalFlushMs: 5 * SECOND_MS,
  journalRecords: 16384,
  checkpointMs: 180 * SECOND_MS,
};
