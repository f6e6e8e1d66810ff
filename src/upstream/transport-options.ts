/** What a transport to one origin is made with; both kinds of transfer go by it. */
import type { LookupFunction } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { Outcome } from './upstream-error.ts';
import type { UPSTREAM_METRICS } from './upstream-metrics.ts';

/** What TLS is done with, where it is not what the origin's URL says. */
export interface TlsOptions {
  /** Name that is asked for and verified; undefined: the host of the origin. */
  readonly servername: string | undefined;
  /** Whether the certificate must be valid for the name. */
  readonly verifies: boolean;
}

/** `h2`: by ALPN over TLS, with prior knowledge without. */
export type OriginProtocol = 'http/1.1' | 'h2';

/** Limits of one origin. */
export interface TransportOptions {
  /** Scheme and authority, such as `https://mirror.example`. */
  readonly origin: string;
  readonly connectTimeoutMs: number;
  /** From the request to its response head. */
  readonly headTimeoutMs: number;
  /** Between two pieces of a body, while it is being read. */
  readonly bodyTimeoutMs: number;
  readonly connectionsMax: number;
  readonly headBytesMax: number;
  /** In place of `dns.lookup`. */
  readonly lookup?: LookupFunction | undefined;
  readonly tls?: TlsOptions | undefined;
  /** Spoken with the origin, and nothing else; HTTP/1.1 where it is not said. */
  readonly protocol?: OriginProtocol | undefined;
  /** Told of the end of each request, before its receiver is. A request that could not be sent to anybody is `aborted` here. */
  readonly onOutcome?: ((outcome: Outcome) => void) | undefined;
  readonly clock: Clock;
  readonly metrics: MetricSet<typeof UPSTREAM_METRICS>;
}
