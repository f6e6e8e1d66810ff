/** `rawslice format` on real files and, where root allows, on loop devices with real file systems. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { MIB } from '../../src/base/units.ts';
import { openDirectDevice } from '../../src/device/direct-device.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { Arena } from '../../src/memory/arena.ts';
import { openStore } from '../../src/store/device-store.ts';
import { hasTool, loopObstacle, mustRun, withLoopDevice } from '../helpers/loop-device.ts';
import { runWords } from '../helpers/run-program.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { openBench, readAndCheck, sliceCount, storeObject } from '../store/store-bench.ts';

const loopSkip = loopObstacle() ?? false;
const ext4Skip = loopSkip || (hasTool('mkfs.ext4') ? false : 'needs mkfs.ext4');

async function openAndClose(devicePath: string): Promise<{ readonly state: string; readonly entriesMax: number }> {
  const clock = new SystemClock();
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const logger = createSilentLogger();
  const device = await openDirectDevice({ path: devicePath, access: 'read-write', arena, clock, logger });
  const store = await openStore({ device, arena, clock, logger });
  const found = { state: store.state, entriesMax: store.usage.entriesMax };
  await store.close();
  return found;
}

test('a file that does not exist is created sparse and becomes a cache that opens', async (context) => {
  const file = path.join(await temporaryDirectory(context), 'new folder', 'cache.img');
  const { code, stdout, stderr } = await runWords(['format', file, '--size', '100MiB', '--entries', '1000']);
  assert.equal(code, 0, stderr);
  const [first, device, cache, ...rest] = stdout.split('\n');
  assert.equal(first, `formatted ${file}`);
  assert.match(device ?? '', /^ {2}device UUID {2}[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.match(cache ?? '', /^ {2}cache UUID {3}[0-9a-f-]{36}$/);
  assert.ok(rest.includes(`  tools/rawslice serve --device '${file}' --upstream http://deb.debian.org --preset debian`), stdout);
  assert.match(stderr, /^a new file .* becomes a rawslice cache\n {2}size {5}100 MiB \(104857600 bytes\), blocks of 4 KiB\n/);
  assert.match(stderr, /entries {2}1000, which take \d+\.\d KiB of memory/);
  const facts = await stat(file);
  assert.deepEqual([facts.size, facts.mode % 0o1000], [100 * MIB, 0o600]);
  assert.ok(facts.blocks * 512 < 20 * MIB, 'it takes little room yet');
  assert.deepEqual(await openAndClose(file), { state: 'online', entriesMax: 1000 });
});

test('what exists is overwritten after a question or with --yes only', async (context) => {
  const file = path.join(await temporaryDirectory(context), 'cache.img');
  assert.equal((await runWords(['format', file, '--size', '64MiB', '--json'])).code, 0);
  const before = await readFile(file);
  const unasked = await runWords(['format', file]);
  assert.deepEqual([unasked.code, unasked.stdout], [2, '']);
  assert.match(unasked.stderr, /lost {5}a rawslice cache, with everything in it\n.*Nobody can be asked here; add --yes/);
  for (const input of ['no\n', '\n', '', 'y\n']) {
    const denied = await runWords(['format', file], { input, isTTY: true });
    assert.equal(denied.code, 2);
    assert.match(denied.stderr, /Type yes to format .*was not formatted; nothing was changed/);
  }
  assert.ok(before.equals(await readFile(file)), 'not a byte was changed');
  for (const input of ['yes\n', `${file}\n`]) assert.equal((await runWords(['format', file], { input, isTTY: true })).code, 0);
  const { stdout } = await runWords(['--quiet', 'format', file, '--yes', '--json']);
  const result = JSON.parse(stdout);
  assert.deepEqual([result.overwrote, result.created, result.geometry.capacityBytes], ['a rawslice cache', false, 64 * MIB]);
});

test('refusals say what to do', async (context) => {
  const folder = await temporaryDirectory(context);
  const small = path.join(folder, 'small');
  await writeFile(small, '');
  await truncate(small, 10 * MIB);
  const foreign = path.join(folder, 'foreign');
  await writeFile(foreign, 'my thesis');
  await truncate(foreign, 64 * MIB);
  const cases: readonly [words: readonly string[], code: number, message: RegExp][] = [
    [['/dev/no-such-disk'], 1, /does not exist; lsblk lists the block devices/],
    [[folder], 1, /is a directory; give a block device or a regular file/],
    [[small, '--yes'], 1, /has 10 MiB; the smallest device is 64 MiB/],
    [[path.join(folder, 'new'), '--size', '63MiB'], 1, /--size is 63 MiB; the smallest cache has 64 MiB/],
    [[path.join(folder, 'new'), '--size', 'big'], 2, /--size must be a size such as/],
    [[path.join(folder, 'new'), '--size', '64MiB', '--entries', '9000000'], 2, /9000000 entries are too many for 64 MiB/],
    [[path.join(folder, 'new'), '--entries', '3'], 2, /--entries takes a number from 16/],
    [[foreign, '--yes'], 1, /holds unknown data; add --force to destroy it/],
    [[foreign, '--yes', '--force', '--size', '64MiB'], 2, /--size is for files that are created/],
    [[], 2, /missing required argument 'path'/],
  ];
  for (const [words, code, message] of cases) {
    const run = await runWords(['format', ...words]);
    assert.equal(run.code, code, `${words.join(' ')}: ${run.stderr}`);
    assert.match(run.stderr, message);
  }
  assert.equal((await readFile(foreign)).subarray(0, 9).toString(), 'my thesis');
  const forced = await runWords(['format', foreign, '--yes', '--force']);
  assert.equal(forced.code, 0);
  assert.match(forced.stderr, /lost {5}unknown data/);
});

test('a device that is held is refused', async (context) => {
  const file = path.join(await temporaryDirectory(context), 'cache.img');
  assert.equal((await runWords(['format', file, '--size', '64MiB'])).code, 0);
  const clock = new SystemClock();
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const device = await openDirectDevice({ path: file, access: 'read-write', arena, clock, logger: createSilentLogger() });
  const { code, stderr } = await runWords(['format', file, '--yes', '--force']);
  await device.close();
  assert.equal(code, 1);
  assert.match(stderr, /is held by process \d+; stop it first/);
});

test('a file system on a block device needs --force, a mounted one is refused even then', { skip: ext4Skip }, async (context) => {
  const folder = await temporaryDirectory(context);
  await withLoopDevice(64 * MIB, async (loop) => {
    mustRun('mkfs.ext4', ['-q', loop.path]);
    const unforced = await runWords(['format', loop.path, '--yes']);
    assert.equal(unforced.code, 1);
    assert.match(unforced.stderr, /holds .*ext4.*; add --force to destroy it/);
    mustRun('mount', [loop.path, folder]);
    try {
      const mounted = await runWords(['format', loop.path, '--yes', '--force']);
      assert.equal(mounted.code, 1);
      assert.match(mounted.stderr, /is mounted at .*; unmount it first/);
    } finally {
      mustRun('umount', [folder]);
    }
    const forced = await runWords(['format', loop.path, '--yes', '--force', '--json']);
    assert.equal(forced.code, 0, forced.stderr);
    assert.match(forced.stderr, /the block device .*\n[\s\S]*lost {5}.*ext4/);
    if (hasTool('blkid')) assert.notEqual(spawnSync('blkid', ['-p', loop.path]).status, 0, 'no signature is left');
    assert.equal((await openAndClose(loop.path)).state, 'online');
  });
});

/** Opens the cache, adds an object, and reads what was added before. */
async function storeAndRead(devicePath: string, known: readonly Manifest[]): Promise<Manifest> {
  const clock = new SystemClock();
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const device = await openDirectDevice({ path: devicePath, access: 'read-write', arena, clock, logger: createSilentLogger() });
  const bench = await openBench(device);
  for (const manifest of known)
    for (let number = 0; number < sliceCount(manifest); number += 1)
      assert.equal(await readAndCheck(bench.store, manifest, number), 'device');
  const added = await storeObject(bench, `object-${known.length}`, 200_000);
  await bench.store.close();
  return added;
}

test('--grow makes a file larger and keeps what is stored', async (context) => {
  const file = path.join(await temporaryDirectory(context), 'cache.img');
  assert.equal((await runWords(['format', file, '--size', '64MiB'])).code, 0);
  const first = await storeAndRead(file, []);
  const full = await runWords(['format', '--grow', file]);
  assert.deepEqual([full.code, full.stdout], [2, '']);
  assert.match(full.stderr, /is used to its end, 64 MiB; make the partition, volume or file larger first/);
  assert.match((await runWords(['format', '--grow', file, '--size', '64MiB'])).stderr, /has 64 MiB already; --size makes it larger only/);
  const grown = await runWords(['format', '--grow', file, '--size', '150MiB']);
  assert.equal(grown.code, 0, grown.stderr);
  assert.match(grown.stdout, /^grew .* from 64 MiB to 150 MiB\n {2}for objects {2}.* before, .* now\n {2}entries {6}8192, as before/);
  const second = await storeAndRead(file, [first]);
  await truncate(file, 200 * MIB);
  const again = JSON.parse((await runWords(['format', '--grow', file, '--json'])).stdout);
  assert.deepEqual([again.before.capacityBytes, again.after.capacityBytes, again.isFinished], [150 * MIB, 200 * MIB, false]);
  await storeAndRead(file, [first, second]);
  assert.equal((await runWords(['fsck', file, '--deep'])).code, 0);
  assert.equal((await runWords(['format', '--grow', file, '--force'])).code, 2);
});

test('--grow takes in a device that became larger, but not one that a server has', { skip: loopSkip }, async () => {
  await withLoopDevice(64 * MIB, async (loop) => {
    assert.equal((await runWords(['format', loop.path, '--yes'])).code, 0);
    const first = await storeAndRead(loop.path, []);
    await truncate(loop.backingPath, 96 * MIB);
    mustRun('losetup', ['--set-capacity', loop.path]);
    const clock = new SystemClock();
    const arena = new Arena({ sizeBytes: 4 * MIB, clock });
    const server = await openDirectDevice({ path: loop.path, access: 'read-write', arena, clock, logger: createSilentLogger() });
    const held = await runWords(['format', '--grow', loop.path]);
    assert.equal(held.code, 1);
    assert.match(held.stderr, /is held by/);
    await server.close();
    const grown = await runWords(['format', '--grow', loop.path]);
    assert.equal(grown.code, 0, grown.stderr);
    assert.match(grown.stdout, /from 64 MiB to 96 MiB/);
    await storeAndRead(loop.path, [first]);
    assert.equal((await runWords(['fsck', loop.path, '--deep'])).code, 0);
  });
});

test('--help names every option', async () => {
  const { code, stdout } = await runWords(['format', '--help']);
  assert.equal(code, 0);
  for (const word of ['--size', '--entries', '--yes', '--force', '--json', 'Exit codes', 'Examples'])
    assert.ok(stdout.includes(word), word);
});

test('several devices become one cache, and one more can join it', async (context) => {
  const folder = await temporaryDirectory(context);
  const [first, second, third] = ['a', 'b', 'c'].map((name) => path.join(folder, name)) as [string, string, string];
  const both = await runWords(['format', first, second, '--size', '64MiB', '--json']);
  assert.equal(both.code, 0, both.stderr);
  const [one, other] = JSON.parse(both.stdout);
  assert.equal(one.cacheUuid, other.cacheUuid);
  assert.notEqual(one.deviceUuid, other.deviceUuid);
  const joined = await runWords(['format', third, '--size', '64MiB', '--join', first]);
  assert.equal(joined.code, 0, joined.stderr);
  assert.ok(joined.stdout.includes(one.cacheUuid) && joined.stdout.includes(`--device ${first} --device ${third}`), joined.stdout);
  const twice = await runWords(['format', first, first, '--yes']);
  assert.equal(twice.code, 2, twice.stderr);
});

test('one device under two names is refused before anything is written', async (context) => {
  const folder = await temporaryDirectory(context);
  const [file, link, folderLink] = ['a', 'link', 'folder'].map((name) => path.join(folder, name)) as [string, string, string];
  assert.equal((await runWords(['format', file, '--size', '64MiB'])).code, 0);
  const before = await readFile(file);
  await symlink(file, link);
  await symlink(folder, folderLink);
  for (const words of [
    [file, link],
    [file, '--join', file],
    [link, '--join', file],
    [path.join(folder, 'new'), path.join(folderLink, 'new'), '--size', '64MiB'],
  ]) {
    const { code, stderr } = await runWords(['format', ...words, '--yes']);
    assert.equal(code, 2, `${words.join(' ')}: ${stderr}`);
    assert.match(stderr, /names the same device as|cannot join itself/);
  }
  assert.ok(before.equals(await readFile(file)), 'not a byte was changed');
  await assert.rejects(stat(path.join(folder, 'new')));
});
