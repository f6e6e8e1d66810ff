/** Discarding on the real things: room comes back where it can, and where it cannot that is said once. */
import assert from 'node:assert/strict';
import { closeSync, openSync, statSync } from 'node:fs';
import { mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { must } from '../../src/base/assert.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { createLogger } from '../../src/base/log.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { DEVICE_METRICS } from '../../src/device/device-metrics.ts';
import { type DirectDevice, openDirectDevice } from '../../src/device/direct-device.ts';
import { Discarder } from '../../src/device/discard.ts';
import { Arena } from '../../src/memory/arena.ts';
import { hasTool, loopObstacle, mountObstacle, mountScratch, withLoopDevice } from '../helpers/loop-device.ts';

const clock = new SystemClock();
const arena = new Arena({ sizeBytes: 8 * MIB, clock });
const lines: string[] = [];
const logger = createLogger({ level: 'warn', stream: { write: (line) => lines.push(line) } });
let folder = '';
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'rawslice-discard-'));
});
after(() => rm(folder, { recursive: true }));

/** Bytes of `file` that take room. */
function roomBytes(file: string): number {
  return statSync(file).blocks * 512;
}

async function open(devicePath: string): Promise<DirectDevice> {
  return openDirectDevice({ path: devicePath, access: 'read-write', arena, clock, logger });
}

/** Writes 4 MiB at the start, discards the second and third of them, and looks at the room that `backing` takes. */
async function discardHalf(device: DirectDevice, backing: string): Promise<void> {
  const lease = must(arena.tryLease('fill', 4 * MIB), 'a slot');
  lease.bytes.fill(0x5c);
  await device.write([lease.bytes], 0);
  await device.flush();
  const before = roomBytes(backing);
  assert.equal(await device.discard(MIB, 2 * MIB), 'done');
  assert.equal(before - roomBytes(backing), 2 * MIB);
  await device.read([lease.bytes], 0);
  lease.bytes.fill(0x5c, MIB, 3 * MIB);
  assert.ok(lease.bytes.every((byte) => byte === 0x5c));
  lease.end();
  assert.deepEqual([device.metrics.value('discards'), device.metrics.value('discardedBytes')], [1, 2 * MIB]);
}

test('a hole in a file gives its room back', { skip: !hasTool('fallocate') }, async () => {
  const file = path.join(folder, 'file');
  await writeFile(file, '');
  await truncate(file, 8 * MIB);
  const device = await open(file);
  await discardHalf(device, file);
  assert.equal(statSync(file).size, 8 * MIB);
  await device.close();
});

test('TRIM of a loop device that we hold gives its file room back', { skip: loopObstacle() ?? !hasTool('blkdiscard') }, () =>
  withLoopDevice(8 * MIB, async (loop) => {
    const device = await open(loop.path);
    await discardHalf(device, loop.backingPath);
    await device.close();
  }),
);

test('it is the open device that is told, whatever its path names by now', { skip: !hasTool('fallocate') }, async () => {
  const [file, other] = [path.join(folder, 'moved'), path.join(folder, 'other')];
  await writeFile(file, Buffer.alloc(MIB, 1));
  await writeFile(other, Buffer.alloc(MIB, 2));
  const device = await open(file);
  await rename(other, file);
  assert.equal(await device.discard(0, MIB), 'done');
  assert.equal(roomBytes(file), MIB);
  await device.close();
});

test('one discard at a time, and closing waits for it', { skip: !hasTool('fallocate') }, async () => {
  const file = path.join(folder, 'single');
  await writeFile(file, Buffer.alloc(MIB, 1));
  const device = await open(file);
  const first = device.discard(0, 64 * KIB);
  assert.equal(await device.discard(64 * KIB, 64 * KIB), 'busy');
  await device.close();
  assert.equal(await first, 'done');
  assert.equal(roomBytes(file), MIB - 64 * KIB);
});

test('a file system without holes is asked once', { skip: mountObstacle('ramfs') ?? !hasTool('fallocate') }, async () => {
  const { mountPoint, unmount } = mountScratch('ramfs');
  try {
    const file = path.join(mountPoint, 'device');
    await writeFile(file, Buffer.alloc(MIB, 1));
    const device = await open(file);
    lines.length = 0;
    const outcomes = [await device.discard(0, 64 * KIB), await device.discard(0, 64 * KIB)];
    await device.close();
    assert.deepEqual(outcomes, ['unable', 'unable']);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', /fallocate failed/);
    assert.deepEqual([device.metrics.value('errors', 'discard'), device.metrics.value('discards')], [1, 0]);
  } finally {
    unmount();
  }
});

test('a program that is not installed is said once', async () => {
  const file = path.join(folder, 'alone');
  await writeFile(file, Buffer.alloc(MIB, 1));
  const fd = openSync(file, 'r+');
  const metrics = new MetricSet(DEVICE_METRICS);
  const discarder = new Discarder({ path: file, fd, isBlock: false, logger, metrics });
  const searched = process.env.PATH;
  lines.length = 0;
  try {
    process.env.PATH = folder;
    assert.deepEqual([await discarder.discard(0, 4 * KIB), await discarder.discard(0, 4 * KIB)], ['unable', 'unable']);
  } finally {
    process.env.PATH = searched;
    closeSync(fd);
  }
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /fallocate is not installed/);
  await discarder.idle();
});
