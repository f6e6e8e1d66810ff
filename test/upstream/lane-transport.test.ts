/** The lane keeps the transport's contract, for what it carries and, through undici, for the rest. */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import type { EdgeError } from '../../src/base/errors.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { KIB } from '../../src/base/units.ts';
import { OriginTransport } from '../../src/upstream/origin-transport.ts';
import { UPSTREAM_METRICS } from '../../src/upstream/upstream-metrics.ts';
import { runUpstreamTransportContract, type TransportFactory } from '../contract/upstream-transport.ts';
import { trustedCertificate } from '../helpers/certificate.ts';
import { Origin } from '../helpers/origin.ts';

const factory: TransportFactory = (origin, limits) =>
  new OriginTransport({
    origin,
    connectTimeoutMs: 1000,
    connectionsMax: 4,
    headBytesMax: 64 * KIB,
    clock: new SystemClock(),
    metrics: new MetricSet(UPSTREAM_METRICS),
    ...limits,
  });

runUpstreamTransportContract('OriginTransport', factory);

const certificate = trustedCertificate();
if (certificate === undefined) test('OriginTransport over TLS', { skip: 'openssl is not installed' }, () => undefined);
else runUpstreamTransportContract('OriginTransport over TLS', factory, { tls: certificate });

test('uploads and downloads share the connections of an origin, and neither starves the other', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10_000 });
  const metrics = new MetricSet(UPSTREAM_METRICS);
  const limits = { connectTimeoutMs: 1000, headTimeoutMs: 5000, bodyTimeoutMs: 5000, connectionsMax: 2, headBytesMax: 64 * KIB };
  const transport = new OriginTransport({ origin: origin.url, clock: new SystemClock(), metrics, ...limits });
  const ask = (method: string): Promise<string> =>
    new Promise((resolve) => {
      const body = method === 'PUT' ? Readable.from([Buffer.alloc(1000)]) : undefined;
      const room = new Uint8Array(64 * KIB);
      const sink = { room: () => room, onBytes: () => undefined, onEnd: () => resolve('end'), onError: () => resolve('error') };
      const onFailure = (error: EdgeError): void => resolve(error.code);
      transport.start({ method, path: '/a', fields: [['host', 'origin.test']], body }, { onHead: () => sink, onFailure });
    });
  let most = 0;
  const watch = async (answer: Promise<string>): Promise<void> => {
    assert.equal(await answer, 'end');
    most = Math.max(most, origin.connections.open);
  };
  await Promise.all(Array.from({ length: 60 }, (_, index) => watch(ask(index % 3 === 0 ? 'PUT' : 'GET'))));
  // The origin hears of the end of one a little after the next has begun; without a limit there would be sixty.
  assert.ok(most <= 4, `${most} connections`);
  assert.equal(metrics.value('inFlight'), 0);
  assert.equal(transport.waitingRequests, 0);
  await transport.close();
});
