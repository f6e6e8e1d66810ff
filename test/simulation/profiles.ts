/** What kinds of disk there are, what a store promises on each, and what shapes a play's device takes. */
import type { Random } from '../../src/base/random.ts';
import { KIB } from '../../src/base/units.ts';
import type { Shape } from './world.ts';

/**
 * `honest`: loses what was not flushed when the power fails, and nothing else. `errors`: also fails, hangs and drags, and says so.
 * `silent`: lies about the blocks of extents. `rotten`: lies about everything.
 */
export const PROFILES = ['honest', 'errors', 'silent', 'rotten'] as const;
export type Profile = (typeof PROFILES)[number];

/** What has to hold on such a disk, beside the right bytes and everything that is asserted. */
export interface Promises {
  /** What was durable is found after a crash (S6). */
  readonly isFoundAgain: boolean;
  /** What was purged stays away over crashes (S8), no number is given twice, an older state never follows a newer one. */
  readonly isOrderKept: boolean;
  /** The store stays online and calls nothing corrupt. */
  readonly isHealthy: boolean;
}

export const DISK_PROMISES: Readonly<Record<Profile, Promises>> = {
  honest: { isFoundAgain: true, isOrderKept: true, isHealthy: true },
  errors: { isFoundAgain: true, isOrderKept: true, isHealthy: false },
  silent: { isFoundAgain: false, isOrderKept: true, isHealthy: false },
  // A disk that loses all copies of a superblock, or the very block of a purge, cannot be found out.
  rotten: { isFoundAgain: false, isOrderKept: false, isHealthy: false },
};

/** Half of all plays are on an honest disk. */
export function profileOf(random: Random): Profile {
  return (['honest', 'honest', 'honest', 'errors', 'silent', 'rotten'] as const)[random.integerBelow(6)] ?? 'honest';
}

export function shapeOf(random: Random): Shape {
  const pick = <T>(...choices: readonly [T, ...T[]]): T => choices[random.integerBelow(choices.length)] ?? choices[0];
  return {
    capacityBytes: pick(1536, 2048, 2560, 4096) * KIB,
    // With the most of them a checkpoint's zone has room for a table of contents.
    entryCount: pick(32, 64, 128, 1400),
    journalBlocks: pick(8, 10, 16, 32),
    groupBytes: pick(512, 1024) * KIB,
    keys: pick(6, 14, 60),
    admission: pick(undefined, undefined, { writeBudgetBytes: undefined }),
    compression: pick('off', 'auto'),
    limits: {
      queueSlices: pick(3, 8, 32),
      writesMax: pick(1, 2, 4),
      pendingManifests: pick(3, 8, 32),
      manifestCacheEntries: pick(2, 32),
      readsMax: pick(4, 32),
      readDeadlineMs: pick(200, 2000),
      purgesRemembered: pick(2, 64),
      evictionsPerRecord: pick(8, 256),
      journalBatchMs: pick(2, 50),
      journalFlushMs: pick(20, 1000),
      journalRecords: pick(100, 1000),
      checkpointMs: pick(50, 400, 60_000),
    },
  };
}
