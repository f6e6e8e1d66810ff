/** A store on a small simulated disk, for scenarios in which records, journal and walks are real. */
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import type { Arena } from '../../src/memory/arena.ts';
import type { SliceStore } from '../../src/store/slice-store.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { formatTiny, openBenchOn } from '../store/store-bench.ts';

const SEED = 91;

/** A formatted disk that nobody holds. */
export async function tinyDisk(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk({ capacityBytes: 16 * MIB, random: new SeededRandom(SEED) });
  await formatTiny(disk.open());
  disk.crash(new SeededRandom(SEED), 'all');
  return disk;
}

/** The store of a disk, online; for startEdge({ makeStore }). */
export function openTiny(disk: SimulatedDisk, arena: Arena): Promise<SliceStore> {
  return openBenchOn(disk.open(), arena);
}

/** The store of a fresh disk. */
export async function tinyDevice(arena: Arena): Promise<SliceStore> {
  return openTiny(await tinyDisk(), arena);
}
