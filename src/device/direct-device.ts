/**
 * The real BlockDevice: a block device or a regular file through node:fs with O_DIRECT, held by this process alone when it is writable
 * (O_EXCL on a block device, an exclusive flock on both). It transfers whole blocks from and to arena memory and says honestly what the
 * kernel said; it retries nothing. Opened by app and the tools after guard.ts agreed; used by the store only.
 */
import { close, constants as fsConstants, fstat, open, read, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { flockSync, seekSync } from 'fs-ext';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet } from '../base/metrics.ts';
import { alignDown, isAligned, PAGE_BYTES } from '../base/units.ts';
import type { Arena } from '../memory/arena.ts';
import type { BlockDevice, DiscardOutcome, TransferOptions } from './block-device.ts';
import { DEVICE_METRICS } from './device-metrics.ts';
import { Discarder } from './discard.ts';
import { type IoEngine, IoError, type MoveOperation } from './io-engine.ts';
import { heldError, openError } from './open-error.ts';
import { PoolEngine } from './pool-engine.ts';
import { deviceNumber, readBlockSizeBytes, readIsWriteProtected } from './system-facts.ts';
import { ThreadEngine, type ThreadEngineOptions } from './thread-engine.ts';
import { checkRange, checkTransfer, dropBytes } from './transfer.ts';
import { HUNG_AFTER_MS, type LaneName, TransferQueue, type Turn } from './transfer-queue.ts';

/** `read-write` claims the device; `read-only` claims nothing and may look beside a running server. */
export type DeviceAccess = 'read-write' | 'read-only';
/** Words for `device.io`: `threads` of the device's own, libuv's `pool`, or what measured better. */
export type DeviceIo = 'auto' | 'threads' | 'pool';
/** What a device does. */
export type DeviceOperation = 'read' | 'write' | 'flush';

/** Dependencies and wishes for openDirectDevice. */
export interface DirectDeviceOptions {
  readonly path: string;
  readonly access: DeviceAccess;
  /** Lends one block for the trial read, and is the memory that threads of the device's own transfer from and to. */
  readonly arena: Arena;
  /** Whose threads make the system calls; `pool` when undefined. */
  readonly io?: DeviceIo | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Shared by the devices of a process; one of its own when undefined. */
  readonly metrics?: MetricSet<typeof DEVICE_METRICS> | undefined;
}

/** What closing waits for operations under way: as long as one takes that does not hang. */
const CLOSE_WAIT_MS = HUNG_AFTER_MS;
/** udev takes a shared lock for the moment in which it looks at a block device that was closed after writing. */
/** What `auto` means: DECISIONS.md has the number. */
const IO_BY_DEFAULT = 'threads';
const LOCK_ATTEMPTS_MAX = 10;
const LOCK_PAUSE_MS = 100;
const TRIAL_SLOT_WAIT_MS = 1000;
/** What to do about a failed transfer, where it is not the kernel log that knows. */
const FAULT_ADVICE: Readonly<Record<string, string>> = {
  EINVAL: 'this is an error in rawslice, not in the device; please report it',
  ENOSPC: 'its file system is full; free some room there, or choose a smaller --size',
};

const openFile = promisify(open);
const closeFile = promisify(close);
const statFile = promisify(fstat);

/**
 * Opens `options.path` and proves with a read that it can be used. O_DIRECT where the file system takes it, else the page cache, with a
 * warning.
 *
 * @throws EdgeError DEVICE_ABSENT, DEVICE_UNSUITABLE, DEVICE_NOT_PERMITTED, DEVICE_HELD, DEVICE_TOO_SMALL (not even a block), DEVICE_FAULT
 */
export async function openDirectDevice(options: DirectDeviceOptions): Promise<DirectDevice> {
  const isBlock = await isBlockDevice(options.path);
  const direct = await tryOpenAs(options, isBlock, true);
  if (direct !== undefined) return direct;
  const buffered = await tryOpenAs(options, isBlock, false);
  assert(buffered !== undefined, 'openDirectDevice: buffered I/O has no alignment to refuse');
  options.logger.warn(
    { path: options.path },
    'opened a device without O_DIRECT, which its file system refuses; expect more memory and CPU use',
  );
  return buffered;
}

/** What openDirectDevice learned. */
interface DirectDeviceShape {
  readonly path: string;
  readonly fd: number;
  readonly blockSizeBytes: number;
  readonly capacityBytes: number;
  readonly isBlock: boolean;
  readonly isDirect: boolean;
  readonly isReadOnly: boolean;
  /** Carries the system calls; the device closes it. */
  readonly engine: IoEngine;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricSet<typeof DEVICE_METRICS>;
}

/** See BlockDevice; made by openDirectDevice. */
export class DirectDevice implements BlockDevice {
  readonly path: string;
  readonly blockSizeBytes: number;
  readonly capacityBytes: number;
  readonly isDirect: boolean;
  readonly isReadOnly: boolean;
  readonly metrics: MetricSet<typeof DEVICE_METRICS>;
  readonly #shape: DirectDeviceShape;
  readonly #queue: TransferQueue;
  readonly #discarder: Discarder;
  #flushFailure: EdgeError | undefined;
  #closing: Promise<void> | undefined;

  constructor(shape: DirectDeviceShape) {
    const { path, engine, clock, metrics } = shape;
    this.path = path;
    this.blockSizeBytes = shape.blockSizeBytes;
    this.capacityBytes = shape.capacityBytes;
    this.isDirect = shape.isDirect;
    this.isReadOnly = shape.isReadOnly;
    this.metrics = metrics;
    this.#shape = shape;
    this.#queue = new TransferQueue({ path, lanes: engine.lanes, clock, metrics, onHung: (lane, threads) => this.#logHung(lane, threads) });
    this.#discarder = new Discarder(shape);
    this.#countOpen(1);
  }

  /** How system calls are made. */
  get io(): IoEngine['kind'] {
    return this.#shape.engine.kind;
  }

  async read(buffers: readonly Buffer[], offsetBytes: number, options: TransferOptions = {}): Promise<void> {
    const lengthBytes = checkTransfer(this, buffers, offsetBytes);
    const { priority = 'client', beginWithinMs } = options;
    const turn = { lane: 'read', priority, beginWithinMs } as const;
    await this.#run(turn, { operation: 'read', offsetBytes, lengthBytes }, () => this.#transfer('read', buffers, offsetBytes));
  }

  async write(buffers: readonly Buffer[], offsetBytes: number, options: TransferOptions = {}): Promise<void> {
    assert(!this.isReadOnly, 'write: the device was opened read-only');
    const lengthBytes = checkTransfer(this, buffers, offsetBytes);
    const { priority = 'write', beginWithinMs } = options;
    const turn = { lane: 'write', priority, beginWithinMs } as const;
    await this.#run(turn, { operation: 'write', offsetBytes, lengthBytes }, () => this.#transfer('write', buffers, offsetBytes));
  }

  async flush(): Promise<void> {
    // The kernel reports a lost write to one flush only; a later one that succeeds would prove nothing.
    if (this.#flushFailure !== undefined) throw this.#flushFailure;
    try {
      const turn = { lane: 'write', priority: 'write' } as const;
      await this.#run(turn, { operation: 'flush', offsetBytes: 0, lengthBytes: 0 }, () => this.#shape.engine.flush());
    } catch (error) {
      // One that found the line full was never asked of the kernel.
      if (error instanceof EdgeError && error.code === 'DEVICE_FAULT') this.#flushFailure ??= error;
      throw error;
    }
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<DiscardOutcome> {
    assert(!this.isReadOnly, 'discard: the device was opened read-only');
    assert(this.#closing === undefined, 'discard: the device is closed');
    checkRange(this, offsetBytes, lengthBytes);
    return this.#discarder.discard(offsetBytes, lengthBytes);
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeWhenIdle();
    return this.#closing;
  }

  async #closeWhenIdle(): Promise<void> {
    const { clock, logger } = this.#shape;
    this.#countOpen(-1);
    await new Promise<void>((resolve, reject) => {
      const timer = clock.startTimer(CLOSE_WAIT_MS, () => {
        const context = { path: this.path, operations: this.#queue.giveUp() };
        logger.error(context, 'a device that does not answer was given up; it stays claimed until it answers or the process has ended');
        resolve();
      });
      this.#letGoWhenIdle()
        .then(resolve, reject)
        .finally(() => timer.stop());
    });
  }

  async #letGoWhenIdle(): Promise<void> {
    await this.#queue.idle();
    await this.#discarder.idle();
    await this.#shape.engine.close();
    await closeFile(this.#shape.fd);
  }

  #countOpen(sign: 1 | -1): void {
    this.metrics.add('open', sign);
    this.metrics.add('direct', this.isDirect ? sign : 0);
  }

  #logHung(lane: LaneName, threads: number): void {
    const { logger } = this.#shape;
    const context = { path: this.path, lane, threads };
    if (threads === 0) logger.info(context, 'the device answers again');
    else logger.warn(context, 'the device does not answer; look at the kernel log');
  }

  /** Counts and times one operation and gives its failure a name. */
  async #run(turn: Turn, what: DeviceTransfer, act: () => Promise<void>): Promise<void> {
    assert(this.#closing === undefined, () => `${what.operation}: the device is closed`);
    const startedMs = this.#shape.clock.monotonicMs();
    await this.#queue.run(turn, async () => {
      try {
        await act();
      } catch (cause) {
        throw this.#fault(what, cause);
      }
    });
    this.#count(what, (this.#shape.clock.monotonicMs() - startedMs) / 1000);
  }

  #count({ operation, lengthBytes }: DeviceTransfer, seconds: number): void {
    switch (operation) {
      case 'read':
        this.metrics.add('reads');
        this.metrics.add('readBytes', lengthBytes);
        this.metrics.observe('readSeconds', seconds);
        break;
      case 'write':
        this.metrics.add('writes');
        this.metrics.add('writtenBytes', lengthBytes);
        this.metrics.observe('writeSeconds', seconds);
        break;
      case 'flush':
        this.metrics.add('flushes');
        this.metrics.observe('flushSeconds', seconds);
        break;
    }
  }

  #fault(what: DeviceTransfer, cause: unknown): EdgeError {
    const { operation } = what;
    const errno = systemErrorCode(cause) ?? 'unknown';
    const context = { path: this.path, ...what, errno };
    this.metrics.add('errors', 1, operation);
    if (errno === 'EINVAL') {
      this.metrics.add('refusedRequests');
      this.#shape.logger.error(context, 'a device request was refused as invalid; this is an error in rawslice, please report it');
    }
    const advice = FAULT_ADVICE[errno] ?? 'look at the kernel log';
    return new EdgeError('DEVICE_FAULT', `The ${operation} of ${this.path} failed with ${errno}; ${advice}`, { context, cause });
  }

  /** One transfer in as many system calls as it takes. */
  async #transfer(operation: MoveOperation, buffers: readonly Buffer[], offsetBytes: number): Promise<void> {
    const { engine } = this.#shape;
    let rest = buffers;
    let position = offsetBytes;
    while (rest.length > 0) {
      const moved = await engine.move(operation, rest.slice(0, engine.buffersMax), position);
      // A part of a block cannot be continued under O_DIRECT, so that block is transferred again.
      const advanced = alignDown(moved, this.blockSizeBytes);
      // The kernel moved nothing and named no error: the file was cut short under us.
      if (advanced === 0) throw new IoError('ENODATA', `nothing more could be transferred at byte ${position}`);
      position += advanced;
      rest = dropBytes(rest, advanced);
    }
  }
}

interface DeviceTransfer {
  readonly operation: DeviceOperation;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

async function isBlockDevice(path: string): Promise<boolean> {
  // Looked at before opening, because opening a pipe waits and opening a tape moves it.
  const facts = await stat(path).catch(async (cause: unknown) => {
    throw await openError(path, cause);
  });
  if (!facts.isBlockDevice() && !facts.isFile())
    throw new EdgeError('DEVICE_UNSUITABLE', `${path} is neither a block device nor a regular file`);
  return facts.isBlockDevice();
}

/** @returns undefined when O_DIRECT was wished and is refused */
async function tryOpenAs(options: DirectDeviceOptions, isBlock: boolean, isDirect: boolean): Promise<DirectDevice | undefined> {
  const isReadOnly = options.access === 'read-only';
  let flags = isReadOnly ? fsConstants.O_RDONLY : fsConstants.O_RDWR;
  if (isDirect) flags += fsConstants.O_DIRECT;
  if (isBlock && !isReadOnly) flags += fsConstants.O_EXCL;
  let fd: number;
  try {
    fd = await openFile(options.path, flags);
  } catch (cause) {
    if (isDirect && systemErrorCode(cause) === 'EINVAL') return undefined;
    throw await openError(options.path, cause);
  }
  try {
    const facts = await statFile(fd);
    if (facts.isBlockDevice() !== isBlock) throw new EdgeError('DEVICE_UNSUITABLE', `${options.path} was replaced while it was opened`);
    // The kernel opens a write-protected device for writing and refuses the writes.
    if (isBlock && !isReadOnly && (await readIsWriteProtected(deviceNumber(facts.rdev)))) {
      throw new EdgeError(
        'DEVICE_NOT_PERMITTED',
        `${options.path} is write-protected; blockdev --setrw lifts that where it was set by software`,
      );
    }
    if (!isReadOnly) await lock(fd, isBlock, options);
    const shape = await measure(fd, facts, options.path);
    if (!(await isReadable(fd, shape.blockSizeBytes, isDirect, options))) {
      await closeFile(fd);
      return undefined;
    }
    const { path, arena, clock, logger, metrics = new MetricSet(DEVICE_METRICS) } = options;
    const { memory } = arena;
    const engine = startEngine(options.io ?? 'pool', { path, fd, memory, logger, metrics });
    return new DirectDevice({ path, fd, ...shape, isBlock, isDirect, isReadOnly, engine, clock, logger, metrics });
  } catch (error) {
    await closeFile(fd);
    throw error;
  }
}

function startEngine(wished: DeviceIo, options: ThreadEngineOptions): IoEngine {
  const kind = wished === 'auto' ? IO_BY_DEFAULT : wished;
  return kind === 'threads' ? new ThreadEngine(options) : new PoolEngine(options.fd);
}

async function lock(fd: number, isBlock: boolean, options: DirectDeviceOptions): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return flockSync(fd, 'exnb');
    } catch (cause) {
      const errno = systemErrorCode(cause);
      if (errno !== 'EAGAIN') {
        throw new EdgeError('DEVICE_UNSUITABLE', `${options.path} cannot be locked (${errno ?? String(cause)}); use a local file system`, {
          cause,
        });
      }
      if (!isBlock || attempt === LOCK_ATTEMPTS_MAX) throw await heldError(options.path, cause);
      await options.clock.sleep(LOCK_PAUSE_MS);
    }
  }
}

async function measure(fd: number, facts: Stats, path: string): Promise<{ blockSizeBytes: number; capacityBytes: number }> {
  const blockSizeBytes = facts.isBlockDevice() ? await readBlockSizeBytes(deviceNumber(facts.rdev)) : PAGE_BYTES;
  // fstat knows no size of a block device; its end does.
  const sizeBytes = seekSync(fd, 0, 2);
  assert(Number.isSafeInteger(sizeBytes), 'openDirectDevice: every byte of the device has an exact offset');
  const capacityBytes = alignDown(sizeBytes, blockSizeBytes);
  if (capacityBytes === 0) {
    throw new EdgeError('DEVICE_TOO_SMALL', `${path} has ${sizeBytes} bytes, less than a block`, {
      context: { sizeBytes, blockSizeBytes },
    });
  }
  assert(isAligned(capacityBytes, PAGE_BYTES), 'openDirectDevice: blocks are whole pages');
  return { blockSizeBytes, capacityBytes };
}

/** A trial read of the first block. Some file systems take O_DIRECT at opening and refuse it at the first transfer. */
async function isReadable(fd: number, blockSizeBytes: number, isDirect: boolean, options: DirectDeviceOptions): Promise<boolean> {
  const lease = await options.arena.lease('staging', blockSizeBytes, { waitMs: TRIAL_SLOT_WAIT_MS });
  if (lease === undefined) throw new EdgeError('STORE_UNAVAILABLE', `No memory is free to try ${options.path}; make memory.arena larger`);
  try {
    await promisify(read)(fd, lease.bytes, 0, blockSizeBytes, 0);
    return true;
  } catch (cause) {
    const errno = systemErrorCode(cause) ?? 'unknown';
    if (errno === 'EINVAL' && isDirect) return false;
    const context = { path: options.path, operation: 'read', offsetBytes: 0, lengthBytes: blockSizeBytes, errno };
    throw new EdgeError('DEVICE_FAULT', `The first block of ${options.path} cannot be read (${errno}); look at the kernel log`, {
      context,
      cause,
    });
  } finally {
    lease.end();
  }
}
