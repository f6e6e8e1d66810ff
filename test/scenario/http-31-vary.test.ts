/** Responses that vary: each selection gets its own, those that select alike share, and no client ever gets another's (RFC 9111 s4.1). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { cacheKey } from '../../src/cache/cache-key.ts';
import type { NamedPurge } from '../../src/cache/named-purge.ts';
import { markerOf } from '../../src/cache/variant-marker.ts';
import type { ObjectHash } from '../../src/format/manifest.ts';
import type { Arena } from '../../src/memory/arena.ts';
import type { SliceStore } from '../../src/store/slice-store.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { variantName } from '../helpers/origin-answer.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { formatTiny, openBenchOn } from '../store/store-bench.ts';

const LENGTH = 200_000;
const FRESH = 'max-age=600';
type Headers = Record<string, string>;
const PURGES: readonly NamedPurge[] = [{ kind: 'url', url: '/a' }, { kind: 'prefix', prefix: '/' }, { kind: 'everything' }];

/** An origin with one object that varies on `varyOn`, and a client of it. */
async function startVarying(varyOn: readonly string[], set: Headers = {}) {
  const origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: FRESH, varyOn });
  const edge = await startEdge({ origin, set });
  return {
    origin,
    edge,
    ask: (headers: Headers, sent: Headers = headers) => askFor(edge, { varyOn, headers, sent }),
    async [Symbol.asyncDispose](): Promise<void> {
      await edge[Symbol.asyncDispose]();
      await origin.close();
    },
  };
}

/** Asks, and verifies that the body is the one of the fields that the origin must have been sent. Returns what X-Cache says. */
async function askFor(
  edge: TestEdge,
  request: { varyOn: readonly string[]; headers: Headers; sent: Headers; version?: number },
): Promise<string | undefined> {
  const { varyOn, headers, sent, version = 1 } = request;
  const expect = { name: variantName('/a', sent, varyOn), version };
  const answer = await edge.get('/a', headers, { expect });
  assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete, answer.bodyBytes], [200, -1, true, LENGTH], JSON.stringify(headers));
  return answer.headers['x-cache'];
}

test('row 31 (RFC 9111 s4.1): a variant for each selection, normal forms share one', async () => {
  await using place = await startVarying(['accept-language']);
  const { ask, origin } = place;
  // The first answer is the one for no language; the client gets its own all the same.
  assert.equal(await ask({ 'accept-language': 'de' }), 'MISS');
  assert.equal(await ask({ 'accept-language': 'de' }), 'HIT');
  assert.equal(await ask({ 'Accept-Language': ' DE;q=1.0' }, { 'accept-language': 'de' }), 'HIT');
  assert.equal(await ask({ 'accept-language': 'en' }), 'MISS');
  assert.equal(await ask({ 'accept-language': 'en, de' }), 'MISS');
  assert.equal(await ask({ 'accept-language': 'de' }), 'HIT');
  assert.equal(await ask({ 'accept-language': 'en' }), 'HIT');
  const asked = origin.requestsFor('/a').length;
  await ask({});
  await ask({});
  assert(origin.requestsFor('/a').length <= asked + 1);
});

test('row 31 (RFC 9111 s4.1): fields that cannot be normalised select as they come; what the cache sends itself gives way', async () => {
  await using place = await startVarying(['user-agent', 'accept']);
  const { ask } = place;
  for (const result of ['MISS', 'HIT']) {
    assert.equal(await ask({ 'user-agent': 'one', accept: 'text/html' }), result);
    assert.equal(await ask({ 'user-agent': 'One', accept: 'text/html' }), result);
    assert.equal(await ask({ 'user-agent': 'one' }, { 'user-agent': 'one', accept: '*/*' }), result);
  }
});

test('row 31, row 33 (RFC 9111 s4.1): who has a cookie is served alone where the response varies on it, the others share', async () => {
  await using place = await startVarying(['cookie']);
  const { ask } = place;
  assert.equal(await ask({ cookie: 'a=1' }), 'MISS');
  assert.equal(await ask({ cookie: 'a=1' }), 'MISS');
  await ask({});
  assert.equal(await ask({}), 'HIT');
  assert.equal(await ask({ cookie: 'a=1' }), 'MISS');
});

test('row 31 (RFC 9111 s4.1): `*`, also on a second line, is never reused', async () => {
  await using origin = await Origin.start();
  const headers = [
    ['Vary', 'Accept'],
    ['Vary', '*'],
  ] as const;
  const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: FRESH, headers });
  await using edge = await startEdge({ origin });
  for (let count = 0; count < 3; count += 1) {
    const answer = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([answer.wrongAt, answer.headers['x-cache']], [-1, 'MISS']);
  }
});

for (const isKnown of [false, true]) {
  test(`row 31 (RFC 9111 s4.1): clients that come together get their own, ${isKnown ? 'with' : 'without'} a marker`, async () => {
    await using place = await startVarying(['accept-language']);
    const { ask, origin, edge } = place;
    if (isKnown) await ask({});
    await edge.settle();
    origin.misbehave('/a', { holdHead: true }, 1);
    const languages = ['de', 'en', 'fr', 'de', 'en', 'fr', 'de', 'en', 'fr'];
    const answers = languages.map((language) => ask({ 'accept-language': language }));
    await origin.waitForHeld('/a');
    // Without a marker all wait for the one head; with one, those of another language go on.
    if (isKnown) await origin.waitForRequest('/a', 4);
    else await eventually(() => edge.services.load.requests === languages.length, { what: 'all requests' });
    origin.release();
    await Promise.all(answers);
    await edge.settle();
    // The first without a language when nothing is known, then one for each: none of them twice.
    assert.equal(origin.requestsFor('/a').length, 4);
    for (const language of languages) assert.equal(await ask({ 'accept-language': language }), 'HIT');
  });
}

test('row 31: as many variants as there may be; what is sent once does not push out what is asked for (S7)', async () => {
  await using place = await startVarying(['x-kind'], { 'limits.variants': '3' });
  const { ask, edge } = place;
  const askKind = (kind: string) => ask({ 'x-kind': kind });
  // The first question, without the field, is one of the three; nobody asks for it again, so that it goes for the third.
  for (const kind of ['a', 'b']) assert.deepEqual([await askKind(kind), await askKind(kind)], ['MISS', 'HIT']);
  assert.equal(await askKind('c'), 'MISS');
  for (let count = 0; count < 40; count += 1) assert.equal(await askKind(`attack-${count}`), 'MISS');
  assert.deepEqual([await askKind('a'), await askKind('b')], ['HIT', 'HIT']);
  assert.deepEqual([await askKind('c'), await askKind('c')], ['MISS', 'HIT']);
  const hashes = await variantHashes(edge);
  assert.equal(hashes.length, 3);
  assert.equal(await edge.metric('rawslice_fill_variants_replaced_total'), 42);
  // What is listed and stored no more goes first.
  edge.store.dropManifest(hashes[1]!, undefined);
  assert.deepEqual([await askKind('d'), await askKind('d')], ['MISS', 'HIT']);
  assert.equal(await edge.metric('rawslice_fill_variants_replaced_total'), 42);
});

test('row 31: while as many variants as there may be are being read, another one passes through', async () => {
  await using place = await startVarying(['x-kind'], { 'limits.variants': '2' });
  const { ask, edge, origin } = place;
  origin.misbehave('/a', {}, 1);
  origin.misbehave('/a', { pauseAfterBytes: 100 }, 2);
  await ask({});
  // The second of them takes the place of what was answered without the field.
  const reading = [ask({ 'x-kind': 'a' }), ask({ 'x-kind': 'b' })];
  await origin.waitForHeld('/a', 2);
  assert.equal(await ask({ 'x-kind': 'c' }), 'MISS');
  assert.equal(await edge.metric('rawslice_fill_variants_refused_total'), 1);
  origin.release('/a');
  await Promise.all(reading);
  await edge.settle();
  assert.deepEqual([await ask({ 'x-kind': 'a' }), await ask({ 'x-kind': 'b' })], ['HIT', 'HIT']);
});

test('row 31: values too long for a key pass through', async () => {
  await using place = await startVarying(['x-kind']);
  const { ask } = place;
  const headers = { 'x-kind': 'k'.repeat(4000) };
  for (let count = 0; count < 3; count += 1) assert.equal(await ask(headers), 'MISS');
  await ask({ 'x-kind': 'short' });
  assert.equal(await ask({ 'x-kind': 'short' }), 'HIT');
});

test('row 31 (RFC 9111 s4.3.1): a stale variant is confirmed with its own tag, and renews itself alone', async () => {
  await using origin = await Origin.start();
  const varyOn = ['accept-language'];
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0', varyOn });
  await using edge = await startEdge({ origin });
  const ask = (language: string, version = 1) => {
    const headers = { 'accept-language': language };
    return askFor(edge, { varyOn, headers, sent: headers, version });
  };
  await ask('de');
  await ask('en');
  origin.forgetRequests();
  for (const language of ['de', 'en', 'de']) assert.equal(await ask(language), 'REVALIDATED');
  const sent = origin.requestsFor('/a').map(({ headers, status }) => [headers['accept-language'], headers['if-none-match'], status]);
  assert.deepEqual(
    sent.map(([language, , status]) => [language, status]),
    [
      ['de', 304],
      ['en', 304],
      ['de', 304],
    ],
  );
  assert.equal(sent[0]?.[1], sent[2]?.[1]);
  assert.notEqual(sent[0]?.[1], sent[1]?.[1]);
  origin.change('/a');
  assert.equal(await ask('de', 2), 'MISS');
  assert.equal(await ask('en', 2), 'MISS');
  assert.equal(await ask('de', 2), 'REVALIDATED');
});

test('row 31 (RFC 9111 s4.1): Vary that comes later, by a 200 or a 304, and grows: nobody gets what was for another', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  const plain = await edge.get('/a', {}, { expect: origin.identity('/a') });
  assert.equal(plain.wrongAt, -1);
  // The same tag, and from now on it varies.
  origin.misbehave('/a', { status: 304, headers: { Vary: 'Accept-Language', ETag: origin.validators('/a').etag ?? '' } }, 1);
  for (const [index, varyOn] of [['accept-language'], ['accept-language', 'x-kind'], ['x-kind'], []].entries()) {
    // Another date each time: one that stays would confirm what is stored where tags are found to flap.
    const version = index + 2;
    origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: FRESH, varyOn, version });
    const pairs = ['de', 'en'].flatMap((language) => ['1', '2'].map((kind) => ({ 'accept-language': language, 'x-kind': kind })));
    await edge.services.purger.purge({ kind: 'url', url: '/a' }, true);
    for (const headers of [...pairs, ...pairs]) await askFor(edge, { varyOn, headers, sent: headers, version });
  }
});

test('row 31: HEAD and only-if-cached see the variant that is stored, and no other', async () => {
  await using place = await startVarying(['accept-language']);
  const { ask, edge, origin } = place;
  await ask({ 'accept-language': 'de' });
  const head = await edge.get('/a', { 'accept-language': 'DE' }, { method: 'HEAD' });
  assert.deepEqual([head.headers['x-cache'], head.headers['content-length']], ['HIT', String(LENGTH)]);
  const cached = { 'cache-control': 'only-if-cached' };
  assert.equal((await edge.get('/a', { 'accept-language': 'de', ...cached })).status, 200);
  assert.equal((await edge.get('/a', { 'accept-language': 'en', ...cached })).status, 504);
  origin.forgetRequests();
  await edge.get('/a', { 'accept-language': 'en' }, { method: 'HEAD' });
  assert.deepEqual(
    origin.requestsFor('/a').map(({ method }) => method),
    ['HEAD'],
  );
});

test('row 20, row 31: conditions are held against the tag of the variant (RFC 9110 s13.1.2)', async () => {
  await using place = await startVarying(['accept-language']);
  const { ask, edge } = place;
  await ask({ 'accept-language': 'de' });
  await ask({ 'accept-language': 'en' });
  const tag = (await edge.get('/a', { 'accept-language': 'de' })).headers.etag ?? '';
  assert.equal((await edge.get('/a', { 'accept-language': 'de', 'if-none-match': tag })).status, 304);
  assert.equal((await edge.get('/a', { 'accept-language': 'en', 'if-none-match': tag })).status, 200);
});

async function variantHashes(edge: TestEdge): Promise<readonly ObjectHash[]> {
  const key = cacheKey({ siteName: edge.site.name, path: '/a', query: undefined });
  assert(key !== undefined);
  const verdict = await edge.store.readManifest(key.objectHash);
  assert(verdict.kind === 'hit');
  return markerOf(verdict.manifest).known.map(({ objectHash }) => objectHash);
}

async function onDevice(arena: Arena): Promise<SliceStore> {
  const disk = new SimulatedDisk({ capacityBytes: 16 * MIB, random: new SeededRandom(31) });
  await formatTiny(disk.open());
  disk.crash(new SeededRandom(31), 'all');
  return openBenchOn(disk.open(), arena);
}

for (const makeStore of [undefined, onDevice]) {
  const where = makeStore === undefined ? 'model' : 'device';
  for (const named of PURGES) {
    test(`row 31: a purge by ${named.kind} covers every variant, hard and soft (${where}, S8)`, async () => {
      await using origin = await Origin.start();
      const varyOn = ['accept-language'];
      origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: FRESH, varyOn });
      await using edge = await startEdge({ origin, makeStore });
      const ask = async (language: string, version = 1): Promise<string | undefined> => {
        const headers = { 'accept-language': language };
        const result = await askFor(edge, { varyOn, headers, sent: headers, version });
        await edge.settle();
        await edge.store.drain();
        return result;
      };
      await ask('de');
      await ask('en');
      for (const round of [1, 2]) {
        // Twice: a second soft purge is another than the first.
        await edge.services.purger.purge(named, true);
        assert.deepEqual([await ask('de'), await ask('en'), round], ['REVALIDATED', 'REVALIDATED', round]);
        await eventually(async () => (await ask('de')) === 'HIT' && (await ask('en')) === 'HIT', { what: 'hits again' });
      }
      origin.change('/a');
      await edge.services.purger.purge(named, false);
      assert.deepEqual([await ask('de', 2), await ask('en', 2)], ['MISS', 'MISS']);
      assert.deepEqual([await ask('de', 2), await ask('en', 2)], ['HIT', 'HIT']);
    });
  }

  test(`row 31: purged while a variant is asked for and while it is read: nobody joins (${where}, S8)`, async () => {
    await using origin = await Origin.start();
    const varyOn = ['accept-language'];
    origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: FRESH, varyOn });
    await using edge = await startEdge({ origin, makeStore });
    const german = { 'accept-language': 'de' };
    const ask = (version: number) => askFor(edge, { varyOn, headers: german, sent: german, version });
    await edge.get('/a');
    let version = 1;
    for (const hold of [{ holdHead: true }, { pauseAfterBytes: 100_000 }]) {
      for (const isSoft of [false, true]) {
        await edge.services.purger.purge({ kind: 'everything' }, false);
        await edge.get('/a', { 'accept-language': 'en' });
        origin.misbehave('/a', hold, 1);
        const first = edge.get('/a', german);
        await origin.waitForHeld('/a');
        await edge.services.purger.purge({ kind: 'url', url: '/a' }, isSoft);
        origin.change('/a');
        version += 1;
        assert.equal(await ask(version), 'MISS');
        origin.release();
        assert.equal((await first).bodyBytes, LENGTH);
        await edge.settle();
        assert.equal(await ask(version), 'HIT');
      }
    }
  });
}

for (const isClean of [true, false]) {
  test(`row 31: variants live through ${isClean ? 'a restart' : 'a crash'}, and purged ones do not (S6, S8)`, async () => {
    await using origin = await Origin.start();
    const varyOn = ['accept-language'];
    for (const path of ['/a', '/b']) origin.setObject(path, { lengthBytes: LENGTH, cacheControl: FRESH, varyOn });
    const disk = new SimulatedDisk({ capacityBytes: 16 * MIB, random: new SeededRandom(32) });
    await formatTiny(disk.open());
    disk.crash(new SeededRandom(32), 'all');
    const makeStore = (arena: Arena): Promise<SliceStore> => openBenchOn(disk.open(), arena);
    const languages = ['de', 'en', 'fr'];
    {
      await using edge = await startEdge({ origin, makeStore });
      for (const path of ['/a', '/b']) for (const language of languages) await edge.get(path, { 'accept-language': language });
      await edge.settle();
      await edge.store.drain();
      await edge.services.purger.purge({ kind: 'url', url: '/b' }, false);
      if (!isClean) disk.crash(new SeededRandom(33), 'all');
    }
    if (isClean) disk.crash(new SeededRandom(33), 'all');
    origin.forgetRequests();
    await using edge = await startEdge({ origin, makeStore });
    for (const language of languages) {
      const headers = { 'accept-language': language };
      assert.equal(await askFor(edge, { varyOn, headers, sent: headers }), 'HIT');
    }
    assert.equal(origin.requests.length, 0);
    for (const language of languages) assert.equal((await edge.get('/b', { 'accept-language': language })).headers['x-cache'], 'MISS');
  });
}
