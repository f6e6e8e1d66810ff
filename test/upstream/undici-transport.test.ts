/** The undici transport keeps the transport's contract. */

import { SystemClock } from '../../src/base/clock.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { KIB } from '../../src/base/units.ts';
import { ConnectionBudget } from '../../src/upstream/connection-budget.ts';
import { UndiciTransport } from '../../src/upstream/undici-transport.ts';
import { UPSTREAM_METRICS } from '../../src/upstream/upstream-metrics.ts';
import { runUpstreamTransportContract } from '../contract/upstream-transport.ts';

runUpstreamTransportContract(
  'UndiciTransport',
  (origin, limits) =>
    new UndiciTransport({
      origin,
      connectTimeoutMs: 1000,
      budget: new ConnectionBudget(4),
      connectionsMax: 4,
      keepAliveMs: 30_000,
      headBytesMax: 64 * KIB,
      clock: new SystemClock(),
      metrics: new MetricSet(UPSTREAM_METRICS),
      ...limits,
    }),
);
