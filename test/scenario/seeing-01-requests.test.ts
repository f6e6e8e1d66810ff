/** What a request leaves behind: an id for the origin, the client and the log; its place in a trace; the nodes that were asked; a line in either format. */
import assert from 'node:assert/strict';
import { appendFile, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { AccessOutputs } from '../../src/app/access-output.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { createLogger, createSilentLogger } from '../../src/base/log.ts';
import { parseTraceParent } from '../../src/http/trace-context.ts';
import { formatCombined } from '../../src/proxy/combined-line.ts';
import { CapturedStream } from '../helpers/captured-stream.ts';
import { ClientConnection } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';

const FRESH = { lengthBytes: 5000, cacheControl: 'max-age=600' };
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const OWN_ID = /^[0-9a-f]{24}$/;

function linesOf(log: CapturedStream): Record<string, unknown>[] {
  return log.text
    .split('\n')
    .filter((line) => line.includes('"request"'))
    .map((line) => JSON.parse(line));
}

test('request ids: made here, told to the origin, in the log, and with `client` in every response of both lanes', async () => {
  await using origin = await Origin.start({ resolve: () => ({ ...FRESH, headers: [['x-request-id', 'of-the-origin']] }) });
  const log = new CapturedStream();
  const logger = createLogger({ level: 'info', stream: log });
  await using edge = await startEdge({ origin, logger, set: { 'log.access': 'true', requestId: 'client' } });
  const client = await ClientConnection.open({ port: edge.port });
  const answers = [await edge.get('/a', { 'x-request-id': 'of-the-client' })];
  for (const headers of [{}, { range: 'bytes=5-9' }, { 'if-none-match': '*' }, { cookie: 'a=b' }])
    answers.push(await client.request({ path: '/a', headers }));
  client.destroy();
  answers.push(await edge.get('/a', {}, { method: 'TRACE' }));
  const ids = answers.map(({ headers }) => headers['x-request-id']);
  for (const id of ids) assert.match(String(id), OWN_ID);
  assert.equal(new Set(ids).size, ids.length, String(ids));
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 206, 304, 200, 501],
  );
  assert.deepEqual(
    answers.map(({ headers }) => headers['x-cache']),
    ['MISS', 'HIT', 'HIT', 'HIT', 'HIT', 'NONE'],
  );
  assert.equal(edge.services.metrics.value('laneRequests', 'express'), 3);
  await eventually(() => linesOf(log).length === ids.length, { what: 'all lines' });
  assert.deepEqual(
    linesOf(log).map((line) => line['http.request.id']),
    ids,
  );
  assert.equal(origin.requests[0]?.headers['x-request-id'], ids[0]);
});

test('a trusted proxy may give the id, if it is well-formed; without ids nothing is touched', async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10, cacheControl: 'no-store' }) });
  const yaml = (more: string): string => `services:\n  - { name: edge, listen: "127.0.0.1:0"${more} }\n`;
  const told = async (more: string, set: Record<string, string>, id: string): Promise<string | undefined> => {
    await using edge = await startEdge({ origin, yaml: yaml(more), set });
    origin.forgetRequests();
    const { headers } = await edge.get('/a', { 'x-request-id': id }, { method: 'POST', body: 'x' });
    assert.equal(headers['x-request-id'], undefined);
    return String(origin.requests[0]?.headers['x-request-id']);
  };
  const trusted = ', trustedProxies: [127.0.0.1]';
  assert.equal(await told(trusted, {}, 'abc-123'), 'abc-123');
  assert.match((await told(trusted, {}, 'a b')) ?? '', OWN_ID);
  assert.match((await told(trusted, {}, 'x'.repeat(129))) ?? '', OWN_ID);
  assert.match((await told(', trustedProxies: [192.0.2.1]', {}, 'abc-123')) ?? '', OWN_ID);
  assert.match((await told('', {}, 'abc-123')) ?? '', OWN_ID);
  assert.equal(await told('', { requestId: 'off' }, 'abc-123'), 'abc-123');
});

test('traceparent goes on to the origin with what passes through, not with what fills, and into the line of either lane', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const log = new CapturedStream();
  const logger = createLogger({ level: 'info', stream: log });
  await using edge = await startEdge({ origin, logger, set: { 'log.access': 'true' } });
  const headers = { traceparent: TRACEPARENT, tracestate: 'a=b', referer: 'http://x.example/' };
  for (const target of ['/a', '/a']) await edge.get(target, headers);
  await edge.get('/b', { traceparent: 'nonsense' });
  await edge.get('/c', headers, { method: 'POST', body: 'x' });
  assert.equal(edge.services.metrics.value('laneRequests', 'express'), 1);
  await eventually(() => linesOf(log).length === 4, { what: 'all lines' });
  assert.deepEqual(
    linesOf(log).map((line) => [line.trace_id, line.span_id, line['http.request.referer']]),
    [
      ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', 'http://x.example/'],
      ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', 'http://x.example/'],
      [undefined, undefined, undefined],
      ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', 'http://x.example/'],
    ],
  );
  assert.deepEqual(
    origin.requests.map(({ headers: { traceparent, tracestate } }) => [traceparent, tracestate]),
    [
      [undefined, undefined],
      [undefined, undefined],
      [TRACEPARENT, 'a=b'],
    ],
  );
});

test('parseTraceParent() reads what W3C Trace Context allows', () => {
  assert.deepEqual(parseTraceParent(TRACEPARENT), {
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    isSampled: true,
  });
  assert.equal(parseTraceParent(TRACEPARENT.replace(/01$/, '02'))?.isSampled, false);
  assert.ok(parseTraceParent(`01${TRACEPARENT.slice(2)}-more`));
  const wrong = [
    undefined,
    '',
    `${TRACEPARENT}-more`,
    `ff${TRACEPARENT.slice(2)}`,
    TRACEPARENT.toUpperCase(),
    TRACEPARENT.replace('b7ad6b7169203331', '0'.repeat(16)),
  ];
  for (const text of wrong) assert.equal(parseTraceParent(text), undefined, String(text));
});

test('the line says which node answered and how many were asked', async () => {
  await using bad = await Origin.start({ improvise: () => ({ raw: 'HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n' }) });
  await using good = await Origin.start({ resolve: () => FRESH });
  const log = new CapturedStream();
  const logger = createLogger({ level: 'info', stream: log });
  const yaml = `upstreams:\n  - name: pool\n    nodes: [{ url: "${bad.url}" }, { url: "${good.url}" }]\n`;
  await using edge = await startEdge({ yaml, logger, set: { 'log.access': 'true' } });
  await edge.get('/a');
  await edge.get('/a');
  await edge.get('/b', {}, { method: 'POST', body: 'x' });
  await eventually(() => linesOf(log).length === 3, { what: 'all lines' });
  assert.deepEqual(
    linesOf(log).map((line) => [line['upstream.node'], line['upstream.requests']]),
    [
      [good.url, 2],
      [undefined, undefined],
      [good.url, 1],
    ],
  );
});

test('the combined format goes to a file, which is opened again by a reload', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await withTemporaryDirectory(async (folder) => {
    const file = path.join(folder, 'access.log');
    await appendFile(file, 'before\n');
    const log = new CapturedStream();
    const logger = createLogger({ level: 'info', stream: log });
    const set = { 'log.access': 'true', 'log.accessFormat': 'combined', 'log.accessFile': file };
    await using edge = await startEdge({ origin, logger, set });
    const headers = { 'user-agent': 'a "b" \\', referer: 'http://x.example/' };
    for (const target of ['/a?b=c', '/a?b=c']) await edge.get(target, headers);
    await edge.get('/d', { ...headers, referer: 'é' }, { method: 'HEAD' });
    const linesIn = async (name: string): Promise<string[]> => (await readFile(name, 'utf8')).trimEnd().split('\n');
    await eventually(async () => (await linesIn(file)).length === 4, { what: 'three lines' });
    const [before, ...lines] = await linesIn(file);
    assert.equal(before, 'before');
    const when = '\\[\\d\\d/[A-Z][a-z]{2}/\\d{4}:\\d\\d:\\d\\d:\\d\\d \\+0000\\]';
    const expected = [
      '"GET /a?b=c HTTP/1.1" 200 5000 "http://x.example/"',
      '"GET /a?b=c HTTP/1.1" 200 5000 "http://x.example/"',
      '"HEAD /d HTTP/1.1" 200 - "\\xe9"',
    ];
    for (const [index, middle] of expected.entries()) {
      const line = lines[index] ?? '';
      assert.match(line, new RegExp(`^127\\.0\\.0\\.1 - - ${when} "`));
      assert.ok(line.endsWith(`] ${middle} "a \\"b\\" \\\\"`), line);
    }
    assert.equal(edge.services.metrics.value('laneRequests', 'express'), 1);
    // As logrotate does it: moved away, then a reload.
    await rename(file, `${file}.1`);
    edge.proxy.commit(edge.proxy.prepare(edge.proxy.config));
    await edge.get('/e');
    await eventually(async () => (await linesIn(file)).length === 1, { what: 'a line in the new file' });
    assert.equal((await linesIn(`${file}.1`)).length, 4);
    assert.equal(linesOf(log).length, 0);
  });
});

test('what a client says does not end its line, and a client that is not known has one too', () => {
  const record = {
    service: 'edge',
    site: undefined,
    clientAddress: undefined,
    method: 'GET',
    path: '/a" 200 1 "\n',
    query: undefined,
    range: undefined,
    status: undefined,
    sentBytes: 0,
    userAgent: undefined,
    cacheResult: 'NONE',
    cacheStatus: undefined,
    cachedBytes: 0,
    ruleName: undefined,
    generation: undefined,
    firstByteMs: undefined,
    durationMs: 1000,
    isComplete: false,
    error: undefined,
    requestId: undefined,
    traceparent: undefined,
    referer: '',
    httpVersion: '1.0',
    node: undefined,
    askedCount: 0,
  } as const;
  assert.equal(
    formatCombined(record, Date.UTC(2026, 10, 29, 5, 28, 16)),
    '- - - [29/Nov/2026:05:28:15 +0000] "GET /a\\" 200 1 \\"\\x0a HTTP/1.0" 499 - "-" "-"\n',
  );
});

test('a file that cannot be written to is refused before anything changes', () => {
  const outputs = new AccessOutputs(createSilentLogger(), new SystemClock());
  assert.throws(() => outputs.check({ accessFile: '/nowhere/access.log', accessFormat: 'json' }), { code: 'CONFIG_INVALID' });
});
