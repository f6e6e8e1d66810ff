/**
 * Everything that `serve` must refuse to start on: said in one clear sentence, with exit code 1, and without a changed byte. The refusals
 * run the program's own entry in this process; those that need a second running program run it as one.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, symlinkSync, writeSync } from 'node:fs';
import { copyFile, readdir, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { MIB } from '../../src/base/units.ts';
import { crc32Around } from '../../src/format/checksum.ts';
import { putNumber } from '../../src/format/field-layout.ts';
import { FORMAT_BLOCK, FORMAT_VERSION } from '../../src/format/format-block.ts';
import { runProgram } from '../../tools/program.ts';
import { Terminal } from '../../tools/terminal.ts';
import { CapturedStream } from '../helpers/captured-stream.ts';
import { attach, hasTool, loopObstacle, mountObstacle, mountScratch, mustRun } from '../helpers/loop-device.ts';
import { Origin } from '../helpers/origin.ts';
import { runRawslice, startRawslice } from '../helpers/rawslice-process.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

const noLoop = loopObstacle() ?? false;
const noExt4 = hasTool('mkfs.ext4') ? false : 'mkfs.ext4 is not installed';
const LABEL_BYTES = MIB;

async function directoryOf(context: TestContext): Promise<string> {
  return await temporaryDirectory(unwinding(context));
}

/** Runs a `serve` that is to be refused. @returns exit code and what it said */
async function serve(device: string, ...flags: string[]): Promise<{ code: number; text: string }> {
  const stderr = new CapturedStream();
  const terminal = new Terminal({ stdout: new CapturedStream(), stderr }, {});
  const words = ['serve', '--upstream', 'http://127.0.0.1:9', '--device', device, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const code = await runProgram([...words, ...flags], { terminal, environment: {}, clock: new SystemClock(), exitCode: 0 });
  return { code, text: stderr.text };
}

/** The whole content, whatever holds it. */
function digest(file: string): string {
  const hash = createHash('sha256');
  const block = Buffer.alloc(MIB);
  const descriptor = openSync(file, 'r');
  try {
    for (let count = readSync(descriptor, block); count > 0; count = readSync(descriptor, block)) hash.update(block.subarray(0, count));
  } finally {
    closeSync(descriptor);
  }
  return hash.digest('hex');
}

async function assertRefused(device: string, sentence: RegExp, ...flags: string[]): Promise<void> {
  const before = digest(device);
  const { code, text } = await serve(device, ...flags);
  assert.match(text, sentence);
  assert.match(text, /^rawslice: [^\n]+\n$/, 'one line');
  assert.equal(code, 1);
  assert.equal(digest(device), before, 'not a byte has changed');
}

/** An image of `sizeBytes` that is a cache already. */
async function cacheImage(directory: string, sizeBytes = 64 * MIB): Promise<string> {
  const image = path.join(directory, 'image');
  // The address to listen on is refused after the device has been formatted.
  const { code, text } = await serve(image, '--size', String(sizeBytes), '--listen', '203.0.113.1:1');
  assert.deepEqual([code, /203\.0\.113\.1:1/.test(text)], [1, true], text);
  return image;
}

test('a device that is absent below /dev is not created', async () => {
  const { code, text } = await serve('/dev/rawslice-no-such-device');
  assert.match(text, /^rawslice: \/dev\/rawslice-no-such-device does not exist; lsblk lists/);
  assert.equal(code, 1);
});

test('a directory is no device', async (context) => {
  const { code, text } = await serve(await directoryOf(context));
  assert.match(text, /is a directory; give a block device or a regular file/);
  assert.equal(code, 1);
});

test('a device below 64 MiB is too small', async (context) => {
  const file = path.join(await directoryOf(context), 'small');
  await writeFile(file, '');
  await truncate(file, 32 * MIB);
  await assertRefused(file, /has 32 MiB; the smallest device is 64 MiB/, '--format-blank');
});

test('a blank file is refused with the line that formats it', async (context) => {
  const file = path.join(await directoryOf(context), 'blank');
  await writeFile(file, '');
  await truncate(file, 64 * MIB);
  await assertRefused(file, /is blank; format it: tools\/rawslice format \S+ --yes/);
});

test('a blank loop device is refused with the line that formats it', { skip: noLoop }, async (context) => {
  const { loop, detach } = attach(64 * MIB);
  unwinding(context).after(async () => detach());
  await assertRefused(loop.path, new RegExp(`${loop.path} is blank; format it: tools/rawslice format ${loop.path} --yes`));
});

test('a file system is never overwritten, not even by --format-blank', { skip: noExt4 }, async (context) => {
  const file = path.join(await directoryOf(context), 'ext4');
  await writeFile(file, '');
  await truncate(file, 64 * MIB);
  mustRun('mkfs.ext4', ['-q', '-F', file]);
  for (const flags of [[], ['--format-blank']])
    await assertRefused(file, /holds .*ext[234].*, not a rawslice cache; give the path/, ...flags);
});

test('a mounted loop device is refused and stays mounted', { skip: noLoop || noExt4 }, async (context) => {
  const { loop, detach } = attach(64 * MIB);
  unwinding(context).after(async () => detach());
  mustRun('mkfs.ext4', ['-q', '-F', loop.path]);
  const mountPoint = await directoryOf(context);
  mustRun('mount', ['-o', 'ro', loop.path, mountPoint]);
  unwinding(context).after(async () => void mustRun('umount', [mountPoint]));
  await assertRefused(loop.path, new RegExp(`${loop.path} is mounted at ${mountPoint}; unmount it first`), '--format-blank');
});

test('a truncated image, another format version and damaged labels are told apart', async (context) => {
  const directory = await directoryOf(context);
  const image = await cacheImage(directory);
  const copy = path.join(directory, 'copy');

  await copyFile(image, copy);
  await truncate(copy, 63 * MIB);
  await assertRefused(copy, /has become shorter \(.*64 MiB.*\); restore its size or format it anew/);

  await copyFile(image, copy);
  patchLabels(copy, 64 * MIB, (block) => {
    putNumber(block, 0, FORMAT_BLOCK.version, FORMAT_VERSION + 1);
    putNumber(block, 0, FORMAT_BLOCK.crc, crc32Around(block, 512, FORMAT_BLOCK.crc));
  });
  await assertRefused(copy, new RegExp(`has format ${FORMAT_VERSION + 1}, this program reads format ${FORMAT_VERSION}; use the rawslice`));

  await copyFile(image, copy);
  // The first line stays: it is a rawslice device, but nothing of it can be read.
  patchLabels(copy, 64 * MIB, (block) => block.fill(0xa5, FORMAT_BLOCK.deviceUuid.offset, FORMAT_BLOCK.crc.offset));
  await assertRefused(copy, /holds no readable rawslice format \(.*\); run rawslice format/);
});

function patchLabels(file: string, sizeBytes: number, patch: (block: Buffer) => void): void {
  const descriptor = openSync(file, 'r+');
  const block = Buffer.alloc(512);
  try {
    for (const offset of [0, LABEL_BYTES, sizeBytes - 2 * LABEL_BYTES, sizeBytes - LABEL_BYTES]) {
      readSync(descriptor, block, 0, block.length, offset);
      patch(block);
      writeSync(descriptor, block, 0, block.length, offset);
    }
  } finally {
    closeSync(descriptor);
  }
}

test('a device that is named twice, the second time by a link, is told so', async (context) => {
  await using origin = await Origin.start();
  const directory = await directoryOf(context);
  const [device, link] = [path.join(directory, 'cache'), path.join(directory, 'link')];
  assert.equal((await runRawslice(['format', device, '--size', '64MiB'])).exit, 0);
  symlinkSync(device, link);
  const addresses = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const { exit, stderr } = await runRawslice(['serve', '--upstream', origin.url, '--device', device, '--device', link, ...addresses]);
  assert.equal(exit, 78);
  assert.ok(stderr.includes(`rawslice: ${link} names the same device as ${device}; name it once\n`), stderr);
});

test('a second process on the device, or on the port, is refused and harms nothing', async (context) => {
  await using origin = await Origin.start();
  const identity = origin.setObject('/a.iso', { lengthBytes: 3 * MIB, cacheControl: 'max-age=3600' });
  const directory = await directoryOf(context);
  const device = path.join(directory, 'cache');
  const first = await startRawslice(context, { upstream: origin.url, device, flags: ['--size', '64MiB'] });
  await first.get('/a.iso');

  const addresses = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const onDevice = await runRawslice(['serve', '--upstream', origin.url, '--device', device, ...addresses]);
  assert.equal(onDevice.exit, 1);
  assert.match(onDevice.stderr, new RegExp(`^rawslice: ${device} is held by process ${first.processId}; stop it first\n$`));

  const other = path.join(directory, 'other');
  for (const taken of [
    ['--listen', `127.0.0.1:${first.port}`],
    ['--admin', `127.0.0.1:${first.adminPort}`],
  ]) {
    const { code, text } = await serve(other, '--size', '64MiB', ...taken);
    assert.equal(code, 1);
    assert.match(text, new RegExp(`^rawslice: [^\n]*${taken[1]}[^\n]*\n$`));
  }

  await origin.stop();
  const hit = await first.get('/a.iso', {}, { expect: identity });
  assert.deepEqual([hit.headers['x-cache'], hit.wrongAt, hit.isComplete], ['HIT', -1, true]);
  // The device of those that failed to listen is let go of, and whole.
  const after = await startRawslice(context, { upstream: origin.url, device: other });
  assert.equal(await after.stop(), 0);
});

test('a file that finds no room for its format does not stay behind', { skip: mountObstacle('tmpfs') ?? false }, async (context) => {
  const { mountPoint, unmount } = mountScratch('tmpfs', 'mode=0700,size=4m');
  unwinding(context).after(async () => unmount());
  const { code, text } = await serve(path.join(mountPoint, 'cache'), '--size', '128MiB');
  assert.match(text, /^rawslice: The write of \S+ failed with ENOSPC; its file system is full; free some room there[^\n]*\n$/);
  assert.equal(code, 1);
  assert.deepEqual(await readdir(mountPoint), []);
});

test('where direct I/O is impossible the program says so and works', { skip: mountObstacle('ramfs') ?? false }, async (context) => {
  const { mountPoint, unmount } = mountScratch('ramfs');
  unwinding(context).after(async () => unmount());
  await using origin = await Origin.start();
  const identity = origin.setObject('/a.iso', { lengthBytes: 3 * MIB, cacheControl: 'max-age=3600' });
  const start = { upstream: origin.url, device: path.join(mountPoint, 'cache') };
  const first = await startRawslice(context, { ...start, flags: ['--size', '64MiB'] });
  assert.match(first.stderr, /buffered I\/O/);
  assert.ok(
    first.logLines.some((line) => /buffered|direct/i.test(String(line.msg))),
    'the log says it too',
  );
  await first.get('/a.iso');
  assert.equal(await first.stop(), 0);
  await origin.stop();
  const second = await startRawslice(context, start);
  const hit = await second.get('/a.iso', {}, { expect: identity });
  assert.deepEqual([hit.headers['x-cache'], hit.wrongAt, hit.isComplete], ['HIT', -1, true]);
  assert.equal(await second.stop(), 0);
});
