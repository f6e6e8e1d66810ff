/** The real device where it fails: held, gone, cut short, full, write-protected; and what it counts. */
import assert from 'node:assert/strict';
import { closeSync, existsSync, constants as fsConstants, openSync, truncateSync } from 'node:fs';
import { mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { flockSync } from 'fs-ext';
import { SystemClock } from '../../src/base/clock.ts';
import { EdgeError, type ErrorCode } from '../../src/base/errors.ts';
import { createLogger, createSilentLogger } from '../../src/base/log.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { DEVICE_METRICS } from '../../src/device/device-metrics.ts';
import { type DeviceAccess, DirectDevice, openDirectDevice } from '../../src/device/direct-device.ts';
import { PoolEngine } from '../../src/device/pool-engine.ts';
import { probeDevice } from '../../src/device/probe.ts';
import { Arena } from '../../src/memory/arena.ts';
import { hasTool, loopObstacle, mountObstacle, mountScratch, mustRun, withLoopDevice } from '../helpers/loop-device.ts';

const clock = new SystemClock();
const logger = createSilentLogger();
const arena = new Arena({ sizeBytes: 4 * MIB, clock });
const loopSkip = loopObstacle() ?? false;
let folder = '';
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'rawslice-direct-'));
});
after(async () => {
  assert.equal(arena.leasedSlots, 0);
  await rm(folder, { recursive: true });
});

function openAt(devicePath: string, access: DeviceAccess = 'read-write'): Promise<DirectDevice> {
  return openDirectDevice({ path: devicePath, access, arena, clock, logger });
}

async function makeFile(name: string, sizeBytes: number): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(file, '');
  await truncate(file, sizeBytes);
  return file;
}

async function withBytes(lengthBytes: number, act: (bytes: Buffer) => Promise<void>): Promise<void> {
  const lease = arena.tryLease('fill', lengthBytes);
  assert.ok(lease !== undefined);
  try {
    await act(lease.bytes.subarray(0, lengthBytes).fill(1));
  } finally {
    lease.end();
  }
}

const hasCode = (code: ErrorCode) => (error: unknown) => error instanceof EdgeError && error.code === code;
const isFault = (context: object) => (error: unknown) => {
  assert.ok(error instanceof EdgeError, String(error));
  assert.equal(error.code, 'DEVICE_FAULT');
  assert.deepEqual(error.context, context);
  return true;
};

test('openDirectDevice() says why it cannot', async () => {
  await assert.rejects(openAt(path.join(folder, 'none')), hasCode('DEVICE_ABSENT'));
  await assert.rejects(openAt(folder), hasCode('DEVICE_UNSUITABLE'));
  await assert.rejects(openAt('/dev/null'), hasCode('DEVICE_UNSUITABLE'));
  await assert.rejects(openAt(await makeFile('tiny', 4095)), hasCode('DEVICE_TOO_SMALL'));
  const loop = path.join(folder, 'endless');
  await symlink(loop, loop);
  await assert.rejects(openAt(loop), hasCode('DEVICE_UNSUITABLE'));
});

test('a device that could not be opened is not held', async () => {
  const file = await makeFile('grows', 100);
  await assert.rejects(openAt(file), hasCode('DEVICE_TOO_SMALL'));
  await truncate(file, MIB);
  const device = await openAt(file);
  assert.equal(device.capacityBytes, MIB);
  await device.close();
});

test('the process that holds a device is named', async () => {
  const file = await makeFile('held', MIB);
  const device = await openAt(file);
  await assert.rejects(openAt(file), (error) => {
    assert.ok(error instanceof EdgeError && error.code === 'DEVICE_HELD');
    // Where the kernel hides locks (some containers) the name is missing.
    assert.ok(error.context.processId === process.pid || error.context.processId === undefined);
    return true;
  });
  await device.close();
  await (await openAt(file)).close();
});

test('operations, bytes and failures are counted, in a set that devices may share', async () => {
  const metrics = new MetricSet(DEVICE_METRICS);
  const options = { access: 'read-write', arena, clock, logger, metrics } as const;
  const first = await openDirectDevice({ ...options, path: await makeFile('first', MIB) });
  const second = await openDirectDevice({ ...options, path: await makeFile('second', MIB) });
  await withBytes(64 * KIB, async (bytes) => {
    await first.write([bytes], 0);
    await second.read([bytes.subarray(0, 4 * KIB)], 0);
    await first.flush();
    truncateSync(second.path, 0);
    await assert.rejects(second.read([bytes], 0), hasCode('DEVICE_FAULT'));
  });
  const counts = [metrics.value('writes'), metrics.value('writtenBytes'), metrics.value('reads'), metrics.value('readBytes')];
  assert.deepEqual(counts, [1, 64 * KIB, 1, 4 * KIB]);
  assert.deepEqual([metrics.value('flushes'), metrics.value('errors', 'read'), metrics.value('inFlight')], [1, 1, 0]);
  const direct = Number(first.isDirect) + Number(second.isDirect);
  assert.deepEqual([metrics.value('open'), metrics.value('direct')], [2, direct]);
  await first.close();
  await second.close();
  assert.deepEqual([metrics.value('open'), metrics.value('direct')], [0, 0]);
});

test('a file cut short under the device is a fault, at its new end too', async () => {
  const file = await makeFile('short', MIB);
  const device = await openAt(file);
  await withBytes(64 * KIB, async (bytes) => {
    await truncate(file, 16 * KIB + 100);
    const context = { path: file, operation: 'read', offsetBytes: 0, lengthBytes: 64 * KIB, errno: 'ENODATA' };
    await assert.rejects(device.read([bytes], 0), isFault(context));
    await device.read([bytes.subarray(0, 16 * KIB)], 0);
  });
  await device.close();
});

test('a full file system is a fault that says so', { skip: mountObstacle('tmpfs') ?? false }, async () => {
  const { mountPoint, unmount } = mountScratch('tmpfs', 'size=256k');
  try {
    const file = path.join(mountPoint, 'device');
    await writeFile(file, '');
    await truncate(file, 8 * MIB);
    const device = await openAt(file);
    await withBytes(512 * KIB, async (bytes) => {
      const context = { path: file, operation: 'write', offsetBytes: 0, lengthBytes: 512 * KIB, errno: 'ENOSPC' };
      await assert.rejects(device.write([bytes], 0), isFault(context));
    });
    await device.close();
  } finally {
    unmount();
  }
});

test('a file system without O_DIRECT is used with a warning', { skip: mountObstacle('ramfs') ?? false }, async () => {
  const { mountPoint, unmount } = mountScratch('ramfs');
  const lines: string[] = [];
  try {
    const file = path.join(mountPoint, 'device');
    await writeFile(file, '');
    await truncate(file, MIB);
    const listening = createLogger({ level: 'warn', stream: { write: (line) => lines.push(line) } });
    const device = await openDirectDevice({ path: file, access: 'read-write', arena, clock, logger: listening });
    assert.equal(device.isDirect, false);
    assert.equal(device.metrics.value('direct'), 0);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', /without O_DIRECT/);
    await assert.rejects(openAt(file), hasCode('DEVICE_HELD'));
    await device.close();
  } finally {
    unmount();
  }
});

test('a loop device whose backing file was cut short gives EIO', { skip: loopSkip }, () =>
  withLoopDevice(8 * MIB, async (loop) => {
    const device = await openAt(loop.path);
    truncateSync(loop.backingPath, 4 * MIB);
    await withBytes(64 * KIB, async (bytes) => {
      await device.read([bytes], 2 * MIB);
      const context = { path: loop.path, operation: 'read', offsetBytes: 6 * MIB, lengthBytes: 64 * KIB, errno: 'EIO' };
      await assert.rejects(device.read([bytes], 6 * MIB), isFault(context));
    });
    await device.close();
  }),
);

test(
  'a device that becomes write-protected refuses writes and is not opened for them again',
  { skip: loopSkip || !hasTool('blockdev') },
  () =>
    withLoopDevice(8 * MIB, async (loop) => {
      const device = await openAt(loop.path);
      mustRun('blockdev', ['--setro', loop.path]);
      await withBytes(4 * KIB, async (bytes) => {
        const context = { path: loop.path, operation: 'write', offsetBytes: 0, lengthBytes: 4 * KIB, errno: 'EPERM' };
        await assert.rejects(device.write([bytes], 0), isFault(context));
        await device.read([bytes], 0);
      });
      await device.close();
      await assert.rejects(openAt(loop.path), hasCode('DEVICE_NOT_PERMITTED'));
      await (await openAt(loop.path, 'read-only')).close();
      mustRun('blockdev', ['--setrw', loop.path]);
    }),
);

test(
  'a request that the kernel calls invalid is reported as our own error',
  { skip: loopObstacle({ sectorBytes: 8 * KIB }) ?? false },
  () =>
    withLoopDevice(
      8 * MIB,
      async (loop) => {
        const honest = await openAt(loop.path, 'read-only');
        assert.equal(honest.blockSizeBytes, 8 * KIB);
        await honest.close();
        const lines: string[] = [];
        const fd = openSync(loop.path, fsConstants.O_RDONLY + fsConstants.O_DIRECT);
        const device = new DirectDevice({
          path: loop.path,
          fd,
          isBlock: true,
          engine: new PoolEngine(fd),
          // Wrong on purpose: half of the sector.
          blockSizeBytes: 4 * KIB,
          capacityBytes: 8 * MIB,
          isDirect: true,
          isReadOnly: true,
          clock,
          logger: createLogger({ level: 'error', stream: { write: (line) => lines.push(line) } }),
          metrics: new MetricSet(DEVICE_METRICS),
        });
        await withBytes(4 * KIB, (bytes) => assert.rejects(device.read([bytes], 0), /EINVAL; this is an error in rawslice/));
        assert.deepEqual([device.metrics.value('refusedRequests'), lines.length], [1, 1]);
        await device.close();
      },
      { sectorBytes: 8 * KIB },
    ),
);

test('a lock that goes away soon, such as udev takes, is waited for, one that stays is not', { skip: loopSkip }, () =>
  withLoopDevice(8 * MIB, async (loop) => {
    const other = openSync(loop.path, fsConstants.O_RDONLY);
    flockSync(other, 'exnb');
    let pauses = 0;
    let pausesUntilFree = Number.POSITIVE_INFINITY;
    class CountingClock extends SystemClock {
      override async sleep(): Promise<void> {
        pauses += 1;
        if (pauses === pausesUntilFree) closeSync(other);
      }
    }
    const options = { path: loop.path, access: 'read-write', arena, clock: new CountingClock(), logger } as const;
    await assert.rejects(openDirectDevice(options), hasCode('DEVICE_HELD'));
    assert.equal(pauses, 9);
    pauses = 0;
    pausesUntilFree = 3;
    await (await openDirectDevice(options)).close();
    assert.equal(pauses, 3);
  }),
);

test('a partition has its own size and its disk is held with it', { skip: loopSkip || !hasTool('partx') }, (t) =>
  withLoopDevice(16 * MIB, async (loop) => {
    const table = Buffer.alloc(512);
    table[446 + 4] = 0x83;
    table.writeUInt32LE(2048, 446 + 8);
    table.writeUInt32LE(8192, 446 + 12);
    table.writeUInt16LE(0xaa55, 510);
    await writeFile(loop.backingPath, table, { flag: 'r+' });
    const partition = `${loop.path}p1`;
    try {
      mustRun('partx', ['--add', loop.path]);
    } catch (error) {
      t.diagnostic(String(error));
    }
    if (!existsSync(partition)) {
      t.skip('the kernel makes no partitions on loop devices here');
      return;
    }
    try {
      assert.deepEqual((await probeDevice(loop.path)).signature, { kind: 'foreign', name: 'MBR partition table' });
      const device = await openAt(partition);
      assert.deepEqual([device.capacityBytes, device.blockSizeBytes], [4 * MIB, 4 * KIB]);
      await assert.rejects(openAt(loop.path), hasCode('DEVICE_HELD'));
      await device.close();
      if (!hasTool('mkfs.ext4')) return;
      mustRun('mkfs.ext4', ['-q', partition]);
      const mountPoint = path.join(folder, 'partition');
      mustRun('mkdir', [mountPoint]);
      mustRun('mount', [partition, mountPoint]);
      try {
        const probe = await probeDevice(loop.path);
        assert.deepEqual([probe.isMounted, probe.mountPoint], [true, mountPoint]);
      } finally {
        mustRun('umount', [mountPoint]);
      }
    } finally {
      mustRun('partx', ['--delete', loop.path]);
    }
  }),
);
