/**
 * What each client has made the cache fetch beyond what it was sent: slices around small ranges. A client that has used up its budget for a
 * minute is not refused anything; its requests with ranges go past the cache, so that the origin sends what the client gets and no more
 * (RFC 9110 s17.15). The debt goes down by the budget each minute. Filled by plan, looked at by resolve and plan.
 */
import type { Clock } from '../base/clock.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { PROXY_METRICS } from './proxy-metrics.ts';

/** Clients whose debt is known; past it the one that was charged longest ago is forgotten. */
const CLIENTS_MAX = 16_384;
const MINUTE_MS = 60_000;
/** A debt counts up to so many budgets, so that nobody waits longer than that many minutes for an old one. */
const DEBT_BUDGETS_MAX = 2;

interface Debt {
  readonly bytes: number;
  readonly atMs: number;
}

/** Debts of clients. */
export class SurplusBudget {
  readonly #clock: Clock;
  readonly #metrics: MetricSet<typeof PROXY_METRICS>;
  readonly #bytesPerMinute: number;
  /** The one charged longest ago comes first. */
  readonly #debts = new Map<string, Debt>();

  /** @param options.bytesPerMinute > 0 */
  constructor(options: { readonly clock: Clock; readonly metrics: MetricSet<typeof PROXY_METRICS>; readonly bytesPerMinute: number }) {
    this.#clock = options.clock;
    this.#metrics = options.metrics;
    this.#bytesPerMinute = options.bytesPerMinute;
  }

  /** Clients with a debt. */
  get clientCount(): number {
    return this.#debts.size;
  }

  /** Whether the client has had what a minute allows. */
  isUsedUp(client: string): boolean {
    return this.#debtOf(client) >= this.#bytesPerMinute;
  }

  /** Adds to the client's debt. */
  charge(client: string, bytes: number): void {
    if (bytes <= 0) return;
    const debt = Math.min(this.#debtOf(client) + bytes, DEBT_BUDGETS_MAX * this.#bytesPerMinute);
    this.#debts.delete(client);
    this.#debts.set(client, { bytes: debt, atMs: this.#clock.monotonicMs() });
    if (this.#debts.size > CLIENTS_MAX) this.#forgetOldest();
  }

  #debtOf(client: string): number {
    const debt = this.#debts.get(client);
    if (debt === undefined) return 0;
    const paid = ((this.#clock.monotonicMs() - debt.atMs) / MINUTE_MS) * this.#bytesPerMinute;
    return Math.max(0, debt.bytes - paid);
  }

  #forgetOldest(): void {
    const oldest = this.#debts.keys().next().value;
    if (oldest === undefined) return;
    if (this.#debtOf(oldest) > 0) this.#metrics.add('rangeLimits', 1, 'clients');
    this.#debts.delete(oldest);
  }
}
