/** Every kind of damage: named by the check, gone after a repair, and never a wrong byte from a store that is opened afterwards. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { MIB } from '../../../src/base/units.ts';
import type { BlockDevice } from '../../../src/device/block-device.ts';
import { Arena } from '../../../src/memory/arena.ts';
import { type CheckLevel, checkDevice, type DeviceCheck } from '../../../src/store/check/check-device.ts';
import { DAMAGE_KINDS } from '../../../src/store/check/check-log.ts';
import { repairDevice } from '../../../src/store/check/repair-device.ts';
import type { SimulatedDisk } from '../../simulation/simulated-device.ts';
import { assertNoLeases, clock, openBench, readAndCheck, sliceCount } from '../store-bench.ts';
import {
  admitPatient,
  CRASH_DAMAGES,
  DAMAGES,
  type Damage,
  harmPatient,
  type Image,
  LONE_DAMAGES,
  makeImage,
  type Patient,
} from './damaged-image.ts';

let closed: Image;
let crashed: Image;

before(async () => {
  closed = await makeImage('closed');
  crashed = await makeImage('crashed');
});

function makeArena(): Arena {
  return new Arena({ sizeBytes: 8 * MIB, clock });
}

async function check(device: BlockDevice, level: CheckLevel = 'deep'): Promise<DeviceCheck> {
  const arena = makeArena();
  const result = await checkDevice({ device, arena }, { level, isInUse: false });
  assertNoLeases(arena);
  return result.check;
}

function codesOf({ counts }: DeviceCheck): readonly string[] {
  return counts.map(({ code }) => code);
}

async function repair(disk: SimulatedDisk): Promise<DeviceCheck> {
  const device = disk.open();
  const arena = makeArena();
  const { check: found, findings } = await checkDevice({ device, arena }, { level: 'deep', isInUse: false });
  assert.ok(findings !== undefined);
  await repairDevice({ device, arena, clock }, findings);
  await device.close();
  return found;
}

/** Opens a store on the disk: every object is there with its right bytes, or a miss. @returns slices that were read */
async function readEverything(patient: Patient): Promise<number> {
  const bench = await openBench(patient.disk.open());
  let hits = 0;
  for (const manifest of patient.manifests) {
    const verdict = await bench.store.readManifest(manifest.objectHash);
    if (verdict.kind !== 'hit') continue;
    assert.deepEqual(verdict.manifest, manifest);
    for (let number = 0; number < sliceCount(manifest); number += 1) {
      const kind = await readAndCheck(bench.store, manifest, number);
      if (kind === 'device' || kind === 'ram') hits += 1;
    }
  }
  assert.equal(bench.store.findContradiction(), undefined);
  await bench.store.close();
  return hits;
}

test('images without damage are clean, at every level', async () => {
  for (const image of [closed, crashed]) {
    const patient = await admitPatient(image);
    for (const level of ['quick', 'full', 'deep'] as const) {
      const result = await check(patient.disk.open('read-only'), level);
      assert.equal(result.findings, 0, JSON.stringify(result.notes));
      assert.deepEqual(codesOf(result), image.end === 'closed' ? [] : ['not-closed']);
    }
  }
});

async function assertNamedAndCured(image: Image, damages: readonly Damage[]): Promise<void> {
  const patient = await admitPatient(image);
  const whole = image.manifests.length * 3;
  await harmPatient(patient, damages);
  const looked = await check(patient.disk.open('read-only'));
  for (const { code, name } of damages) assert.ok(codesOf(looked).includes(code), `${name}: ${code} among ${JSON.stringify(looked.notes)}`);
  const found = await repair(patient.disk);
  if (damages.some(({ healsWhenWritten }) => healsWhenWritten)) patient.disk.clearFaults();
  assert.deepEqual(codesOf(found), codesOf(looked), 'the repair sees what the check saw');
  const again = await check(patient.disk.open('read-only'));
  assert.deepEqual(again.notes, [], damages.map(({ name }) => name).join(', '));
  const hits = await readEverything(patient);
  const isForgotten = found.recovery?.isForgotten ?? false;
  assert.ok(hits <= whole && hits > 0 !== isForgotten, `${hits} of ${whole}`);
  assert.equal((await check(patient.disk.open('read-only'))).findings, 0, 'a store was opened and closed');
}

for (const [index, damage] of [...DAMAGES, ...LONE_DAMAGES].entries()) {
  test(`damage ${index}: ${damage.name} is ${damage.code}`, () => assertNamedAndCured(closed, [damage]));
}

for (const [index, damage] of CRASH_DAMAGES.entries()) {
  test(`damage after a crash ${index}: ${damage.name} is ${damage.code}`, () => assertNamedAndCured(crashed, [damage]));
}

test('one device with every kind of damage: each is named, all are repaired', async () => {
  await assertNamedAndCured(closed, DAMAGES);
});

test('every code of the table is shown here, or needs what a test of its own shows', () => {
  const shown = new Set<string>([...DAMAGES, ...LONE_DAMAGES, ...CRASH_DAMAGES].map(({ code }) => code));
  const elsewhere = Object.keys(DAMAGE_KINDS).filter((code) => !shown.has(code));
  // These two are shown on the command line; the last is no damage.
  assert.deepEqual(elsewhere, ['truncated', 'no-label', 'not-closed']);
});
