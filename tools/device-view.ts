/** Opening a device for looking at it (inspect, fsck), read-only and without a claim, or for repairing it; with progress over the bytes read. */
import { createSilentLogger } from '../src/base/log.ts';
import { MIB } from '../src/base/units.ts';
import type { BlockDevice, TransferOptions } from '../src/device/block-device.ts';
import { type DeviceAccess, openDirectDevice } from '../src/device/direct-device.ts';
import { mayOpen } from '../src/device/guard.ts';
import { findClaimant } from '../src/device/open-error.ts';
import { probeDevice } from '../src/device/probe.ts';
import { Arena } from '../src/memory/arena.ts';
import type { CommandIo } from './command-io.ts';
import { Progress, type ProgressSubject } from './progress.ts';

/** A device to look at. */
export interface ReadableDevice {
  readonly device: BlockDevice;
  readonly arena: Arena;
  /** The process that has claimed the device, a running server most likely; undefined when none has, or the kernel does not tell. */
  readonly findUser: () => Promise<number | undefined>;
  /** A bar of another kind in the place of the one over the bytes read. */
  readonly startProgress: (subject: ProgressSubject) => Progress;
}

/** How to open. */
export interface DeviceViewOptions {
  readonly path: string;
  /** Goes before the progress. */
  readonly label: string;
  /** `read-write` claims the device; read-only when undefined. */
  readonly access?: DeviceAccess | undefined;
  readonly arenaBytes?: number | undefined;
  /** Ends the reading, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

const ARENA_BYTES = 4 * MIB;

/**
 * Runs `act` with the device, and closes it.
 *
 * @throws EdgeError DEVICE_* when it cannot be opened so or is not a rawslice cache
 */
export async function withReadableDevice<Result>(
  io: CommandIo,
  options: DeviceViewOptions,
  act: (readable: ReadableDevice) => Promise<Result>,
): Promise<Result> {
  const { path, label, access = 'read-only', arenaBytes = ARENA_BYTES, signal } = options;
  const verdict = mayOpen(await probeDevice(path), access);
  if (verdict.kind === 'refused') throw verdict.error;
  const { clock } = io;
  const arena = new Arena({ sizeBytes: arenaBytes, clock });
  const device = await openDirectDevice({ path, access, arena, clock, logger: createSilentLogger() });
  const watched = new WatchedDevice(device, new Progress(io.terminal, clock, { label, unit: 'bytes' }), signal);
  const startProgress = (subject: ProgressSubject): Progress => {
    const progress = new Progress(io.terminal, clock, subject);
    watched.replaceProgress(progress);
    return progress;
  };
  try {
    return await act({ device: watched, arena, findUser: () => findClaimant(path), startProgress });
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
  readonly #signal: AbortSignal | undefined;
  #progress: Progress;
  #countsBytes = true;
  #readBytes = 0;

  constructor(device: BlockDevice, progress: Progress, signal: AbortSignal | undefined) {
    this.path = device.path;
    this.blockSizeBytes = device.blockSizeBytes;
    this.capacityBytes = device.capacityBytes;
    this.isDirect = device.isDirect;
    this.isReadOnly = device.isReadOnly;
    this.#device = device;
    this.#progress = progress;
    this.#signal = signal;
  }

  async read(buffers: readonly Buffer[], offsetBytes: number, options?: TransferOptions): Promise<void> {
    this.#signal?.throwIfAborted();
    await this.#device.read(buffers, offsetBytes, options);
    for (const buffer of buffers) this.#readBytes += buffer.length;
    if (this.#countsBytes) this.#progress.update(this.#readBytes);
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

  /** From now on another bar stands there, which its maker moves. */
  replaceProgress(progress: Progress): void {
    this.#progress.clear();
    this.#progress = progress;
    this.#countsBytes = false;
  }

  endProgress(): void {
    this.#progress.clear();
  }
}
