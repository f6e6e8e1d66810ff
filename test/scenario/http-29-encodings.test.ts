/** Encoded content: each coding is a variant of its own, cut into slices of its own bytes (RFC 9110 s8.4, s8.8.3.3, s12.5.3, s14). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brotliCompressSync, gunzipSync, zstdCompressSync } from 'node:zlib';
import { PLAIN_RULE } from '../../src/cache/site-rule.ts';
import { bodyBytes } from '../helpers/body.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { Origin } from '../helpers/origin.ts';
import { objectSource } from '../helpers/origin-answer.ts';

const LENGTH = 300_000;
const FRESH = 'max-age=600';
const SLICE = 65_536;

interface Kept {
  readonly encoding: string | undefined;
  readonly result: string | undefined;
  readonly status: number;
  readonly body: Buffer;
  readonly etag: string;
}

async function ask(edge: TestEdge, headers: Record<string, string>): Promise<Kept> {
  const answer = await edge.get('/a', headers);
  assert(answer.isComplete);
  const { etag = '', 'content-encoding': encoding, 'x-cache': result } = answer.headers;
  return { encoding, result, status: answer.status, body: answer.body, etag };
}

/** An origin that gzips for whoever accepts it. */
async function startNegotiating(gzip: 'if-accepted' | 'silently' = 'if-accepted') {
  const origin = await Origin.start();
  const identity = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: FRESH });
  origin.misbehave('/a', { gzip: 'if-accepted', ...(gzip === 'silently' ? { dropHeaders: ['vary'] } : {}) });
  const plain = bodyBytes(identity, 0, LENGTH);
  const source = objectSource({ definition: { lengthBytes: LENGTH }, identity }, true);
  const gzipped = Buffer.alloc(source.lengthBytes);
  source.fill(gzipped, 0);
  assert(gunzipSync(gzipped).equals(plain) && gzipped.length > 4 * SLICE);
  const store: { made?: MemoryStore } = {};
  const edge = await startEdge({ origin, makeStore: async (arena) => (store.made = new MemoryStore(arena)) });
  return {
    origin,
    edge,
    plain,
    gzipped,
    /** Forgets one slice of the encoded variant, as eviction does. */
    async evict(sliceNumber: number, etag: string): Promise<void> {
      await edge.settle();
      const manifest = store.made?.manifests.find(({ fields }) => fields.some(([name, value]) => name === 'etag' && value === etag));
      assert(manifest !== undefined);
      store.made?.evict(manifest.generation, sliceNumber);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await edge[Symbol.asyncDispose]();
      await origin.close();
    },
  };
}

for (const vary of ['if-accepted', 'silently'] as const) {
  const how = vary === 'silently' ? 'that does not say so' : 'with Vary';
  test(`rows 29, 30: one variant for each coding, of an origin ${how} (RFC 9111 s4.1, RFC 9110 s12.5.3)`, async () => {
    await using place = await startNegotiating(vary);
    const { edge, gzipped, plain, origin } = place;
    const coded = await ask(edge, { 'accept-encoding': 'gzip, deflate, br' });
    assert.deepEqual([coded.encoding, coded.result, coded.body.equals(gzipped)], ['gzip', 'MISS', true]);
    for (const accepted of ['gzip, deflate, br', 'BR;q=0.5, x-gzip;q=0.5', 'gzip, br, zstd']) {
      const hit = await ask(edge, { 'accept-encoding': accepted });
      assert.deepEqual([hit.encoding, hit.result, hit.body.equals(gzipped)], ['gzip', 'HIT', true], accepted);
    }
    // Who accepts only gzip leads to the same bytes; who accepts only br, or nothing, never gets them.
    assert.deepEqual([(await ask(edge, { 'accept-encoding': 'gzip' })).body.equals(gzipped)], [true]);
    for (const headers of [{}, { 'accept-encoding': 'br' }, { 'accept-encoding': 'gzip;q=0' }, { 'accept-encoding': 'identity' }]) {
      const answer = await ask(edge, headers);
      assert.deepEqual([answer.encoding, answer.body.equals(plain)], [undefined, true], JSON.stringify(headers));
      assert.notEqual(answer.etag, coded.etag);
    }
    await edge.settle();
    origin.forgetRequests();
    for (const headers of [{}, { 'accept-encoding': 'br' }, { 'accept-encoding': 'gzip' }, { 'accept-encoding': 'br, gzip' }]) {
      assert.equal((await ask(edge, headers)).result, 'HIT', JSON.stringify(headers));
    }
    assert.equal(origin.requests.length, 0);
  });
}

test('row 30: what comes unencoded whatever is accepted is stored once', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: FRESH, headers: { Vary: 'Accept-Encoding' } });
  await using edge = await startEdge({ origin });
  for (const accepted of ['br, gzip', 'gzip', 'identity', '']) {
    await edge.get('/a', { 'accept-encoding': accepted });
    await edge.settle();
    const hit = await edge.get('/a', { 'accept-encoding': accepted }, { expect: body });
    assert.deepEqual([hit.wrongAt, hit.headers['x-cache']], [-1, 'HIT']);
  }
  const hashes = new Set((edge.store as MemoryStore).manifests.map(({ keyText }) => keyText));
  assert.equal(hashes.size, 2, 'the marker and one variant');
});

test('row 30: `identity;q=0` is asked for as it is, and not given what it refuses (RFC 9110 s12.5.3)', async () => {
  await using place = await startNegotiating();
  const { edge, gzipped } = place;
  await ask(edge, {});
  for (const result of ['MISS', 'HIT']) {
    const answer = await ask(edge, { 'accept-encoding': 'gzip, identity;q=0' });
    assert.deepEqual([answer.encoding, answer.body.equals(gzipped), answer.result], ['gzip', true, result]);
  }
  // Nothing that is known here: the origin decides, for this client alone.
  for (let count = 0; count < 2; count += 1) assert.equal((await ask(edge, { 'accept-encoding': 'deflate, *;q=0' })).result, 'MISS');
});

test('row 29: ranges address the encoded bytes, warm and with slices missing (RFC 9110 s8.4, s14.1.2)', async () => {
  await using place = await startNegotiating();
  const { edge, gzipped, plain, origin, evict } = place;
  const accept = { 'accept-encoding': 'gzip, br' };
  const { etag } = await ask(edge, accept);
  await ask(edge, {});
  const first = 2 * SLICE + 10;
  const last = 3 * SLICE + 10;
  for (const isEvicted of [false, true]) {
    if (isEvicted) await evict(2, etag);
    origin.forgetRequests();
    const part = await ask(edge, { ...accept, range: `bytes=${first}-${last}`, 'if-range': etag });
    assert.deepEqual([part.status, part.body.equals(gzipped.subarray(first, last + 1))], [206, true]);
    // The missing slice is asked for in this coding and no other.
    const sent = origin.requestsFor('/a').map(({ headers, status }) => [headers['accept-encoding'], headers.range, status]);
    assert.deepEqual(sent, isEvicted ? [['gzip', `bytes=${2 * SLICE}-${3 * SLICE - 1}`, 206]] : []);
  }
  const coded = await ask(edge, { ...accept, range: `bytes=${first}-${last}` });
  assert.deepEqual([coded.status, coded.encoding, coded.body.equals(gzipped.subarray(first, last + 1))], [206, 'gzip', true]);
  const unencoded = await ask(edge, { range: `bytes=${first}-${last}` });
  assert.deepEqual([unencoded.status, unencoded.encoding, unencoded.body.equals(plain.subarray(first, last + 1))], [206, undefined, true]);
  // The tag of another coding: the whole representation that this client accepts (row 19, RFC 9110 s13.1.5).
  const changed = await ask(edge, { range: `bytes=${first}-${last}`, 'if-range': etag });
  assert.deepEqual([changed.status, changed.body.equals(plain)], [200, true]);
});

test('row 29: a range of what nobody has asked for yet is asked for unencoded', async () => {
  await using place = await startNegotiating();
  const { edge, plain, gzipped, origin } = place;
  const part = await ask(edge, { range: 'bytes=0-99' });
  assert.deepEqual([part.status, part.encoding, part.body.equals(plain.subarray(0, 100))], [206, undefined, true]);
  assert.equal(origin.requestsFor('/a')[0]?.headers['accept-encoding'], 'identity');
  const coded = await ask(edge, { range: 'bytes=0-99', 'accept-encoding': 'gzip' });
  assert.deepEqual([coded.status, coded.encoding, coded.body.equals(gzipped.subarray(0, 100))], [206, 'gzip', true]);
});

test('row 29: an encoded variant whose origin has given up the coding is not mixed, and heals (S9)', async () => {
  await using place = await startNegotiating();
  const { edge, plain, origin, evict } = place;
  const accept = { 'accept-encoding': 'gzip' };
  const { etag } = await ask(edge, accept);
  await evict(2, etag);
  // The same tag for other bytes, which is wrong, and no coding.
  origin.behave('/a');
  origin.misbehave('/a', { replaceHeaders: { ETag: etag } });
  const cut = await edge.get('/a', accept);
  assert.equal(cut.isComplete, false);
  const healed = await ask(edge, accept);
  assert.deepEqual([healed.encoding, healed.body.equals(plain)], [undefined, true]);
});

test('row 29: one tag for all codings does not mix their slices (S9, RFC 9110 s8.8.3.3)', async () => {
  await using place = await startNegotiating();
  const { edge, plain, gzipped, origin, evict } = place;
  origin.behave('/a');
  origin.misbehave('/a', { gzip: 'if-accepted', replaceHeaders: { ETag: '"one"' } });
  await ask(edge, { 'accept-encoding': 'gzip' });
  await ask(edge, {});
  await evict(1, '"one"');
  assert((await ask(edge, { 'accept-encoding': 'gzip' })).body.equals(gzipped));
  assert((await ask(edge, {})).body.equals(plain));
});

test('row 22, row 29: a 304 renews the variant of the coding that was asked for (RFC 9111 s4.3.4)', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
  origin.misbehave('/a', { gzip: 'if-accepted' });
  await using edge = await startEdge({ origin });
  const accept = { 'accept-encoding': 'gzip' };
  const coded = await ask(edge, accept);
  const plain = await ask(edge, {});
  origin.forgetRequests();
  const again = [await ask(edge, accept), await ask(edge, {})];
  assert.deepEqual(
    again.map(({ result, encoding }) => [result, encoding]),
    [
      ['REVALIDATED', 'gzip'],
      ['REVALIDATED', undefined],
    ],
  );
  assert.deepEqual(
    again.map(({ body }) => body),
    [coded.body, plain.body],
  );
  assert.deepEqual(
    origin.requests.map(({ headers }) => headers['if-none-match']),
    [coded.etag, plain.etag],
  );
  // The origin leaves gzip for some other coding's sake: the selection leads elsewhere from now on.
  origin.change('/a');
  origin.behave('/a');
  assert.deepEqual([(await ask(edge, accept)).encoding, (await ask(edge, accept)).result], [undefined, 'REVALIDATED']);
});

test('rows 29, 30: br and zstd; clients of several codings that come together get what they accept', async () => {
  await using origin = await Origin.start();
  const identity = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: FRESH });
  const plain = bodyBytes(identity, 0, LENGTH);
  const coded = { br: brotliCompressSync(plain), zstd: zstdCompressSync(plain) };
  for (const [coding, bytes] of Object.entries(coded)) {
    origin.misbehave('/a', {
      when: ({ headers }) => headers['accept-encoding']?.split(', ')[0] === coding,
      holdHead: true,
      raw: Buffer.concat([
        Buffer.from(
          `HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\nContent-Encoding: ${coding}\r\nETag: "${coding}"\r\nCache-Control: max-age=60\r\n\r\n`,
        ),
        bytes,
      ]),
    });
  }
  origin.misbehave('/a', { holdHead: true });
  await using edge = await startEdge({ origin });
  const wanted = ['br, gzip', 'zstd', 'identity', 'br, gzip', 'zstd', 'identity'];
  let isOver = false;
  const answers = Promise.all(wanted.map((accepted) => ask(edge, { 'accept-encoding': accepted }))).finally(() => {
    isOver = true;
  });
  await eventually(() => edge.services.load.requests === wanted.length, { what: 'all requests' });
  await eventually(() => origin.release() >= 0 && isOver, { what: 'all answers' });
  for (const [index, { encoding, body }] of (await answers).entries()) {
    const coding = wanted[index]?.split(',')[0] ?? '';
    const expected = coding === 'br' || coding === 'zstd' ? coded[coding] : plain;
    assert.deepEqual([encoding ?? 'identity', body.equals(expected)], [coding, true]);
  }
});

test('rows 29, 30: by a rule there is one representation, without encoding', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: FRESH });
  origin.misbehave('/a', { gzip: 'if-accepted' });
  await using edge = await startEdge({ origin, rules: [{ ...PLAIN_RULE, encodings: 'identity' }] });
  await edge.get('/a', { 'accept-encoding': 'gzip' });
  await edge.settle();
  for (const accepted of ['gzip', 'br', '']) {
    const hit = await edge.get('/a', { 'accept-encoding': accepted }, { expect: body });
    assert.deepEqual([hit.wrongAt, hit.headers['x-cache'], hit.headers['content-encoding']], [-1, 'HIT', undefined]);
  }
  assert.equal(origin.requestsFor('/a').length, 1);
});

test('row 29: encoded on the way, without length and with a weak tag: stored whole, and never in parts of two transfers', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: FRESH, etag: 'weak' });
  origin.misbehave('/a', { gzip: 'if-accepted', chunked: true, ignoreRange: true });
  await using edge = await startEdge({ origin });
  const accept = { 'accept-encoding': 'gzip' };
  const first = await ask(edge, accept);
  await edge.settle();
  const part = await ask(edge, { ...accept, range: 'bytes=100-199' });
  assert.deepEqual([part.status, part.encoding, part.result], [206, 'gzip', 'HIT']);
  assert(part.body.equals(first.body.subarray(100, 200)));
  assert.equal(origin.requestsFor('/a').length, 1);
});
