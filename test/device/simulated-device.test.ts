/** The simulated disk keeps the contract of a block device, and fails as told. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { AssertionFailure, must } from '../../src/base/assert.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { EdgeError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { Arena } from '../../src/memory/arena.ts';
import { runBlockDeviceContract } from '../contract/block-device.ts';
import { type Delay, type SimulatedDevice, SimulatedDisk } from '../simulation/simulated-device.ts';

runBlockDeviceContract('simulated device', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 8 * MIB, random: new SeededRandom(7) });
  return { open: async (access) => disk.open(access), dispose: async () => {} };
});

const BLOCK = 4 * KIB;
const arena = new Arena({ sizeBytes: 4 * MIB, clock: new SystemClock() });
after(() => assert.equal(arena.leasedSlots, 0));
const hasErrno = (errno: string) => (error: unknown) =>
  error instanceof EdgeError && error.code === 'DEVICE_FAULT' && error.context.errno === errno;

interface Bench {
  readonly disk: SimulatedDisk;
  /** Writes blocks full of `value`. */
  put(device: SimulatedDevice, value: number, offsetBytes: number, blocks?: number): Promise<void>;
  /** Reads one block; undefined where its bytes differ, else their value. */
  get(device: SimulatedDevice, offsetBytes: number): Promise<number | undefined>;
}

function setUp(seed = 1, delay?: Delay): Bench {
  const disk = new SimulatedDisk({ capacityBytes: 8 * MIB, random: new SeededRandom(seed), delay });
  return {
    disk,
    put: async (device, value, offsetBytes, blocks = 1) => {
      const lease = must(arena.tryLease('fill', blocks * BLOCK), 'a slot');
      try {
        await device.write([lease.bytes.fill(value).subarray(0, blocks * BLOCK)], offsetBytes);
      } finally {
        lease.end();
      }
    },
    get: async (device, offsetBytes) => {
      const lease = must(arena.tryLease('fill', BLOCK), 'a slot');
      try {
        await device.read([lease.bytes], offsetBytes);
        const first = lease.bytes[0];
        return lease.bytes.every((byte) => byte === first) ? first : undefined;
      } finally {
        lease.end();
      }
    },
  };
}

test('a crash keeps what was flushed, and of the rest each sector old or new', async () => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 200; seed += 1) {
    const { disk, put } = setUp(seed);
    const device = disk.open();
    await put(device, 1, 0, 4);
    await device.flush();
    await put(device, 2, 0, 4);
    await put(device, 3, MIB, 4);
    assert.equal(disk.unflushedWrites, 2);
    disk.crash(new SeededRandom(seed));
    assert.equal(disk.unflushedWrites, 0);
    const [first, second] = [disk.peek(0, 4 * BLOCK), disk.peek(MIB, 4 * BLOCK)];
    assert.ok(
      first.every((byte) => byte === 1 || byte === 2),
      `seed ${seed}`,
    );
    assert.ok(
      second.every((byte) => byte === 0 || byte === 3),
      `seed ${seed}`,
    );
    const name = (bytes: Buffer): string => (bytes.every((byte) => byte === bytes[0]) ? String(bytes[0]) : 'torn');
    outcomes.add(`${name(first)} ${name(second)}`);
  }
  // Every combination of kept, lost and torn, the later write without the earlier among them.
  assert.equal(outcomes.size, 9, [...outcomes].sort().join(', '));
});

test('a crash may keep all or nothing when told, and kills the devices that were open', async () => {
  const { disk, put, get } = setUp();
  const first = disk.open();
  await put(first, 1, 0);
  disk.crash(new SeededRandom(1), 'all');
  const second = disk.open();
  assert.equal(await get(second, 0), 1);
  await assert.rejects(put(first, 9, 0), hasErrno('ENODEV'));
  await put(second, 2, 0);
  disk.crash(new SeededRandom(1), 'none');
  assert.equal(await get(disk.open(), 0), 1);
  await first.close();
  assert.throws(
    () => disk.open(),
    (error) => error instanceof EdgeError && error.code === 'DEVICE_HELD',
  );
});

test('the same seeds give the same disk after the same acts', async () => {
  const run = async (): Promise<Buffer> => {
    const { disk, put } = setUp(5);
    const device = disk.open();
    for (let index = 0; index < 20; index += 1) await put(device, index + 1, index * 2 * BLOCK, 2);
    disk.crash(new SeededRandom(6));
    return disk.peek(0, MIB);
  };
  assert.deepEqual(await run(), await run());
});

test('a flush covers only what was complete when it began', async () => {
  const gates: (() => void)[] = [];
  const { disk, put, get } = setUp(1, (operation) =>
    operation === 'flush' ? new Promise((resolve) => gates.push(resolve)) : Promise.resolve(),
  );
  const device = disk.open();
  await put(device, 1, 0);
  const flushing = device.flush();
  await put(device, 2, 0);
  gates.pop()?.();
  await flushing;
  assert.equal(await get(device, 0), 2);
  disk.crash(new SeededRandom(1), 'none');
  assert.equal(await get(disk.open(), 0), 1);
});

test('of two flushes the one that began first may end last, and brings nothing old back', async () => {
  const gates: (() => void)[] = [];
  const { disk, put } = setUp(1, (operation) =>
    operation === 'flush' ? new Promise((resolve) => gates.push(resolve)) : Promise.resolve(),
  );
  const device = disk.open();
  await put(device, 1, 0);
  const first = device.flush();
  await put(device, 2, 0);
  const second = device.flush();
  gates.pop()?.();
  await second;
  gates.pop()?.();
  await first;
  disk.crash(new SeededRandom(1), 'none');
  assert.equal(disk.peek(0, 1)[0], 2);
});

test('a crash inside an operation leaves any part of it', async () => {
  let toPass = 1;
  const { disk, put } = setUp(3, async (operation) => {
    if (operation === 'write' && toPass-- === 0) disk.crash(new SeededRandom(2), 'all');
  });
  const device = disk.open();
  await put(device, 1, 0);
  await assert.rejects(put(device, 2, 0), hasErrno('ENODEV'));
  assert.equal(disk.peek(0, 1)[0], 2);
});

test('what a dead device wants to write never lands, whenever the power fails again', async () => {
  const { disk, put } = setUp();
  const dead = disk.open();
  await put(dead, 1, 0);
  await dead.flush();
  disk.crash(new SeededRandom(1), 'all');
  const { write: writes } = disk.counts;
  const late = put(dead, 9, 0);
  disk.crash(new SeededRandom(2), 'all');
  await assert.rejects(late, hasErrno('ENODEV'));
  assert.deepEqual([disk.peek(0, 1)[0], disk.counts.write], [1, writes]);
});

test('between any two steps of an operation the power may fail: it was done before, or it is not done', async () => {
  for (let steps = 0; steps < 24; steps += 1) {
    const { disk, put, get } = setUp();
    const failLater = async (): Promise<void> => {
      for (let step = 0; step < steps; step += 1) await Promise.resolve();
      disk.crash(new SeededRandom(1), 'none');
    };
    const device = disk.open();
    await put(device, 1, 0);
    await Promise.all([device.flush(), put(device, 2, BLOCK)]);
    const [written] = await Promise.allSettled([put(device, 3, 0), failLater()]);
    assert.deepEqual([disk.peek(0, 1)[0], disk.unflushedWrites], [1, 0], `a write, ${steps} steps, ${written.status}`);
    const next = disk.open();
    await put(next, 4, 0);
    const [flushed] = await Promise.allSettled([next.flush(), failLater()]);
    assert.equal(disk.peek(0, 1)[0], flushed.status === 'fulfilled' ? 4 : 1, `a flush, ${steps} steps`);
    const last = disk.open();
    await put(last, 5, 0);
    const [read] = await Promise.allSettled([get(last, 0), failLater()]);
    assert.ok(read.status === 'rejected' || read.value === 5, `a read, ${steps} steps`);
  }
});

test('faults strike the operations that they name, as often as they say', async () => {
  const { disk, put, get } = setUp();
  const device = disk.open();
  await put(device, 1, 0, 8);
  disk.addFault({ operation: 'read', effect: { kind: 'error', errno: 'EIO' }, startBytes: BLOCK, endBytes: BLOCK + 1 });
  assert.equal(await get(device, 0), 1);
  await assert.rejects(get(device, BLOCK), hasErrno('EIO'));
  assert.equal(await get(device, 2 * BLOCK), 1);
  disk.clearFaults();
  assert.equal(await get(device, BLOCK), 1);
  disk.addFault({ operation: 'write', effect: { kind: 'error', errno: 'ENOSPC' }, after: 1, times: 1 });
  await put(device, 2, 0);
  await assert.rejects(put(device, 3, 4 * BLOCK, 4), hasErrno('ENOSPC'));
  await put(device, 4, 0);
  // A failed write leaves old and new sectors side by side, for good.
  const left = disk.peek(4 * BLOCK, 4 * BLOCK);
  assert.ok(left.includes(1) && left.includes(3) && left.every((byte) => byte === 1 || byte === 3));
  await device.flush();
  assert.deepEqual(disk.peek(4 * BLOCK, 4 * BLOCK), left);
  const remove = disk.addFault({ operation: 'write', effect: { kind: 'error', errno: 'EIO' } });
  remove();
  await put(device, 5, 0);
});

test('a failed flush makes nothing durable and is never followed by a good one', async () => {
  const { disk, put, get } = setUp();
  const device = disk.open();
  await put(device, 1, 0);
  disk.addFault({ operation: 'flush', effect: { kind: 'error', errno: 'EIO' }, times: 1 });
  await assert.rejects(device.flush(), hasErrno('EIO'));
  await assert.rejects(device.flush(), hasErrno('EIO'));
  disk.crash(new SeededRandom(1), 'none');
  assert.equal(await get(disk.open(), 0), 0);
});

test('writes get lost or land elsewhere without an error', async () => {
  const { disk, put, get } = setUp();
  const device = disk.open();
  disk.addFault({ operation: 'write', effect: { kind: 'lost' }, times: 1 });
  await put(device, 1, 0);
  assert.equal(await get(device, 0), 0);
  disk.addFault({ operation: 'write', effect: { kind: 'misdirected', aim: 3 * BLOCK }, times: 1 });
  await put(device, 2, 0);
  assert.deepEqual([await get(device, 0), await get(device, 3 * BLOCK)], [0, 2]);
});

test('writes are done twice, in two places or at two times; reads come from elsewhere', async () => {
  const { disk, put, get } = setUp();
  const device = disk.open();
  disk.addFault({ operation: 'write', effect: { kind: 'duplicated', aim: () => 5 * BLOCK }, times: 1 });
  await put(device, 1, 0);
  assert.deepEqual([await get(device, 0), await get(device, 5 * BLOCK)], [1, 1]);
  disk.addFault({ operation: 'write', effect: { kind: 'repeated', after: 2 }, times: 1 });
  await put(device, 2, 0);
  await put(device, 3, 0);
  assert.equal(await get(device, 0), 3);
  await put(device, 4, BLOCK);
  assert.deepEqual([await get(device, 0), await get(device, BLOCK)], [2, 4]);
  disk.addFault({ operation: 'read', effect: { kind: 'misdirected', aim: BLOCK }, times: 1 });
  assert.deepEqual([await get(device, 0), await get(device, 0)], [4, 2]);
  const struck = { 'write duplicated': 1, 'write repeated': 1, 'read misdirected': 1 };
  assert.deepEqual(Object.fromEntries(disk.struck), struck);
});

test('transfers come in two pieces or take their time', async () => {
  const gates: (() => void)[] = [];
  const { disk, put, get } = setUp(1, (operation) =>
    operation === 'write' ? new Promise((resolve) => gates.push(resolve)) : Promise.resolve(),
  );
  const device = disk.open();
  const open = async (): Promise<void> => {
    gates.pop()?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  disk.addFault({ operation: 'write', effect: { kind: 'short' }, times: 1 });
  const failed = assert.rejects(put(device, 1, 0, 2), hasErrno('ENODEV'));
  await open();
  disk.crash(new SeededRandom(1), 'all');
  await open();
  await failed;
  assert.equal(disk.peek(0, 1)[0], 1);
  const second = disk.open();
  disk.addFault({ operation: 'write', effect: { kind: 'slow', times: 2 }, times: 1 });
  const slow = put(second, 2, 0);
  await open();
  assert.equal(gates.length, 1);
  await open();
  await slow;
  assert.equal(await get(second, 0), 2);
});

test('rot flips bits of what was written, where it is told', async () => {
  const { disk, put } = setUp();
  const device = disk.open();
  await put(device, 1, 0, 2);
  await device.flush();
  disk.rot(new SeededRandom(1), { startBytes: BLOCK, endBytes: 2 * BLOCK }, 3);
  assert.ok(disk.peek(0, BLOCK).every((byte) => byte === 1));
  assert.equal(disk.peek(BLOCK, BLOCK).filter((byte) => byte !== 1).length, 3);
  assert.equal(disk.struck.get('rot'), 3);
});

test('an operation that hangs goes on when told', async () => {
  const { disk, put, get } = setUp();
  const device = disk.open();
  await put(device, 1, 0);
  disk.addFault({ operation: 'read', effect: { kind: 'hang' }, times: 1 });
  const hanging = get(device, 0);
  assert.equal(await get(device, 0), 1);
  assert.equal(disk.hungOperations, 1);
  disk.resumeHung();
  assert.equal(await hanging, 1);
});

test('bits flip, bytes are planted, and snapshots bring a moment back', async () => {
  const { disk, put, get } = setUp();
  const device = disk.open();
  await put(device, 1, 0);
  await device.flush();
  await put(device, 7, BLOCK);
  const snapshot = disk.snapshot();
  disk.flipBit(100, 3);
  assert.equal(disk.peek(100, 1)[0], 9);
  assert.equal(await get(device, 0), undefined);
  disk.poke(BLOCK + 510, Buffer.from('planted'));
  assert.equal(disk.peek(BLOCK + 508, 10).toString('latin1'), '\x07\x07planted\x07');
  await device.close();
  disk.restore(snapshot);
  assert.deepEqual([disk.peek(100, 1)[0], disk.peek(BLOCK, 1)[0]], [1, 0]);
});

test('a read beside a write in flight may see both', async () => {
  const gates: (() => void)[] = [];
  const { disk, put, get } = setUp(1, (operation) =>
    operation === 'write' ? new Promise((resolve) => gates.push(resolve)) : Promise.resolve(),
  );
  const device = disk.open();
  const writing = put(device, 1, 0);
  assert.equal(await get(device, 0), undefined);
  gates.pop()?.();
  await writing;
  assert.equal(await get(device, 0), 1);
});

test('careless writers are caught', async () => {
  const gates: (() => void)[] = [];
  const { disk, put } = setUp(1, () => new Promise((resolve) => gates.push(resolve)));
  const device = disk.open();
  const lease = must(arena.tryLease('fill', 2 * BLOCK), 'a slot');
  const writing = device.write([lease.bytes.fill(1)], 0);
  await assert.rejects(put(device, 2, BLOCK), AssertionFailure);
  lease.bytes[5] = 2;
  for (const open of gates) open();
  await assert.rejects(writing, AssertionFailure);
  lease.end();
});
