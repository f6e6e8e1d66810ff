/** Devices that other versions wrote: read exactly, or refused by their version; never taken for something else. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { EdgeError } from '../../src/base/errors.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { MIB } from '../../src/base/units.ts';
import { FORMAT_VERSION } from '../../src/format/format-block.ts';
import { Arena } from '../../src/memory/arena.ts';
import { checkDevice } from '../../src/store/check/check-device.ts';
import { type DeviceStore, openStore } from '../../src/store/device-store.ts';
import { hashOf, sliceLength } from '../store/store-bench.ts';
import { diskWith, type GoldenImage, makeGoldenImage, readGoldenImages } from './golden/golden-world.ts';

const clock = new SystemClock();

async function assertHolds(store: DeviceStore, { facts, name }: GoldenImage): Promise<void> {
  for (const { manifest, slices } of facts.present) {
    const { objectHash, generation, keyText } = manifest;
    assert.deepEqual(await store.readManifest(objectHash), { kind: 'hit', manifest }, `${name}: ${keyText}`);
    for (const [sliceNumber, sha256] of slices.entries()) {
      const endBytes = sliceLength(manifest, sliceNumber);
      const verdict = await store.readSlice({ objectHash, generation, sliceNumber, startBytes: 0, endBytes });
      assert.ok(verdict.kind === 'hit', `${name}: slice ${sliceNumber} of ${keyText} is ${verdict.kind}`);
      assert.equal(createHash('sha256').update(verdict.bytes).digest('hex'), sha256, `${name}: slice ${sliceNumber} of ${keyText}`);
      verdict.lease.end();
    }
  }
  for (const keyText of facts.absent) assert.equal(store.findManifest(hashOf(keyText)), undefined, `${name}: ${keyText}`);
  assert.equal(store.findContradiction(), undefined, name);
}

async function readOrRefuse(image: GoldenImage): Promise<'read' | 'refused'> {
  const { name, facts } = image;
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const disk = diskWith(image.bytes);
  const looking = disk.open('read-only');
  let store: DeviceStore;
  try {
    store = await openStore({ device: disk.open(), arena, clock, logger: createSilentLogger() });
  } catch (error) {
    assert.ok(error instanceof EdgeError && error.code === 'FORMAT_VERSION', `${name}: ${String(error)}`);
    assert.notEqual(facts.formatVersion, FORMAT_VERSION, `${name}: refused, though the program says that it reads this version`);
    assert.match(error.message, new RegExp(`format ${facts.formatVersion}, this program reads format ${FORMAT_VERSION}`));
    await assert.rejects(checkDevice({ device: looking, arena }, { level: 'quick', isInUse: false }), { code: 'FORMAT_VERSION' });
    assert.deepEqual(disk.peek(0, image.bytes.length), image.bytes, `${name}: a device that is refused is not written`);
    return 'refused';
  }
  assert.deepEqual(
    (await checkDevice({ device: looking, arena }, { level: 'quick', isInUse: false })).check.notes.filter(
      ({ kind }) => kind === 'finding',
    ),
    [],
    name,
  );
  await assertHolds(store, image);
  await store.close();
  const again = await openStore({ device: disk.open(), arena, clock, logger: createSilentLogger() });
  await assertHolds(again, image);
  await again.close();
  assert.equal(arena.leasedSlots, 0);
  return 'read';
}

for (const image of readGoldenImages()) {
  test(`golden image ${image.name} is read exactly, or refused by its version`, async (context) => {
    context.diagnostic(await readOrRefuse(image));
  });
}

test('the script makes images of the present version, the same every time', async (context) => {
  for (const end of ['clean', 'crash'] as const) {
    const image = await makeGoldenImage(end);
    assert.deepEqual((await makeGoldenImage(end)).bytes, image.bytes);
    assert.equal(await readOrRefuse(image), 'read');
    const isCommitted = readGoldenImages().some(({ name }) => name === image.name);
    if (!isCommitted) context.diagnostic(`${image.name} is not committed yet: node test/format/golden/golden-world.ts`);
  }
});
