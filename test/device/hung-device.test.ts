/**
 * A device that really hangs: a loop device whose file lies on a frozen file system. One write waits in the kernel for the thaw, and every
 * read behind it in the same loop device. Names must still resolve, zlib must still work, and another device must still answer.
 */
import assert from 'node:assert/strict';
import dns from 'node:dns/promises';
import { writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { must } from '../../src/base/assert.ts';
import { SystemClock, type Timer } from '../../src/base/clock.ts';
import { EdgeError } from '../../src/base/errors.ts';
import { createLogger } from '../../src/base/log.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { DirectDevice } from '../../src/device/direct-device.ts';
import { type DeviceIo, openDirectDevice } from '../../src/device/direct-device.ts';
import { HUNG_AFTER_MS } from '../../src/device/transfer-queue.ts';
import { Arena } from '../../src/memory/arena.ts';
import { withReadyThreads } from '../helpers/device-threads.ts';
import { eventually } from '../helpers/eventually.ts';
import { hasTool, loopObstacle, mustRun } from '../helpers/loop-device.ts';

const skip = loopObstacle() ?? (hasTool('fsfreeze') && hasTool('mkfs.ext4') ? false : 'no fsfreeze or no mkfs.ext4');

/** Reads and writes that would hold every thread of libuv's pool, the test's own too, if it had no more than its usual four. */
const fewThreads = Number(process.env.UV_THREADPOOL_SIZE) >= 16 ? false : 'UV_THREADPOOL_SIZE is below the 16 of npm test';

/** A device path that hangs between `freeze` and `thaw`. */
async function withFreezableDevice(act: (place: { path: string; freeze: () => void; thaw: () => void }) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'rawslice-hung-'));
  const undo: (() => unknown)[] = [];
  try {
    const [image, mountPoint] = [path.join(folder, 'image'), path.join(folder, 'mount')];
    await writeFile(image, '');
    await truncate(image, 64 * MIB);
    mustRun('mkfs.ext4', ['-q', '-O', '^has_journal', image]);
    await mkdir(mountPoint);
    mustRun('mount', ['-o', 'loop', image, mountPoint]);
    // Whoever looks through the loop devices in this moment holds one open, and its file with it, for a little longer than the detaching.
    undo.push(() => eventually(() => mustRun('umount', [mountPoint]) === '', { what: 'the file system is let go' }));
    const backing = path.join(mountPoint, 'backing');
    writeFileSync(backing, Buffer.alloc(16 * MIB, 9));
    const devicePath = mustRun('losetup', ['--find', '--show', '--direct-io=on', backing]);
    undo.push(() => mustRun('losetup', ['--detach', devicePath]));
    let isFrozen = false;
    const thaw = (): void => {
      if (isFrozen) mustRun('fsfreeze', ['--unfreeze', mountPoint]);
      isFrozen = false;
    };
    const freeze = (): void => {
      mustRun('fsfreeze', ['--freeze', mountPoint]);
      isFrozen = true;
    };
    undo.push(thaw);
    await act({ path: devicePath, freeze, thaw });
  } finally {
    for (const step of undo.reverse()) await step();
    await rm(folder, { recursive: true });
  }
}

/** Time that the test moves on, over real I/O: every timer that was started goes off. */
class HastyClock extends SystemClock {
  #aheadMs = 0;
  readonly #timers = new Set<() => void>();

  override monotonicMs(): number {
    return super.monotonicMs() + this.#aheadMs;
  }

  override startTimer(delayMs: number, callback: () => void): Timer {
    const fire = (): void => {
      stop();
      callback();
    };
    const timer = super.startTimer(delayMs, fire);
    const stop = (): void => {
      timer.stop();
      this.#timers.delete(fire);
    };
    this.#timers.add(fire);
    return { stop };
  }

  hasten(byMs: number): void {
    this.#aheadMs += byMs;
    for (const fire of [...this.#timers]) fire();
  }
}

for (const io of ['threads', 'pool'] as const satisfies DeviceIo[]) {
  test(`a device that hangs stops nobody else, I/O by ${io}`, { skip: skip || (io === 'pool' && fewThreads), timeout: 120_000 }, () =>
    withFreezableDevice(async (place) => {
      const clock = new HastyClock();
      const arena = new Arena({ sizeBytes: 64 * MIB, clock });
      const lines: string[] = [];
      const logger = createLogger({ level: 'info', stream: { write: (line) => lines.push(line) } });
      const open = async (devicePath: string): Promise<DirectDevice> =>
        (await withReadyThreads(() => openDirectDevice({ path: devicePath, access: 'read-write', io, arena, clock, logger }))).result;
      const folder = await mkdtemp(path.join(tmpdir(), 'rawslice-other-'));
      await writeFile(path.join(folder, 'other'), Buffer.alloc(MIB, 3));
      const [device, other] = [await open(place.path), await open(path.join(folder, 'other'))];
      const leases = Array.from({ length: 30 }, () => must(arena.tryLease('fill', 64 * KIB), 'a slot'));
      const bytesOf = (index: number): Buffer => must(leases[index], 'a slot').bytes;

      place.freeze();
      const begun = Array.from({ length: 4 }, (_, index) => device.write([bytesOf(index)], index * 64 * KIB));
      const reads = Array.from({ length: 24 }, (_, index) => device.read([bytesOf(4 + index)], 8 * MIB, { beginWithinMs: 1000 }));
      const outcomes = Promise.all(reads.map((read) => read.then(() => 'done').catch((error: EdgeError) => error.code)));

      // More names and more compressions than libuv has threads that are left.
      const names = await Promise.all(Array.from({ length: 20 }, () => dns.lookup('localhost')));
      assert.ok(names.every(({ address }) => address === '127.0.0.1' || address === '::1'));
      await Promise.all(Array.from({ length: 20 }, () => promisify(gzip)(Buffer.alloc(64 * KIB))));
      await other.read([bytesOf(28)], 0);
      await other.write([bytesOf(29)], 512 * KIB);
      assert.ok(bytesOf(28).every((byte) => byte === 3));

      clock.hasten(HUNG_AFTER_MS);
      await eventually(() => device.metrics.value('hungThreads') > 0 && device.metrics.value('busy', 'deadline') > 0);
      assert.ok(lines.some((line) => /does not answer/.test(line)));
      place.thaw();
      await Promise.all(begun);
      const codes = await outcomes;
      const late = codes.filter((code) => code === 'DEVICE_BUSY').length;
      const atEngine = io === 'threads' ? 16 : 8;
      assert.deepEqual([late, codes.filter((code) => code === 'done').length], [reads.length - atEngine, atEngine]);
      assert.equal(device.metrics.value('hungThreads'), 0);
      await device.close();
      await other.close();
      for (const lease of leases) lease.end();
      await rm(folder, { recursive: true });
    }),
  );
}

test('closing gives a device up that hangs', { skip, timeout: 120_000 }, () =>
  withFreezableDevice(async (place) => {
    const clock = new HastyClock();
    const arena = new Arena({ sizeBytes: 4 * MIB, clock });
    const lines: string[] = [];
    const logger = createLogger({ level: 'error', stream: { write: (line) => lines.push(line) } });
    const open = () => openDirectDevice({ path: place.path, access: 'read-write', io: 'threads', arena, clock, logger });
    const { result: device } = await withReadyThreads(open);
    const lease = must(arena.tryLease('fill', 64 * KIB), 'a slot');
    place.freeze();
    const write = device.write([lease.bytes], 0);
    const closing = device.close();
    clock.hasten(HUNG_AFTER_MS);
    await closing;
    assert.match(lines.at(-1) ?? '', /was given up/);
    // Its claim stays, since the write may still arrive.
    await assert.rejects(open(), (error) => error instanceof EdgeError && error.code === 'DEVICE_HELD');
    place.thaw();
    await write;
    lease.end();
    const again = await eventually(open, { what: 'the device is let go' });
    await again.close();
  }),
);
