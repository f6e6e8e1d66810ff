/** The undici transport keeps the transport's contract. */
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { KIB } from '../../src/base/units.ts';
import { ConnectionBudget } from '../../src/upstream/connection-budget.ts';
import { UndiciTransport } from '../../src/upstream/undici-transport.ts';
import { UPSTREAM_METRICS } from '../../src/upstream/upstream-metrics.ts';
import { runUpstreamTransportContract, type TransportLimits } from '../contract/upstream-transport.ts';
import { trustedCertificate } from '../helpers/certificate.ts';

const create = (origin: string, limits: TransportLimits): UndiciTransport =>
  new UndiciTransport({
    origin,
    connectTimeoutMs: 1000,
    connectionsMax: 4,
    budget: new ConnectionBudget(4),
    keepAliveMs: 30_000,
    headBytesMax: 64 * KIB,
    clock: new SystemClock(),
    metrics: new MetricSet(UPSTREAM_METRICS),
    ...limits,
  });

runUpstreamTransportContract('UndiciTransport', create);

const certificate = trustedCertificate();
if (certificate === undefined) test('UndiciTransport over TLS', { skip: 'openssl is not installed' }, () => undefined);
else runUpstreamTransportContract('UndiciTransport over TLS', create, { tls: certificate });

// What has content goes another way, which must not show.
runUpstreamTransportContract(
  'UndiciTransport, requests with content',
  (origin, limits) => {
    const transport = create(origin, limits);
    return {
      get waitingRequests() {
        return transport.waitingRequests;
      },
      start: (request, receiver) => transport.start({ ...request, body: request.body ?? Readable.from([Buffer.from('x')]) }, receiver),
      close: () => transport.close(),
    };
  },
  { keepsConnections: false },
);
