/** What a store is made of, up to the catalogue, without a store around it: for tests of journal, checkpoints and superblocks. */
import assert from 'node:assert/strict';
import { createSilentLogger } from '../../src/base/log.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { MIB } from '../../src/base/units.ts';
import type { FormatParameters } from '../../src/format/geometry.ts';
import { Arena } from '../../src/memory/arena.ts';
import { ADMIT_EVERYTHING } from '../../src/store/admission/admission-policy.ts';
import { Catalogue } from '../../src/store/index/catalogue.ts';
import { NO_SLOT, objectTag } from '../../src/store/index/slice-index.ts';
import { PurgeMemory } from '../../src/store/purges/purge-memory.ts';
import { Journal } from '../../src/store/recovery/journal.ts';
import { PersistentCounter } from '../../src/store/recovery/persistent-counter.ts';
import { type RecoveredState, recoverState } from '../../src/store/recovery/recovery.ts';
import { type DeviceRoot, readRoot } from '../../src/store/recovery/root-area.ts';
import { RootKeeper } from '../../src/store/recovery/root-keeper.ts';
import { DEFAULT_STORE_LIMITS } from '../../src/store/store-limits.ts';
import { STORE_METRICS } from '../../src/store/store-metrics.ts';
import type { SimulatedDevice, SimulatedDisk } from '../simulation/simulated-device.ts';
import { clock, formatTiny, hashOf } from './store-bench.ts';

/** The parts of a mounted device. */
export interface RootBench {
  readonly device: SimulatedDevice;
  readonly root: DeviceRoot;
  readonly state: RecoveredState;
  readonly keeper: RootKeeper;
  readonly journal: Journal;
  readonly catalogue: Catalogue;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
}

/** An address space of 8 GiB each: tests that look at hundreds of disks share one. */
const arena = new Arena({ sizeBytes: 8 * MIB, clock });

export async function formatDisk(disk: SimulatedDisk, parameters?: Partial<FormatParameters>): Promise<void> {
  const device = disk.open();
  await formatTiny(device, parameters);
  await device.close();
}

/** Recovers and mounts. A failure of the device fails the test, unless it `mayFail`. */
export async function mountRoot(disk: SimulatedDisk, { mayFail = false } = {}): Promise<RootBench> {
  const device = disk.open();
  const metrics = new MetricSet(STORE_METRICS);
  const root = await readRoot(device, arena);
  const shared = { device, arena, clock, metrics, limits: DEFAULT_STORE_LIMITS };
  const onFailure = (_operation: string, error: unknown): void => assert.ok(mayFail, String(error));
  const keeper = new RootKeeper({
    ...shared,
    logger: createSilentLogger(),
    root,
    generations: new PersistentCounter(1, 0),
    // Above those that putObject gives.
    writeSequences: new PersistentCounter(2 ** 20, 0),
    purges: new PurgeMemory({ scopesMax: 8, epochsMax: 8, clearedMax: 8 }),
    isOnline: () => true,
    onExhausted: () => assert.fail('numbers are used up'),
    onFailure,
  });
  const state = await recoverState(keeper.checkpointPlace, root);
  const { geometry, deviceUuid } = root.format;
  const journal = new Journal({
    ...shared,
    geometry,
    deviceTag: deviceUuid.subarray(0, 8),
    epoch: root.superblock.epoch + 1,
    position: state.journal,
    startSequence: state.journalStart,
    purgeSequence: state.purges.newestSequence,
    onCrowded: () => undefined,
    onFailure,
  });
  const { index, allocator } = state;
  const catalogue = new Catalogue({ ...shared, index, allocator, journal, policy: ADMIT_EVERYTHING, onVanish: () => undefined });
  await keeper.mount({ catalogue, journal }, state);
  return { device, root, state, keeper, journal, catalogue, metrics };
}

/** As after a kill: what was flushed is there, and no superblock says that all is well. */
export async function leaveRoot({ journal, device }: RootBench): Promise<void> {
  journal.stop();
  await device.close();
}

/** Root and state as the next start finds them; nothing is written. */
export async function lookAtRoot(disk: SimulatedDisk): Promise<{ root: DeviceRoot; state: RecoveredState }> {
  const device = disk.open('read-only');
  const root = await readRoot(device, arena);
  const { geometry, deviceUuid } = root.format;
  const state = await recoverState({ device, arena, geometry, deviceTag: deviceUuid.subarray(0, 8) }, root);
  await device.close();
  return { root, state };
}

/** The labels alone. */
export async function lookAtLabels(disk: SimulatedDisk): Promise<DeviceRoot> {
  const device = disk.open('read-only');
  const root = await readRoot(device, arena);
  await device.close();
  return root;
}

/** An object of `blocks` blocks without slices; its write sequence is its generation. */
export function putObject(catalogue: Catalogue, key: string, generation: number, blocks = 3): { block: number; blocks: number } {
  const tagSlot = catalogue.index.putManifest(objectTag(hashOf(key)), generation);
  const block = catalogue.reserveBlocks(blocks, 'manifest');
  assert.ok(block !== undefined && tagSlot !== NO_SLOT);
  catalogue.putManifest(tagSlot, { block, blocks, writeSequence: generation, flags: 0 });
  return { block, blocks };
}
