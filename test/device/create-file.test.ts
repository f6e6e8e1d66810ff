/** The file that stands in for a device: sparse, exclusive, cleaned up. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { AssertionFailure } from '../../src/base/assert.ts';
import { EdgeError } from '../../src/base/errors.ts';
import { GIB, MIB } from '../../src/base/units.ts';
import { createSparseFile, DEFAULT_FILE_MAX_BYTES, DEFAULT_FILE_MIN_BYTES, defaultFileSizeBytes } from '../../src/device/create-file.ts';
import { probeDevice } from '../../src/device/probe.ts';
import { mountObstacle, mountScratch, mustRun } from '../helpers/loop-device.ts';

let folder = '';
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'rawslice-create-'));
});
after(() => rm(folder, { recursive: true }));

const hasCode = (code: string) => (error: unknown) => error instanceof EdgeError && error.code === code;

test('createSparseFile() makes folders and a blank file that takes no room', async () => {
  const file = path.join(folder, 'a', 'b', 'device');
  await createSparseFile(file, 100 * GIB);
  const facts = await stat(file);
  assert.equal(facts.size, 100 * GIB);
  assert.ok(facts.blocks * 512 < MIB);
  assert.equal(facts.mode % 0o1000, 0o600);
  assert.deepEqual((await probeDevice(file)).signature, { kind: 'blank' });
});

test('createSparseFile() never touches what exists', async () => {
  const file = path.join(folder, 'letters');
  await writeFile(file, 'Dear reader');
  await assert.rejects(createSparseFile(file, MIB), hasCode('DEVICE_UNSUITABLE'));
  assert.equal(await readFile(file, 'utf8'), 'Dear reader');
});

test('createSparseFile() leaves nothing after a failure', async () => {
  const file = path.join(folder, 'c', 'd', 'device');
  // Larger than any file of the usual file systems.
  await assert.rejects(createSparseFile(file, 2 ** 53 - 4096), (error) => error instanceof EdgeError && error.source === 'device');
  assert.equal(existsSync(path.join(folder, 'c')), false);
  await writeFile(path.join(folder, 'plain'), '');
  await assert.rejects(createSparseFile(path.join(folder, 'plain', 'device'), MIB), hasCode('DEVICE_UNSUITABLE'));
  await assert.rejects(createSparseFile(file, 0), AssertionFailure);
});

test('defaultFileSizeBytes() is half of what is free, within its limits, in whole MiB', async (t) => {
  const sizeBytes = await defaultFileSizeBytes(path.join(folder, 'not', 'yet', 'there'));
  assert.ok(sizeBytes >= DEFAULT_FILE_MIN_BYTES && sizeBytes <= DEFAULT_FILE_MAX_BYTES);
  assert.equal(sizeBytes % MIB, 0);
  await t.test('and refuses a small file system', { skip: mountObstacle('tmpfs') ?? false }, async () => {
    const { mountPoint, unmount } = mountScratch('tmpfs', 'size=100m');
    try {
      await assert.rejects(defaultFileSizeBytes(path.join(mountPoint, 'device')), hasCode('DEVICE_TOO_SMALL'));
      mustRun('mount', ['-o', 'remount,size=200m', mountPoint]);
      assert.equal(await defaultFileSizeBytes(path.join(mountPoint, 'device')), 100 * MIB);
    } finally {
      unmount();
    }
  });
});
