/** The lane keeps the transport's contract, for what it carries and, through undici, for the rest. */
import { SystemClock } from '../../src/base/clock.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { KIB } from '../../src/base/units.ts';
import { OriginTransport } from '../../src/upstream/origin-transport.ts';
import { UPSTREAM_METRICS } from '../../src/upstream/upstream-metrics.ts';
import { runUpstreamTransportContract } from '../contract/upstream-transport.ts';

runUpstreamTransportContract(
  'OriginTransport',
  (origin, limits) =>
    new OriginTransport({
      origin,
      connectTimeoutMs: 1000,
      connectionsMax: 4,
      headBytesMax: 64 * KIB,
      clock: new SystemClock(),
      metrics: new MetricSet(UPSTREAM_METRICS),
      ...limits,
    }),
);
