/** The two kinds of device that a cache lives on, for tests that run the same on both: a file, and a loop device where root allows it. */
import path from 'node:path';
import type { TestContext } from 'node:test';
import { attach, loopObstacle } from './loop-device.ts';
import { temporaryDirectory } from './temp.ts';
import { unwinding } from './unwinding.ts';

/** One kind of place. */
export interface CachePlace {
  /** For the test's name. */
  readonly name: string;
  /** The one that is there everywhere. */
  readonly isFirst: boolean;
  /** Why it cannot be used here, or false. */
  readonly skip: string | false;
  /** A place for one test, removed after it. @returns the path and the words that make a first `serve` format it */
  make(context: TestContext, sizeBytes: number): Promise<{ readonly device: string; readonly flags: readonly string[] }>;
}

const FILE: CachePlace = {
  name: 'a file',
  isFirst: true,
  skip: false,
  make: async (context, sizeBytes) => {
    const directory = await temporaryDirectory(unwinding(context));
    return { device: path.join(directory, 'cache'), flags: ['--size', String(sizeBytes)] };
  },
};

const LOOP_DEVICE: CachePlace = {
  name: 'a loop device',
  isFirst: false,
  skip: loopObstacle() ?? false,
  make: async (context, sizeBytes) => {
    const { loop, detach } = attach(sizeBytes);
    unwinding(context).after(async () => detach());
    return { device: loop.path, flags: ['--format-blank'] };
  },
};

/** Both kinds. */
export const CACHE_PLACES: readonly [file: CachePlace, loopDevice: CachePlace] = [FILE, LOOP_DEVICE];
