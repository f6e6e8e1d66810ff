/**
 * What every BlockDevice must do, as tests: run by the direct device on a file and on a loop device, and by the simulated device. `setUp`
 * makes an empty place of at least 8 MiB; each test opens it anew.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AssertionFailure } from '../../src/base/assert.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { EdgeError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB, PAGE_BYTES } from '../../src/base/units.ts';
import type { BlockDevice } from '../../src/device/block-device.ts';
import { Arena } from '../../src/memory/arena.ts';

/** One empty place to open devices on. */
export interface BlockDeviceFixture {
  /** @param arena the memory of all transfers */
  open(access: 'read-write' | 'read-only', arena: Arena): Promise<BlockDevice>;
  dispose(): Promise<void>;
}

/** @param skip why the contract cannot run here; it is then reported as skipped by name */
export function runBlockDeviceContract(
  name: string,
  setUp: () => Promise<BlockDeviceFixture>,
  options: { skip?: string | undefined } = {},
): void {
  describe(`block device contract: ${name}`, { skip: options.skip ?? false }, () => {
    const arena = new Arena({ sizeBytes: 64 * MIB, clock: new SystemClock() });
    let fixture: BlockDeviceFixture;
    before(async () => {
      fixture = await setUp();
    });
    after(async () => {
      await fixture.dispose();
    });

    const withDevice = async (act: (device: BlockDevice) => Promise<void>): Promise<void> => {
      const device = await fixture.open('read-write', arena);
      try {
        await act(device);
      } finally {
        await device.close();
      }
    };
    const withBytes = async (lengthBytes: number, act: (bytes: Buffer) => Promise<void>): Promise<void> => {
      const lease = arena.tryLease('fill', lengthBytes);
      assert.ok(lease !== undefined);
      try {
        await act(lease.bytes.subarray(0, lengthBytes));
      } finally {
        lease.end();
      }
    };
    const readBack = async (device: BlockDevice, offsetBytes: number, lengthBytes: number): Promise<Buffer> => {
      let copy: Buffer = Buffer.alloc(0);
      await withBytes(lengthBytes, async (bytes) => {
        await device.read([bytes], offsetBytes);
        copy = Buffer.from(bytes);
      });
      return copy;
    };

    test('has whole blocks of at least a page', () =>
      withDevice(async (device) => {
        assert.equal(device.isReadOnly, false);
        assert.equal(device.blockSizeBytes % PAGE_BYTES, 0);
        assert.equal(device.capacityBytes % device.blockSizeBytes, 0);
        assert.ok(device.capacityBytes >= 8 * MIB);
      }));

    test('reads what it wrote, at the start, in the middle and in the last block', () =>
      withDevice(async (device) => {
        const random = new SeededRandom(1);
        const lengthBytes = 4 * device.blockSizeBytes;
        for (const offset of [0, MIB, device.capacityBytes - lengthBytes]) {
          await withBytes(lengthBytes, async (bytes) => {
            bytes.set(random.bytes(lengthBytes));
            await device.write([bytes], offset);
            assert.deepEqual(await readBack(device, offset, lengthBytes), Buffer.from(bytes));
          });
        }
      }));

    test('gathers and scatters over several buffers in order', () =>
      withDevice(async (device) => {
        const block = device.blockSizeBytes;
        await withBytes(8 * block, async (bytes) => {
          for (let index = 0; index < 8; index += 1) bytes.fill(index + 1, index * block, (index + 1) * block);
          const [first, second] = [bytes.subarray(5 * block, 8 * block), bytes.subarray(0, block)];
          await device.write([first, second], 2 * MIB);
          const copy = await readBack(device, 2 * MIB, 4 * block);
          assert.deepEqual(
            [0, 1, 2, 3].map((index) => copy[index * block]),
            [6, 7, 8, 1],
          );
          bytes.fill(0);
          await device.read([bytes.subarray(7 * block), bytes.subarray(0, 3 * block)], 2 * MIB);
          assert.deepEqual(
            [7, 0, 1, 2, 3].map((index) => bytes[index * block]),
            [6, 7, 8, 1, 0],
          );
        });
      }));

    test('takes more buffers than one system call does', () =>
      withDevice(async (device) => {
        const block = device.blockSizeBytes;
        await withBytes(block, async (bytes) => {
          bytes.fill(0x5a);
          const count = Math.min(1500, device.capacityBytes / block);
          await device.write(
            Array.from({ length: count }, () => bytes),
            0,
          );
          const end = await readBack(device, (count - 1) * block, block);
          assert.ok(end.every((byte) => byte === 0x5a));
        });
      }));

    test('leaves the neighbours of a written block alone', () =>
      withDevice(async (device) => {
        const block = device.blockSizeBytes;
        await withBytes(3 * block, async (bytes) => {
          bytes.fill(1);
          await device.write([bytes], 3 * MIB);
          bytes.fill(2);
          await device.write([bytes.subarray(0, block)], 3 * MIB + block);
          const copy = await readBack(device, 3 * MIB, 3 * block);
          assert.deepEqual(
            [0, block - 1, block, 2 * block - 1, 2 * block].map((at) => copy[at]),
            [1, 1, 2, 2, 1],
          );
        });
      }));

    test('keeps flushed bytes over closing and opening', async () => {
      await withDevice((device) =>
        withBytes(64 * KIB, async (bytes) => {
          bytes.fill(0xc3);
          await device.write([bytes], 4 * MIB);
          await device.flush();
        }),
      );
      const device = await fixture.open('read-only', arena);
      assert.equal(device.isReadOnly, true);
      assert.ok((await readBack(device, 4 * MIB, 64 * KIB)).every((byte) => byte === 0xc3));
      await device.close();
    });

    test('carries many operations at a time', () =>
      withDevice(async (device) => {
        const lanes = Array.from({ length: 32 }, async (_, lane) =>
          withBytes(64 * KIB, async (bytes) => {
            bytes.fill(lane + 1);
            await device.write([bytes], lane * 64 * KIB);
            bytes.fill(0);
            await device.read([bytes], lane * 64 * KIB);
            assert.ok(bytes.every((byte) => byte === lane + 1));
          }),
        );
        await Promise.all([...lanes, device.flush()]);
      }));

    test('gives every reader its own bytes, whatever the priorities and the lengths', () =>
      withDevice(async (device) => {
        const random = new SeededRandom(3);
        const unit = 16 * KIB;
        const units = (6 * MIB) / unit;
        await withBytes(unit, async (bytes) => {
          for (let at = 0; at < units; at += 1) {
            bytes.fill(at % 251);
            await device.write([bytes], at * unit);
          }
        });
        const priorities = ['client', 'write', 'background', undefined] as const;
        const lanes = Array.from({ length: 40 }, async (_, lane) => {
          const priority = priorities[lane % priorities.length];
          for (let turn = 0; turn < 8; turn += 1) {
            const count = 1 + random.integerBelow(4);
            const first = random.integerBelow(units - count);
            await withBytes(count * unit, async (bytes) => {
              await device.read([bytes], first * unit, { priority });
              for (let at = 0; at < count; at += 1)
                assert.ok(bytes.subarray(at * unit, (at + 1) * unit).every((byte) => byte === (first + at) % 251));
            });
          }
        });
        const writer = async (lane: number): Promise<void> => {
          for (let turn = 0; turn < 8; turn += 1) {
            await withBytes(64 * KIB, async (bytes) => {
              bytes.fill(lane);
              await device.write([bytes], 6 * MIB + lane * 64 * KIB, { priority: priorities[lane % priorities.length] });
            });
          }
        };
        await Promise.all([...lanes, ...Array.from({ length: 8 }, (_, lane) => writer(lane)), device.flush()]);
      }));

    test('shows a reader beside a writer each byte old or new', () =>
      withDevice(async (device) => {
        await withBytes(256 * KIB, async (bytes) => {
          bytes.fill(1);
          await device.write([bytes], MIB);
          for (let value = 2; value < 12; value += 1) {
            bytes.fill(value);
            const writing = device.write([bytes], MIB);
            const seen = await readBack(device, MIB, 256 * KIB);
            await writing;
            // Not even sectors are whole: the page cache copies for a reader and for a writer under no common lock.
            const foreign = seen.findIndex((byte) => byte !== value && byte !== value - 1);
            assert.equal(foreign, -1, `${seen[foreign]} beside the write of ${value}`);
            assert.ok((await readBack(device, MIB, 256 * KIB)).every((byte) => byte === value));
          }
        });
      }));

    test('does a flood or calls itself busy, and is itself afterwards', () =>
      withDevice(async (device) => {
        await withBytes(device.blockSizeBytes, async (bytes) => {
          bytes.fill(0x77);
          await device.write([bytes], 2 * MIB);
        });
        let done = 0;
        const flood = Array.from({ length: 1000 }, (_, index) =>
          withBytes(device.blockSizeBytes, (bytes) =>
            device.read([bytes], 2 * MIB, { priority: index % 2 === 0 ? 'client' : 'background', beginWithinMs: 60_000 }).then(
              () => {
                assert.ok(bytes.every((byte) => byte === 0x77));
                done += 1;
              },
              (error: unknown) => assert.ok(error instanceof EdgeError && error.code === 'DEVICE_BUSY', String(error)),
            ),
          ),
        );
        await Promise.all(flood);
        assert.ok(done >= 500, `${done} reads were done`);
        assert.ok((await readBack(device, 2 * MIB, device.blockSizeBytes)).every((byte) => byte === 0x77));
      }));

    test('is told of blocks that hold nothing, and leaves their neighbours alone', () =>
      withDevice(async (device) => {
        await withBytes(256 * KIB, async (bytes) => {
          bytes.fill(0x33);
          await device.write([bytes], 3 * MIB);
          const outcome = await device.discard?.(3 * MIB + 64 * KIB, 128 * KIB);
          assert.ok(outcome === 'done' || outcome === 'unable', String(outcome));
          const seen = await readBack(device, 3 * MIB, 256 * KIB);
          assert.ok(seen.subarray(0, 64 * KIB).every((byte) => byte === 0x33));
          assert.ok(seen.subarray(192 * KIB).every((byte) => byte === 0x33));
          await device.write([bytes.subarray(0, 128 * KIB)], 3 * MIB + 64 * KIB);
          assert.ok((await readBack(device, 3 * MIB, 256 * KIB)).every((byte) => byte === 0x33));
          for (const [offset, length] of [
            [512, device.blockSizeBytes],
            [0, 512],
            [0, 0],
            [device.capacityBytes, device.blockSizeBytes],
          ] as const) {
            await assert.rejects(async () => device.discard?.(offset, length), AssertionFailure);
          }
        });
      }));

    test('calls a transfer that breaks the rules a programmer error', () =>
      withDevice(async (device) => {
        const block = device.blockSizeBytes;
        await withBytes(4 * block, async (bytes) => {
          const one = bytes.subarray(0, block);
          const wrong: [name: string, buffers: Buffer[], offset: number][] = [
            ['no buffer', [], 0],
            ['empty buffer', [bytes.subarray(0, 0)], 0],
            ['offset off the block', [one], 512],
            ['negative offset', [one], -block],
            ['fraction', [one], 0.5],
            ['no number', [one], Number.NaN],
            ['length off the block', [bytes.subarray(0, block - 512)], 0],
            ['buffer off the page', [bytes.subarray(512, 512 + block)], 0],
            ['memory outside the arena', [Buffer.alloc(block)], 0],
            ['at the end', [one], device.capacityBytes],
            ['over the end', [bytes.subarray(0, 2 * block)], device.capacityBytes - block],
          ];
          for (const [name, buffers, offset] of wrong) {
            await assert.rejects(device.read(buffers, offset), AssertionFailure, `read: ${name}`);
            await assert.rejects(device.write(buffers, offset), AssertionFailure, `write: ${name}`);
          }
        });
      }));

    test('refuses writes when it was opened read-only', async () => {
      const device = await fixture.open('read-only', arena);
      await withBytes(device.blockSizeBytes, (bytes) => assert.rejects(device.write([bytes], 0), AssertionFailure));
      await device.close();
    });

    test('has one writer at a time and lets readers look beside it', () =>
      withDevice(async () => {
        await assert.rejects(fixture.open('read-write', arena), (error) => error instanceof EdgeError && error.code === 'DEVICE_HELD');
        await (await fixture.open('read-only', arena)).close();
      }));

    test('closes once, after what is in flight, and then does nothing more', async () => {
      const device = await fixture.open('read-write', arena);
      await withBytes(MIB, async (bytes) => {
        bytes.fill(9);
        let isWritten = false;
        const writing = device.write([bytes], 5 * MIB).then(() => {
          isWritten = true;
        });
        await device.close();
        assert.equal(isWritten, true);
        await writing;
        await device.close();
        await assert.rejects(device.read([bytes], 0), AssertionFailure);
        await assert.rejects(device.write([bytes], 0), AssertionFailure);
        await assert.rejects(device.flush(), AssertionFailure);
      });
    });

    test('finishes at closing what was asked for before', async () => {
      const device = await fixture.open('read-write', arena);
      const count = 40;
      let done = 0;
      const writes = Array.from({ length: count }, (_, index) =>
        withBytes(64 * KIB, async (bytes) => {
          bytes.fill(index + 100);
          await device.write([bytes], index * 64 * KIB);
          done += 1;
        }),
      );
      await device.close();
      await Promise.all(writes);
      assert.equal(done, count);
      await withDevice(async (again) => {
        for (let index = 0; index < count; index += 1)
          assert.ok((await readBack(again, index * 64 * KIB, 64 * KIB)).every((byte) => byte === index + 100));
      });
    });

    test('gives every lease back', () => assert.equal(arena.leasedSlots, 0));
  });
}
