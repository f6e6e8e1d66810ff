/**
 * Transfers that stand still because their clients do. Each holds a connection to the origin that nobody uses; when requests wait for a
 * connection, the one that has stood longest gives its own up. Its client asks again, by Range, when it moves; where the origin has no ranges a
 * transfer gives way only to another one of its object, which brings the same.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { UpstreamTransport } from '../upstream/upstream-transport.ts';
import type { FILL_METRICS } from './fill-metrics.ts';

/** A transfer whose bytes can be had in another way. */
export interface StandingTransfer {
  /** Lets go of its connection. @returns false when that would lose what nobody else is about to bring */
  tryGiveUp(): boolean;
}

/** A shorter stop is ordinary pacing, and no reason to ask the origin again. */
const STANDING_MS_MIN = 500;
/** How often it is looked whether requests still wait. */
const WATCH_MS = 100;

/** The transfers of one proxy that stand still, the longest first. */
export class StandingTransfers {
  readonly #clock: Clock;
  readonly #metrics: MetricSet<typeof FILL_METRICS>;
  readonly #sinceMs = new Map<StandingTransfer, number>();
  #watch: Timer | undefined;

  constructor(clock: Clock, metrics: MetricSet<typeof FILL_METRICS>) {
    this.#clock = clock;
    this.#metrics = metrics;
  }

  add(transfer: StandingTransfer): void {
    if (!this.#sinceMs.has(transfer)) this.#sinceMs.set(transfer, this.#clock.monotonicMs());
  }

  delete(transfer: StandingTransfer): void {
    this.#sinceMs.delete(transfer);
  }

  /** A request was sent: if it has to wait for a connection, standing transfers make room. */
  onRequest(transport: UpstreamTransport): void {
    if (this.#watch !== undefined || transport.waitingRequests === 0) return;
    this.#watch = this.#clock.startInterval(WATCH_MS, () => this.#makeRoom(transport));
    this.#makeRoom(transport);
  }

  #makeRoom(transport: UpstreamTransport): void {
    const nowMs = this.#clock.monotonicMs();
    let wanted = transport.waitingRequests;
    for (const [transfer, sinceMs] of this.#sinceMs) {
      if (wanted === 0 || nowMs - sinceMs < STANDING_MS_MIN) break;
      if (!transfer.tryGiveUp()) continue;
      wanted -= 1;
      this.#sinceMs.delete(transfer);
      this.#metrics.add('connectionsYielded');
    }
    if (transport.waitingRequests > 0) return;
    this.#watch?.stop();
    this.#watch = undefined;
  }
}
