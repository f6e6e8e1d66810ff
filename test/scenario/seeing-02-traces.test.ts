/** Spans of OpenTelemetry, by its own SDK: none without it; with it one for each request of either lane, and one below for each node that is asked. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { BasicTracerProvider, InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { createLogger } from '../../src/base/log.ts';
import { Tracing } from '../../src/proxy/tracing.ts';
import { CapturedStream } from '../helpers/captured-stream.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';

const FRESH = { lengthBytes: 5000, cacheControl: 'max-age=600' };
const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const TRACEPARENT = `00-${TRACE_ID}-b7ad6b7169203331-01`;

const exporter = new InMemorySpanExporter();

/** As the module that `node --import` names would do it. */
function loadSdk(): void {
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
}

function ids(span: ReadableSpan | undefined): readonly unknown[] {
  return [span?.spanContext().traceId, span?.parentSpanContext?.spanId];
}

test('without an SDK there are no spans, and nothing is done for them', () => {
  assert.equal(Tracing.find(), undefined);
});

test('with an SDK: a span for each request, one below it for each node, and the trace goes on', async () => {
  loadSdk();
  await using bad = await Origin.start({ improvise: () => ({ raw: 'HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n' }) });
  await using good = await Origin.start({ resolve: () => FRESH });
  const log = new CapturedStream();
  const logger = createLogger({ level: 'info', stream: log });
  const yaml = `upstreams:\n  - name: pool\n    nodes: [{ url: "${bad.url}" }, { url: "${good.url}" }]\n`;
  await using edge = await startEdge({ yaml, logger, set: { 'log.access': 'true' } });
  await edge.get('/a?b=c', { traceparent: TRACEPARENT, tracestate: 'evil=<evil>', 'user-agent': 'me' });
  await edge.get('/a?b=c', { traceparent: TRACEPARENT, 'user-agent': 'me' });
  await edge.get('/d', {}, { method: 'POST', body: 'x' });
  await eventually(() => exporter.getFinishedSpans().length === 6, { what: 'all spans' });
  assert.equal(edge.services.metrics.value('laneRequests', 'express'), 1);
  const servers = exporter.getFinishedSpans().filter(({ kind }) => kind === SpanKind.SERVER);
  const clients = exporter.getFinishedSpans().filter(({ kind }) => kind === SpanKind.CLIENT);

  // The first request was answered by the second node.
  const [miss, hit, post] = servers;
  assert.deepEqual(
    servers.map(({ name }) => name),
    ['GET', 'GET', 'POST'],
  );
  assert.deepEqual(ids(miss), [TRACE_ID, 'b7ad6b7169203331']);
  assert.deepEqual(ids(hit), [TRACE_ID, 'b7ad6b7169203331']);
  assert.equal(post?.parentSpanContext, undefined);
  for (const [span, cache] of [
    [miss, 'MISS'],
    [hit, 'HIT'],
  ] as const) {
    const { attributes = {} } = span ?? {};
    assert.equal(attributes['http.request.method'], 'GET');
    assert.deepEqual([attributes['url.path'], attributes['url.query'], attributes['url.scheme']], ['/a', 'b=c', 'http']);
    assert.deepEqual(
      [attributes['server.address'], attributes['server.port'], attributes['client.address']],
      ['127.0.0.1', edge.port, '127.0.0.1'],
    );
    assert.deepEqual([attributes['http.response.status_code'], attributes['user_agent.original']], [200, 'me']);
    assert.deepEqual(
      [attributes['rawslice.cache'], attributes['rawslice.route'], attributes['rawslice.group']],
      [cache, 'default', 'pool'],
    );
    assert.equal(attributes['http.response.body.size'], 5000);
    assert.equal(span?.status.code, SpanStatusCode.UNSET);
  }
  assert.deepEqual(
    clients.map((span) => [
      span.attributes['server.port'],
      span.attributes['http.response.status_code'],
      span.status.code,
      span.attributes['url.full'],
    ]),
    [
      [bad.port, 503, SpanStatusCode.ERROR, `${bad.url}/a?b=c`],
      [good.port, 200, SpanStatusCode.UNSET, `${good.url}/a?b=c`],
      [good.port, post?.attributes['http.response.status_code'], clients[2]?.status.code, `${good.url}/d`],
    ],
  );
  assert.deepEqual(clients.map(ids), [
    [TRACE_ID, miss?.spanContext().spanId],
    [TRACE_ID, miss?.spanContext().spanId],
    [post?.spanContext().traceId, post?.spanContext().spanId],
  ]);
  // What the nodes were told is the span that asked them.
  const told = [...bad.requests, ...good.requests].map(({ headers }) => headers.traceparent);
  assert.deepEqual(
    told,
    clients.map((span) => `00-${span.spanContext().traceId}-${span.spanContext().spanId}-01`),
  );
  // What fills tells nothing else of a client, since the answer is for everybody.
  for (const { headers } of [...bad.requests, ...good.requests]) assert.equal(headers.tracestate, undefined);
  // And the lines in the log are of the spans.
  const lines = log.text
    .split('\n')
    .filter((line) => line.includes('"request"'))
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map((line) => [line.trace_id, line.span_id]),
    servers.map((span) => [span.spanContext().traceId, span.spanContext().spanId]),
  );
});

test('what fails is an error, of the node and of the server', async () => {
  exporter.reset();
  const gone = await Origin.start();
  const { url } = gone;
  await gone.close();
  await using edge = await startEdge({ yaml: `upstreams: [{ name: pool, nodes: [{ url: "${url}" }] }]\n` });
  await edge.get('/a');
  await eventually(() => exporter.getFinishedSpans().length === 2, { what: 'both spans' });
  const [asked, answered] = exporter.getFinishedSpans();
  assert.deepEqual(
    [asked?.kind, asked?.status.code, asked?.attributes['error.type']],
    [SpanKind.CLIENT, SpanStatusCode.ERROR, 'UPSTREAM_UNREACHABLE'],
  );
  assert.deepEqual(
    [answered?.kind, answered?.status.code, answered?.attributes['error.type']],
    [SpanKind.SERVER, SpanStatusCode.ERROR, 'UPSTREAM_UNREACHABLE'],
  );
  assert.equal(answered?.attributes['http.response.status_code'], 502);
});
