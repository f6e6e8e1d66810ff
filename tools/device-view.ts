/** Opening a device for looking at it (inspect, fsck): read-only, without a claim, with progress over the bytes read. */
import { createSilentLogger } from '../src/base/log.ts';
import { MIB } from '../src/base/units.ts';
import type { BlockDevice, TransferOptions } from '../src/device/block-device.ts';
import { openDirectDevice } from '../src/device/direct-device.ts';
import { mayOpen } from '../src/device/guard.ts';
import { probeDevice } from '../src/device/probe.ts';
import { Arena } from '../src/memory/arena.ts';
import type { CommandIo } from './command-io.ts';
import { Progress } from './progress.ts';

/** A device to look at. */
export interface ReadableDevice {
  readonly device: BlockDevice;
  readonly arena: Arena;
}

const ARENA_BYTES = 4 * MIB;

/**
 * Runs `act` with the device at `path`, and closes it.
 *
 * @param options.label goes before the progress
 * @throws EdgeError DEVICE_* when it cannot be read or is not a rawslice cache
 */
export async function withReadableDevice<Result>(
  io: CommandIo,
  options: { readonly path: string; readonly label: string },
  act: (readable: ReadableDevice) => Promise<Result>,
): Promise<Result> {
  const { path, label } = options;
  const verdict = mayOpen(await probeDevice(path), 'read-only');
  if (verdict.kind === 'refused') throw verdict.error;
  const { clock } = io;
  const arena = new Arena({ sizeBytes: ARENA_BYTES, clock });
  const device = await openDirectDevice({ path, access: 'read-only', arena, clock, logger: createSilentLogger() });
  const watched = new WatchedDevice(device, new Progress(io.terminal, clock, { label, unit: 'bytes' }));
  try {
    return await act({ device: watched, arena });
  } finally {
    watched.endProgress();
    await device.close();
  }
}

/** A device whose reads move a bar. */
class WatchedDevice implements BlockDevice {
  readonly path: string;
  readonly blockSizeBytes: number;
  readonly capacityBytes: number;
  readonly isDirect: boolean;
  readonly isReadOnly: boolean;
  readonly #device: BlockDevice;
  readonly #progress: Progress;
  #readBytes = 0;

  constructor(device: BlockDevice, progress: Progress) {
    this.path = device.path;
    this.blockSizeBytes = device.blockSizeBytes;
    this.capacityBytes = device.capacityBytes;
    this.isDirect = device.isDirect;
    this.isReadOnly = device.isReadOnly;
    this.#device = device;
    this.#progress = progress;
  }

  async read(buffers: readonly Buffer[], offsetBytes: number, options?: TransferOptions): Promise<void> {
    await this.#device.read(buffers, offsetBytes, options);
    for (const buffer of buffers) this.#readBytes += buffer.length;
    this.#progress.update(this.#readBytes);
  }

  write(buffers: readonly Buffer[], offsetBytes: number, options?: TransferOptions): Promise<void> {
    return this.#device.write(buffers, offsetBytes, options);
  }

  flush(): Promise<void> {
    return this.#device.flush();
  }

  close(): Promise<void> {
    return this.#device.close();
  }

  endProgress(): void {
    this.#progress.clear();
  }
}
