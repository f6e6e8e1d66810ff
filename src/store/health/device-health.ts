/**
 * What a device's faults lead to. Faults are classified and counted; the device is told to take no more writes (`readonly`) or not to be used
 * at all (`failed`) through one callback. It goes one way only: a device that was degraded comes back by being attached anew.
 *
 *   own error            alarm, never counted against the device
 *   gone                 failed at once           cannot be written    readonly at once
 *   media, corrupt       leaky bucket (fault-bucket.ts); a read is tried twice, so each try weighs half
 *   stalled              leaky bucket; several at a time with nothing completed meanwhile: failed
 *   failed flush, failed write of metadata        readonly at once: what is durable is unknown
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { MetricSet } from '../../base/metrics.ts';
import type { STORE_METRICS } from '../store-metrics.ts';
import { FaultBucket } from './fault-bucket.ts';
import { classifyFault, FAULT_CLASSES, type FaultClass, type StoreOperation } from './fault-class.ts';

/** Operations that stall together before the device counts as hung. */
const STALLED_MAX = 4;
const READ_TRIES = 2;

/** How a device may be used no more, and why. */
export interface Degradation {
  readonly state: 'readonly' | 'failed';
  /** For people: `8 faults in a short time (media)`. */
  readonly reason: string;
  readonly error?: unknown;
}

/** Dependencies of a device's health. */
export interface DeviceHealthOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly path: string;
  readonly metrics: MetricSet<typeof STORE_METRICS>;
  readonly onDegraded: (degradation: Degradation) => void;
}

/** One per store. */
export class DeviceHealth {
  readonly #options: DeviceHealthOptions;
  readonly #bucket: FaultBucket;
  #worst: Degradation | undefined;

  constructor(options: DeviceHealthOptions) {
    this.#options = options;
    this.#bucket = new FaultBucket(options.clock);
  }

  /** The last step down, if there was one. */
  get degradation(): Degradation | undefined {
    return this.#worst;
  }

  /** Faults by class since the store was made. */
  get faults(): Readonly<Record<FaultClass, number>> {
    const counts = FAULT_CLASSES.map((name) => [name, this.#options.metrics.value('faults', name)] as const);
    return Object.fromEntries(counts) as Record<FaultClass, number>;
  }

  /** An operation ended well. */
  completed(): void {
    this.#bucket.countOperation();
  }

  /** An operation failed. What is no fault of the device (it had no time to begin) counts nothing. */
  failed(operation: StoreOperation, error: unknown): void {
    const fault = classifyFault(operation, error);
    if (fault === undefined) return;
    const { metrics, logger, path } = this.#options;
    metrics.add('deviceErrors', 1, operation);
    metrics.add('faults', 1, fault);
    this.#bucket.countOperation();
    if (fault === 'own')
      logger.error({ err: error, path, operation }, 'A request to the device was invalid: an error in rawslice, please report it');
    else if (fault === 'gone') this.#degrade({ state: 'failed', reason: 'the device is gone', error });
    else if (fault === 'unwritable') this.#degrade({ state: 'readonly', reason: 'the device cannot be written', error });
    else if (operation === 'flush') this.#degrade({ state: 'readonly', reason: 'a flush failed', error });
    else this.#count(fault, operation === 'read' ? 1 / READ_TRIES : 1, error);
  }

  /** Labels, journal or checkpoint could not be written; its failed operation was counted already. */
  metadataFailed(error: unknown): void {
    this.#degrade({ state: 'readonly', reason: 'metadata could not be written', error });
  }

  /** An operation has had no answer for too long, and nothing else was answered meanwhile. @param together operations in that state now */
  stalled(operation: StoreOperation, together: number): void {
    this.#options.metrics.add('faults', 1, 'stalled');
    const reason = `the device does not answer (${together} operations wait, a ${operation} the longest)`;
    if (together >= STALLED_MAX) this.#degrade({ state: 'failed', reason });
    else this.#count('stalled', 1, undefined);
  }

  /** A record read twice was not what was written there; stale ones (reused blocks, from before a crash) are not told to anybody. */
  corrupt(): void {
    this.#options.metrics.add('faults', 1, 'corrupt');
    this.#count('corrupt', 1, undefined);
  }

  #count(fault: FaultClass, weight: number, error: unknown): void {
    const advice = this.#bucket.add(weight);
    if (advice !== 'go-on') this.#degrade({ state: advice, reason: `too many faults, the last one of class ${fault}`, error });
  }

  #degrade(degradation: Degradation): void {
    if (this.#worst?.state === 'failed' || this.#worst?.state === degradation.state) return;
    this.#worst = degradation;
    this.#options.onDegraded(degradation);
  }
}
