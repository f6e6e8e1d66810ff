/** Probe and guard on real files and, where root allows, real loop devices with real foreign signatures, mounts and holders. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, open, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { EdgeError, type ErrorCode } from '../../src/base/errors.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { MIB } from '../../src/base/units.ts';
import { openDirectDevice } from '../../src/device/direct-device.ts';
import { type GuardVerdict, mayCreateFile, mayFormat, mayOpen } from '../../src/device/guard.ts';
import { type DeviceProbe, probeDevice } from '../../src/device/probe.ts';
import { RAWSLICE_MAGIC_LINE } from '../../src/device/signatures.ts';
import { wipeEdges } from '../../src/device/wipe.ts';
import { Arena } from '../../src/memory/arena.ts';
import { hasTool, loopObstacle, mustRun, withLoopDevice } from '../helpers/loop-device.ts';

const FORMAT = { force: false, minSizeBytes: 8 * MIB };
const FORCED = { ...FORMAT, force: true };
const loopSkip = loopObstacle() ?? false;
const needs = (...tools: string[]): string | false => {
  const missing = tools.filter((tool) => !hasTool(tool));
  return missing.length > 0 ? `needs ${missing.join(', ')}` : false;
};

let folder = '';
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'rawslice guard-'));
});
after(() => rm(folder, { recursive: true }));

async function makeFile(name: string, sizeBytes: number, content = ''): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(file, content);
  await truncate(file, sizeBytes);
  return file;
}

function assertRefused(verdict: GuardVerdict, code: ErrorCode, pattern: RegExp): void {
  assert.equal(verdict.kind, 'refused');
  assert.ok(verdict.kind === 'refused');
  assert.equal(verdict.error.code, code, verdict.error.message);
  assert.match(verdict.error.message, pattern);
}

function assertAllowed(verdict: GuardVerdict, overwrites: string | undefined): void {
  if (verdict.kind === 'refused') throw verdict.error;
  assert.equal(verdict.overwrites, overwrites);
}

/** Wipes and labels `devicePath` as format would. */
async function label(devicePath: string): Promise<void> {
  const clock = new SystemClock();
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const device = await openDirectDevice({ path: devicePath, access: 'read-write', arena, clock, logger: createSilentLogger() });
  await wipeEdges(device, arena);
  const lease = arena.tryLease('staging', device.blockSizeBytes);
  assert.ok(lease !== undefined);
  lease.bytes.fill(0);
  lease.bytes.write(RAWSLICE_MAGIC_LINE);
  await device.write([lease.bytes], 0);
  lease.end();
  await device.close();
}

test('an absent path says what to do, and differs below /dev', async () => {
  const absent = await probeDevice(path.join(folder, 'none', 'file'));
  assert.equal(absent.kind, 'absent');
  assertRefused(mayOpen(absent, 'read-write'), 'DEVICE_ABSENT', /made by format/);
  assertAllowed(mayCreateFile(absent), undefined);
  const misspelt = await probeDevice('/dev/rawslice-no-such-disk');
  assertRefused(mayOpen(misspelt, 'read-only'), 'DEVICE_ABSENT', /lsblk/);
  assertRefused(mayFormat(misspelt, FORCED), 'DEVICE_ABSENT', /lsblk/);
  assertRefused(mayCreateFile(misspelt), 'DEVICE_ABSENT', /lsblk/);
});

test('folders, character devices and sockets are unsuitable', async () => {
  const socketPath = path.join(folder, 'socket');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  for (const [place, pattern] of [
    [folder, /is a directory/],
    ['/dev/null', /is a character device/],
    [socketPath, /is a socket/],
  ] as const) {
    const probe = await probeDevice(place);
    assertRefused(mayFormat(probe, FORCED), 'DEVICE_UNSUITABLE', pattern);
    assertRefused(mayOpen(probe, 'read-only'), 'DEVICE_UNSUITABLE', pattern);
  }
  await new Promise<void>((resolve) => server.close(() => resolve()));
  const file = await makeFile('in-the-way', MIB);
  await assert.rejects(probeDevice(path.join(file, 'below')), (error) => error instanceof EdgeError && error.code === 'DEVICE_UNSUITABLE');
});

test('a blank file may be formatted, and opening it names the line to run', async () => {
  const file = await makeFile("blank one's", 8 * MIB + 1);
  const probe = await probeDevice(file);
  assert.deepEqual(
    [probe.kind, probe.sizeBytes, probe.blockSizeBytes, probe.permission, probe.isMounted, probe.holders, probe.signature],
    ['file', 8 * MIB + 1, 4096, 'read-write', false, [], { kind: 'blank' }],
  );
  assertAllowed(mayFormat(probe, FORMAT), undefined);
  const verdict = mayOpen(probe, 'read-write');
  assertRefused(verdict, 'DEVICE_BLANK', /tools\/rawslice format '.*blank one'\\''s' --yes$/);
  assertRefused(mayFormat(probe, { ...FORMAT, minSizeBytes: 64 * MIB }), 'DEVICE_TOO_SMALL', /64 MiB/);
});

test('foreign data is formatted by force only', async () => {
  const probe = await probeDevice(await makeFile('letters', 8 * MIB, 'Dear reader'));
  assertRefused(mayFormat(probe, FORMAT), 'DEVICE_FOREIGN', /unknown data.*--force/);
  assertRefused(mayOpen(probe, 'read-write'), 'DEVICE_FOREIGN', /unknown data/);
  assertAllowed(mayFormat(probe, FORCED), 'unknown data');
});

test('a rawslice file may be opened, also through a link, and formatting names what it destroys', async () => {
  const file = await makeFile('cache', 8 * MIB);
  await label(file);
  const link = path.join(folder, 'link');
  await symlink(file, link);
  const probe = await probeDevice(link);
  assert.deepEqual([probe.path, probe.realPath, probe.signature], [link, file, { kind: 'rawslice' }]);
  assertAllowed(mayOpen(probe, 'read-write'), undefined);
  assertAllowed(mayFormat(probe, FORMAT), 'a rawslice cache');
  assertRefused(mayCreateFile(probe), 'DEVICE_UNSUITABLE', /exists already/);
});

test('what the user may not touch is not permitted', async () => {
  // Root may everything, so the fact is put into the probe.
  const probe = await probeDevice(await makeFile('private', 8 * MIB));
  const unreadable: DeviceProbe = { ...probe, permission: 'nothing', signature: undefined };
  assertRefused(mayOpen(unreadable, 'read-only'), 'DEVICE_NOT_PERMITTED', /may not read/);
  assertRefused(mayFormat(unreadable, FORCED), 'DEVICE_NOT_PERMITTED', /may not read and write/);
  const cache: DeviceProbe = { ...probe, permission: 'read', signature: { kind: 'rawslice' } };
  assertRefused(mayOpen(cache, 'read-write'), 'DEVICE_NOT_PERMITTED', /read and write/);
  assertAllowed(mayOpen(cache, 'read-only'), undefined);
});

test('signatures that real tools write are known by name, and wiping leaves none', { skip: loopSkip }, async (t) => {
  const makers: readonly [name: string, tool: string, act: (device: string) => void][] = [
    ['ext2', 'mke2fs', (device) => mustRun('mke2fs', ['-q', '-t', 'ext2', device])],
    ['ext3', 'mke2fs', (device) => mustRun('mke2fs', ['-q', '-t', 'ext3', device])],
    ['ext4', 'mkfs.ext4', (device) => mustRun('mkfs.ext4', ['-q', device])],
    ['swap', 'mkswap', (device) => mustRun('mkswap', [device])],
    ['GPT', 'sfdisk', (device) => mustRun('sfdisk', ['-q', device], 'label: gpt\n,\n')],
    ['MBR partition table', 'sfdisk', (device) => mustRun('sfdisk', ['-q', device], 'label: dos\n,\n')],
    ['FAT', 'mkfs.vfat', (device) => mustRun('mkfs.vfat', [device])],
    ['xfs', 'mkfs.xfs', (device) => mustRun('mkfs.xfs', ['-q', device])],
    ['btrfs', 'mkfs.btrfs', (device) => mustRun('mkfs.btrfs', ['-q', device])],
    [
      'LUKS2',
      'cryptsetup',
      (device) =>
        mustRun(
          'cryptsetup',
          ['luksFormat', '-q', '--pbkdf-force-iterations=4', '--pbkdf=argon2i', '--pbkdf-memory=32', device, '-'],
          'secret',
        ),
    ],
  ];
  for (const [name, tool, act] of makers) {
    // xfs and btrfs want more room than the test takes; their signatures are crafted in signatures.test.ts as well.
    const sizeBytes = tool === 'mkfs.xfs' ? 320 * MIB : tool === 'mkfs.btrfs' ? 128 * MIB : 20 * MIB;
    await t.test(name, { skip: needs(tool) }, () =>
      withLoopDevice(sizeBytes, async (loop) => {
        act(loop.path);
        const probe = await probeDevice(loop.path);
        assert.deepEqual(probe.signature, { kind: 'foreign', name });
        assertRefused(mayFormat(probe, FORMAT), 'DEVICE_FOREIGN', new RegExp(`holds ${name.replace(/[()]/g, '\\$&')}`));
        await label(loop.path);
        assert.deepEqual((await probeDevice(loop.path)).signature, { kind: 'rawslice' });
      }),
    );
  }
});

test('a mounted device is refused, by force too', { skip: loopSkip || needs('mkfs.ext4', 'mount') }, () =>
  withLoopDevice(16 * MIB, async (loop) => {
    mustRun('mkfs.ext4', ['-q', loop.path]);
    const mountPoint = path.join(folder, 'mount point');
    await mkdir(mountPoint);
    mustRun('mount', [loop.path, mountPoint]);
    try {
      const probe = await probeDevice(loop.path);
      assert.deepEqual([probe.kind, probe.isMounted, probe.mountPoint], ['block', true, mountPoint]);
      assertRefused(mayFormat(probe, FORCED), 'DEVICE_MOUNTED', /is mounted at .*mount point; unmount it/);
      assertRefused(mayOpen(probe, 'read-write'), 'DEVICE_MOUNTED', /unmount/);
      const clock = new SystemClock();
      const arena = new Arena({ sizeBytes: 4 * MIB, clock });
      const opening = openDirectDevice({ path: loop.path, access: 'read-write', arena, clock, logger: createSilentLogger() });
      await assert.rejects(opening, (error) => error instanceof EdgeError && error.code === 'DEVICE_HELD');
      // The file below the mounted loop device is in use as well.
      const backing = await probeDevice(loop.backingPath);
      assert.deepEqual(backing.holders, [path.basename(loop.path)]);
      assertRefused(mayFormat(backing, FORCED), 'DEVICE_HELD', /part of loop\d+/);
    } finally {
      mustRun('umount', [mountPoint]);
    }
    assert.equal((await probeDevice(loop.path)).isMounted, false);
  }),
);

test('swap counts as mounted', { skip: loopSkip || needs('mkswap', 'swapon') }, (t) =>
  withLoopDevice(16 * MIB, async (loop) => {
    mustRun('mkswap', [loop.path]);
    try {
      // The lowest priority, and for the shortest time.
      mustRun('swapon', ['--priority', '0', loop.path]);
    } catch (error) {
      t.skip(`swapon is refused here: ${String(error)}`);
      return;
    }
    try {
      const probe = await probeDevice(loop.path);
      assert.deepEqual([probe.isMounted, probe.mountPoint], [true, 'swap']);
      assertRefused(mayFormat(probe, FORCED), 'DEVICE_MOUNTED', /swapoff/);
    } finally {
      mustRun('swapoff', [loop.path]);
    }
  }),
);

test('a write-protected device is refused', { skip: loopSkip || needs('blockdev') }, () =>
  withLoopDevice(16 * MIB, async (loop) => {
    mustRun('blockdev', ['--setro', loop.path]);
    const probe = await probeDevice(loop.path);
    assert.equal(probe.isWriteProtected, true);
    assertRefused(mayFormat(probe, FORCED), 'DEVICE_NOT_PERMITTED', /write-protected/);
    mustRun('blockdev', ['--setrw', loop.path]);
  }),
);

test('probing claims nothing and changes nothing', async () => {
  const file = await makeFile('watched', 8 * MIB, 'x');
  const handle = await open(file);
  const before = await handle.stat({ bigint: true });
  await probeDevice(file);
  const later = await handle.stat({ bigint: true });
  assert.deepEqual([later.mtimeNs, later.ctimeNs, later.blocks], [before.mtimeNs, before.ctimeNs, before.blocks]);
  await handle.close();
});
