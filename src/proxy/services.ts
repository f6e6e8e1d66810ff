/** What the stages work with; built once by app. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { Random } from '../base/random.ts';
import type { KeyedSite } from '../cache/cache-key.ts';
import type { SiteRule } from '../cache/site-rule.ts';
import type { ObjectResolver } from '../fill/object-resolver.ts';
import type { Purger } from '../fill/purger.ts';
import type { RedirectRule } from '../http/redirect-target.ts';
import type { BufferPool } from '../memory/buffer-pool.ts';
import type { SliceStore } from '../store/slice-store.ts';
import type { UpstreamTransport } from '../upstream/upstream-transport.ts';
import type { CopyPool } from './copy-pool.ts';
import type { PinBudget } from './pin-budget.ts';
import type { PROXY_METRICS } from './proxy-metrics.ts';
import type { PurgeGate } from './purge-gate.ts';
import type { SurplusBudget } from './surplus-budget.ts';

/** What one listener fronts. */
export interface Site extends KeyedSite {
  readonly transport: UpstreamTransport;
  /** Before every path at the origin; empty or `/x/y`. */
  readonly basePath: string;
  readonly rules: readonly SiteRule[];
  /** The transport, following redirects as a rule says. */
  readonly follow: (rule: RedirectRule) => UpstreamTransport;
}

/** Limits on requests. */
export interface ProxyLimits {
  readonly requestsMax: number;
  /** A client that takes no byte for this long is cut off. */
  readonly clientStallMs: number;
  /** A client that sends no byte of its request's content for this long is cut off. */
  readonly uploadStallMs: number;
  /** Ranges of one request. */
  readonly rangesMax: number;
  /** Bytes of slices around the ranges of one request that are fetched with them. */
  readonly rangeSurplusBytes: number;
}

/** Everything that stages may use. */
export interface ProxyServices {
  readonly site: Site;
  readonly store: SliceStore;
  readonly resolver: ObjectResolver;
  readonly purger: Purger;
  readonly purgeGate: PurgeGate;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricSet<typeof PROXY_METRICS>;
  readonly limits: ProxyLimits;
  readonly pins: PinBudget;
  readonly copies: CopyPool;
  /** For bodies that pass through unstored. */
  readonly buffers: BufferPool;
  readonly surplus: SurplusBudget;
  readonly random: Random;
  /** This process in CDN-Loop (RFC 8586). */
  readonly loopId: string;
  readonly logsAccess: boolean;
  /** Whether Cache-Status names the key (RFC 9211 s2.7). */
  readonly showsCacheKey: boolean;
  /** Requests in progress; the pipeline counts. */
  readonly load: { requests: number; isDraining: boolean };
}
