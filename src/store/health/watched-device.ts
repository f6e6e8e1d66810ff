/**
 * The device as the store sees it: every transfer and flush passes through here and tells the device's health how it ended, or that it has not for
 * too long. It changes nothing about an operation. An operation that is late while others are answered waits in a queue; one that is late
 * while nothing is answered stalls, and only that is a fault.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { BlockDevice, DiscardOutcome } from '../../device/block-device.ts';
import type { DeviceHealth } from './device-health.ts';
import type { StoreOperation } from './fault-class.ts';

/** Looks at what is late so many times within a deadline. */
const LOOKS_PER_DEADLINE = 4;

interface InFlight {
  readonly operation: StoreOperation;
  readonly startedMs: number;
  isStalled: boolean;
}

/** Dependencies, and how long an operation may take. */
export interface WatchedDeviceOptions {
  readonly device: BlockDevice;
  readonly clock: Clock;
  readonly health: DeviceHealth;
  readonly readDeadlineMs: number;
  /** Of writes and flushes. */
  readonly writeDeadlineMs: number;
}

/** See BlockDevice; one per store. */
export class WatchedDevice implements BlockDevice {
  readonly #options: WatchedDeviceOptions;
  readonly #inFlight = new Set<InFlight>();
  readonly #timer: Timer;
  #answeredMs: number;

  constructor(options: WatchedDeviceOptions) {
    this.#options = options;
    this.#answeredMs = options.clock.monotonicMs();
    const periodMs = Math.min(options.readDeadlineMs, options.writeDeadlineMs) / LOOKS_PER_DEADLINE;
    this.#timer = options.clock.startInterval(periodMs, () => this.#look());
  }

  get path(): string {
    return this.#options.device.path;
  }

  get blockSizeBytes(): number {
    return this.#options.device.blockSizeBytes;
  }

  get capacityBytes(): number {
    return this.#options.device.capacityBytes;
  }

  get isDirect(): boolean {
    return this.#options.device.isDirect;
  }

  get isReadOnly(): boolean {
    return this.#options.device.isReadOnly;
  }

  /** Operations that were begun and have not ended. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  read(...transfer: Parameters<BlockDevice['read']>): Promise<void> {
    return this.#watch('read', () => this.#options.device.read(...transfer));
  }

  write(...transfer: Parameters<BlockDevice['write']>): Promise<void> {
    return this.#watch('write', () => this.#options.device.write(...transfer));
  }

  flush(): Promise<void> {
    return this.#watch('flush', () => this.#options.device.flush());
  }

  /** Not watched: nobody waits for it, it may take long, and it says nothing about the device's health. */
  discard(offsetBytes: number, lengthBytes: number): Promise<DiscardOutcome> {
    return this.#options.device.discard?.(offsetBytes, lengthBytes) ?? Promise.resolve('unable');
  }

  close(): Promise<void> {
    this.#timer.stop();
    return this.#options.device.close();
  }

  /** For how long the device has answered nothing of what it was asked; 0 while it was asked nothing. */
  silentMs(): number {
    const [first] = this.#inFlight;
    return first === undefined ? 0 : this.#options.clock.monotonicMs() - Math.max(first.startedMs, this.#answeredMs);
  }

  async #watch(operation: StoreOperation, act: () => Promise<void>): Promise<void> {
    const { clock, health } = this.#options;
    const entry: InFlight = { operation, startedMs: clock.monotonicMs(), isStalled: false };
    this.#inFlight.add(entry);
    try {
      await act();
      health.completed();
    } catch (error) {
      health.failed(operation, error);
      throw error;
    } finally {
      this.#inFlight.delete(entry);
      this.#answeredMs = clock.monotonicMs();
    }
  }

  #look(): void {
    const { clock, health, readDeadlineMs, writeDeadlineMs } = this.#options;
    const nowMs = clock.monotonicMs();
    let together = 0;
    for (const entry of this.#inFlight) {
      const deadlineMs = entry.operation === 'read' ? readDeadlineMs : writeDeadlineMs;
      if (nowMs - Math.max(entry.startedMs, this.#answeredMs) < deadlineMs) continue;
      together += 1;
      if (entry.isStalled) continue;
      entry.isStalled = true;
      health.stalled(entry.operation, together);
    }
  }
}
