/**
 * One device of a cache, whatever becomes of it: present or not, degraded, attached anew. It holds the store that is on the device now and
 * tries again, less and less often, while that is not as it should be. What the device missed meanwhile is the set's business.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import { EdgeError, toEdgeError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { MetricSet } from '../../base/metrics.ts';
import { SECOND_MS } from '../../base/units.ts';
import type { BlockDevice } from '../../device/block-device.ts';
import { formatUuid } from '../../format/format-block.ts';
import { createStore, type DeviceStore, type StoreOptions } from '../device-store.ts';
import type { StoreState } from '../slice-store.ts';
import { STORE_METRICS } from '../store-metrics.ts';

/** Pauses before a device is tried again: the first, doubled each time up to the last; begun anew when it stayed well for so long. */
const RETRY_MS = { first: 30 * SECOND_MS, last: 1800 * SECOND_MS, wellAfter: 600 * SECOND_MS } as const;

/** How a device is reached. `open` refuses whatever is not a cache; it never formats. */
export interface MemberDevice {
  readonly path: string;
  readonly open: () => Promise<BlockDevice>;
}

/** What the stores of all members share. */
export type MemberOptions = Omit<StoreOptions, 'device' | 'metrics' | 'onDegraded'>;

/** For people and programs. */
export interface MemberStatus {
  readonly path: string;
  readonly state: StoreState | 'absent';
  /** Why it is not online. */
  readonly reason: string | undefined;
  readonly deviceUuid: string | undefined;
  /** Bytes of the device; 0 while it was never opened. */
  readonly capacityBytes: number;
  readonly isDirect: boolean;
  readonly faults: DeviceStore['faults'] | undefined;
  readonly usedBytes: number;
  readonly freeBytes: number;
}

/** One per configured device. */
export class DeviceMember {
  readonly path: string;
  readonly metrics = new MetricSet(STORE_METRICS);
  readonly #device: MemberDevice;
  readonly #options: MemberOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Attaches the device; set by the set, which knows what it missed. */
  readonly #attach: (member: DeviceMember) => Promise<void>;
  #store: DeviceStore | undefined;
  #problem: EdgeError | undefined;
  #retry: Timer | undefined;
  #pauseMs: number = RETRY_MS.first;
  #attachedMs = 0;
  #attaching: Promise<void> | undefined;
  #isClosed = false;

  constructor(device: MemberDevice, options: MemberOptions, attach: (member: DeviceMember) => Promise<void>) {
    this.path = device.path;
    this.#device = device;
    this.#options = options;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#attach = attach;
    this.metrics.setGauge('state', () => 0);
  }

  /** The store on the device, in whatever state; undefined while the device was never opened. */
  get store(): DeviceStore | undefined {
    return this.#store;
  }

  /** Why the device could not be opened the last time. */
  get problem(): EdgeError | undefined {
    return this.#problem;
  }

  get status(): MemberStatus {
    const store = this.#store;
    // A store that was closed for another try says nothing about the device.
    const state = store?.state === 'closed' && !this.#isClosed ? 'failed' : (store?.state ?? 'absent');
    const isWell = state === 'online' || state === 'loading';
    return {
      path: this.path,
      state,
      reason: isWell ? undefined : (this.#problem?.message ?? store?.degradation?.reason),
      deviceUuid: store === undefined ? undefined : formatUuid(store.identity.uuid),
      capacityBytes: store?.geometry.capacityBytes ?? 0,
      isDirect: store?.isDirect ?? false,
      faults: store?.faults,
      usedBytes: store?.usage.usedBytes ?? 0,
      freeBytes: store?.usage.freeBytes ?? 0,
    };
  }

  /**
   * Opens the device and reads its root; the store that is returned is still loading and not yet this member's.
   *
   * @throws EdgeError DEVICE_*, FORMAT_*; DEVICE_FOREIGN for another device, or an older state of this one, than was here before
   */
  async open(): Promise<DeviceStore> {
    try {
      const device = await this.#device.open();
      const store = await this.#createStore(device);
      this.#problem = undefined;
      return store;
    } catch (cause) {
      this.#problem = toEdgeError(cause);
      throw this.#problem;
    }
  }

  /** `store` is the one on the device from now on. */
  take(store: DeviceStore): void {
    this.#store = store;
    this.#attachedMs = this.#clock.monotonicMs();
  }

  /** Sees to it that the device is tried again, after a pause. */
  retryLater(): void {
    if (this.#isClosed || this.#retry !== undefined) return;
    this.#retry = this.#clock.startTimer(this.#pauseMs, () => {
      this.#retry = undefined;
      this.attach().catch(() => undefined);
    });
    this.#pauseMs = Math.min(2 * this.#pauseMs, RETRY_MS.last);
  }

  /**
   * Tries the device now; joins a try in progress. A device that is online stays so.
   *
   * @throws EdgeError why it could not be attached; it is tried again later
   */
  attach(): Promise<void> {
    const state = this.#store?.state;
    if (this.#isClosed || state === 'online' || state === 'loading') return Promise.resolve();
    this.#retry?.stop();
    this.#retry = undefined;
    this.#attaching ??= this.#tryAttach().finally(() => {
      this.#attaching = undefined;
    });
    return this.#attaching;
  }

  /** Lets go of the device. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#retry?.stop();
    await this.#attaching?.catch(() => undefined);
    await this.#store?.close();
  }

  async #tryAttach(): Promise<void> {
    try {
      // The store that is there holds the device; what it remembers of purges is still asked for.
      await this.#store?.close();
      await this.#attach(this);
    } catch (cause) {
      this.#problem = toEdgeError(cause);
      this.#logger.warn(
        { err: this.#problem, path: this.path, pauseMs: this.#pauseMs },
        'The device could not be attached; it is tried again later',
      );
      this.retryLater();
      throw this.#problem;
    }
    if (this.#store?.state !== 'online') this.retryLater();
  }

  async #createStore(device: BlockDevice): Promise<DeviceStore> {
    const onDegraded = (): void => {
      if (this.#clock.monotonicMs() - this.#attachedMs > RETRY_MS.wellAfter) this.#pauseMs = RETRY_MS.first;
      this.retryLater();
    };
    const store = await createStore({ ...this.#options, device, metrics: this.metrics, onDegraded }).catch(async (error: unknown) => {
      await device.close();
      throw error;
    });
    const before = this.#store;
    const isOther = before !== undefined && Buffer.compare(before.identity.uuid, store.identity.uuid) !== 0;
    if (before === undefined || (!isOther && store.superblock.sequence >= before.superblock.sequence)) return store;
    await store.close();
    const what = isOther ? 'another device' : 'an older state of the device';
    throw new EdgeError('DEVICE_FOREIGN', `${this.path} is ${what} than was here before; restart rawslice to take it as it is`);
  }
}
