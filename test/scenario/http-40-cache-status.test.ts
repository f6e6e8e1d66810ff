/** Row 40: Cache-Status (RFC 9211) and Proxy-Status (RFC 9209) as an independent parser of structured fields reads them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PLAIN_RULE } from '../../src/cache/site-rule.ts';
import type { ClientResponse } from '../helpers/client.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { type BareItem, type ListMember, parseStructuredList } from '../helpers/structured-fields.ts';

const SLICE = 64 * 1024;

/** The members of a field; its lines are one list (RFC 9110 s5.3). */
function membersOf(answer: ClientResponse, field: 'cache-status' | 'proxy-status'): ListMember[] {
  return parseStructuredList(answer.headers[field] ?? '');
}

/** Our own member, which is the last one, with tokens as plain text. */
function ownStatus(answer: ClientResponse, field: 'cache-status' | 'proxy-status' = 'cache-status'): Record<string, BareItem> {
  const member = membersOf(answer, field).at(-1);
  assert.deepEqual(member?.value, { token: 'rawslice' }, JSON.stringify(answer.headers));
  return Object.fromEntries(
    Object.entries(member.parameters).map(([key, value]) => [key, typeof value === 'object' ? value.token : value]),
  );
}

test('row 40 (RFC 9211 s2.1, s2.2): miss, hit, part of what is needed', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 4 * SLICE, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  assert.deepEqual(ownStatus(await edge.get('/a', { range: `bytes=0-${SLICE - 1}` })), {
    fwd: 'uri-miss',
    'fwd-status': 206,
    stored: true,
  });
  const { ttl, ...hit } = ownStatus(await edge.get('/a', { range: 'bytes=0-9' }));
  assert.deepEqual(hit, { hit: true });
  assert.ok(typeof ttl === 'number' && ttl > 0 && ttl <= 60);
  const { ttl: _, ...partial } = ownStatus(await edge.get('/a'));
  assert.deepEqual(partial, { fwd: 'partial', stored: true, detail: 'slices=1/4' });
});

test('row 40 (RFC 9211 s2.2, s2.4): stale, revalidated, and stale because the origin fails', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 100, cacheControl: 'max-age=60', headers: { Age: '90' } });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  const { ttl: renewedTtl, ...renewed } = ownStatus(await edge.get('/a'));
  assert.deepEqual(renewed, { fwd: 'stale', 'fwd-status': 304, stored: true });
  assert.ok(typeof renewedTtl === 'number' && renewedTtl < 0);
  origin.misbehave('/a', { status: 503 }, 1);
  const { ttl, ...stale } = ownStatus(await edge.get('/a'));
  assert.deepEqual(stale, { fwd: 'stale', 'fwd-status': 503, detail: 'stale' });
  assert.ok(typeof ttl === 'number' && ttl < 0);
  const { ttl: __, ...asked } = ownStatus(await edge.get('/a', { 'cache-control': 'max-stale' }));
  assert.deepEqual(asked, { hit: true, detail: 'stale' });
});

test('row 40 (RFC 9211 s2.2): the request itself wants more than what is stored', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 100, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  assert.equal(ownStatus(await edge.get('/a', { 'cache-control': 'no-cache' })).fwd, 'request');
  const authorized = ownStatus(await edge.get('/a', { authorization: 'Basic eDp5' }));
  assert.deepEqual(authorized, { fwd: 'request', 'fwd-status': 200, detail: 'not-storable' });
  const unstored = ownStatus(await edge.get('/a', { 'cache-control': 'no-store' }));
  assert.deepEqual(unstored, { fwd: 'bypass', 'fwd-status': 200, detail: 'no-store' });
  assert.deepEqual(ownStatus(await edge.get('/a', {}, { method: 'OPTIONS' })), { fwd: 'method', 'fwd-status': 200, detail: 'method' });
});

test('row 40 (RFC 9211 s2.5, s2.6): who shares a request to the origin says so', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 100, cacheControl: 'max-age=60' });
  origin.misbehave('/a', { holdHead: true }, 1);
  await using edge = await startEdge({ origin });
  const first = edge.get('/a');
  await origin.waitForHeld('/a');
  const second = edge.get('/a');
  while (edge.services.load.requests < 2) await new Promise((resolve) => setImmediate(resolve));
  origin.release();
  assert.deepEqual(ownStatus(await first), { fwd: 'uri-miss', 'fwd-status': 200, stored: true });
  assert.deepEqual(ownStatus(await second), { fwd: 'uri-miss', 'fwd-status': 200, stored: true, collapsed: true });
});

test('row 40 (RFC 9211 s2.3): what is not stored says why it was asked for', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 100, cacheControl: 'no-store' });
  await using edge = await startEdge({ origin });
  assert.deepEqual(ownStatus(await edge.get('/a')), { fwd: 'uri-miss', 'fwd-status': 200, detail: 'not-storable' });
});

test('row 40 (RFC 9211 s2): the members of caches before this one stay, in front; the key is there when asked for', async () => {
  await using origin = await Origin.start();
  const headers = { 'Cache-Status': 'ShieldCache; hit; ttl=30; detail="a, b"' };
  origin.setObject('/a?x=%22', { lengthBytes: 100, cacheControl: 'max-age=60', headers });
  await using edge = await startEdge({ origin, set: { 'cacheStatus.key': 'true' } });
  for (const round of ['cold', 'warm']) {
    const answer = await edge.get('/a?x=%22');
    assert.deepEqual(
      membersOf(answer, 'cache-status').map(({ value }) => value),
      [{ token: 'ShieldCache' }, { token: 'rawslice' }],
      round,
    );
    assert.equal(ownStatus(answer).key, `${new URL(origin.url).host}/a?x=%22`);
  }
});

test('row 40 (RFC 9209 s2.3): errors of this proxy name their type', async () => {
  await using origin = await Origin.start();
  await using edge = await startEdge({
    origin,
    set: { 'upstream.headTimeout': '50ms' },
    rules: [{ ...PLAIN_RULE, name: 'past', pattern: /^\/past/, store: 'never' }],
  });
  const typeOf = async (path: string, headers: Record<string, string> = {}, method = 'GET') => {
    const answer = await edge.get(path, headers, { method });
    const { error } = ownStatus(answer, 'proxy-status');
    return [answer.status, error, ownStatus(answer).fwd];
  };
  origin.misbehave('/cut', { raw: '' });
  origin.misbehave('/no-http', { raw: 'no http\r\n\r\n' });
  origin.misbehave('/silent', { holdHead: true });
  origin.misbehave('/large', { headBytes: 100_000 });
  assert.deepEqual(await typeOf('/cut'), [502, 'connection_terminated', 'uri-miss']);
  assert.deepEqual(await typeOf('/past/x', {}, 'TRACE'), [501, 'http_request_denied', undefined]);
  assert.deepEqual(await typeOf('/%zz'), [400, 'http_request_error', undefined]);
  assert.deepEqual(await typeOf('/loop', { 'cdn-loop': edge.services.loopId }), [508, 'proxy_loop_detected', undefined]);
  assert.deepEqual(await typeOf('/no-http'), [502, 'http_protocol_error', 'uri-miss']);
  assert.deepEqual(await typeOf('/large'), [502, 'http_response_header_section_size', 'uri-miss']);
  assert.deepEqual(await typeOf('/silent'), [504, 'http_response_timeout', 'uri-miss']);
  await origin.stop();
  assert.deepEqual(await typeOf('/gone'), [502, 'connection_refused', 'uri-miss']);
  assert.deepEqual(await typeOf('/past/gone'), [502, 'connection_refused', 'bypass']);
  const notCached = await edge.get('/gone', { 'cache-control': 'only-if-cached' });
  assert.deepEqual([notCached.status, notCached.headers['proxy-status']], [504, undefined]);
});

test('row 40 (RFC 9209 s2.1.5): a status that stands behind an error is told', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 4 * SLICE, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  await edge.get('/a', { range: 'bytes=0-9' });
  await edge.settle();
  origin.misbehave('/a', { status: 403 });
  const answer = await edge.get('/a', { range: `bytes=${2 * SLICE}-` });
  assert.equal(answer.status, 502);
  assert.deepEqual(ownStatus(answer, 'proxy-status'), {
    error: 'http_protocol_error',
    'received-status': 403,
    details: 'UPSTREAM_INVALID',
  });
});
