/** Which responses are stored, whatever their status, and how the stored ones come back (rows 32 to 36, 44, 45). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';
import { formatHttpDate } from '../../src/http/http-date.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { type SecondAnswer, sendTwo, type TwoRequests } from '../helpers/two-requests.ts';

const FRESH = [['Cache-Control', 'max-age=60']] as const;
const DAY_AGO = formatHttpDate(Date.now() - 24 * 3600 * 1000);
const HINTED = [['Last-Modified', DAY_AGO]] as const;

const STATUSES = [
  200, 201, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 414, 451, 499, 500, 501, 502, 503, 504, 599,
];
for (const status of STATUSES) {
  test(`rows 34, 44, 45 (RFC 9111 s3): ${status} with explicit freshness is stored, and comes back as it was`, async () => {
    const headers = [...FRESH, ['X-Note', 'kept'], ['Location', '/elsewhere']] as const;
    const { how, answers } = await sendTwo({ status, headers });
    assert.equal(how, 'reused');
    for (const answer of answers) {
      assert.deepEqual([answer.status, answer.isComplete], [status, true]);
      assert.equal(answer.bodyBytes, status === 204 ? 0 : 4);
      assert.deepEqual([answer.headers['x-note'], answer.headers.location], ['kept', '/elsewhere']);
      assert.equal(answer.headers['content-length'], status === 204 ? undefined : '4');
      assert.equal(answer.headers['accept-ranges'], status === 200 ? 'bytes' : undefined);
    }
    assert.deepEqual([answers[0].headers['x-cache'], answers[1].headers['x-cache']], ['MISS', 'HIT']);
    assert.ok(answers[1].headers.age !== undefined, 'Age always');
  });
}

const TABLE: readonly (readonly [row: string, given: TwoRequests, how: SecondAnswer])[] = [
  ...[200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].map(
    (status) => [`rows 35, 44, 45 (RFC 9111 s4.2.2): ${status} by heuristic`, { status, headers: HINTED }, 'reused'] as const,
  ),
  ...[201, 202, 302, 303, 307, 403, 502, 503, 504, 599].map(
    (status) => [`rows 35, 44, 45 (RFC 9111 s4.2.2): ${status} not by heuristic`, { status, headers: HINTED }, 'asked'] as const,
  ),
  ...[302, 403, 599].map(
    (status) =>
      [
        `rows 35, 44 (RFC 9111 s4.2.2): ${status} by heuristic where public`,
        { status, headers: [...HINTED, ['Cache-Control', 'public']] },
        'reused',
      ] as const,
  ),
  ...[416, 428, 429, 431, 511].map(
    (status) => [`rows 7, 34 (RFC 9110 s15.5.17, RFC 6585): ${status} never`, { status, headers: FRESH }, 'asked'] as const,
  ),
  ['row 34 (RFC 9111 s5.2.2.5): no-store', { headers: [['Cache-Control', 'no-store, max-age=60']] }, 'asked'],
  ['row 34 (RFC 9111 s5.2.2.5): No-StOrE', { headers: [['Cache-Control', 'max-age=60, No-StOrE']] }, 'asked'],
  ['row 34 (RFC 9111 s5.2.2.7): private', { headers: [['Cache-Control', 'private, max-age=60']] }, 'asked'],
  [
    'row 34 (RFC 9111 s5.2.2.4): no-cache',
    {
      headers: [
        ['Cache-Control', 'no-cache, max-age=60'],
        ['ETag', '"a"'],
      ],
    },
    'confirmed',
  ],
  ['row 34 (RFC 9111 s5.2.2.4): no-cache without a validator', { headers: [['Cache-Control', 'no-cache, max-age=60']] }, 'asked'],
  [
    'row 34 (RFC 9111 s5.2.2.3): must-understand takes no-store back',
    { headers: [['Cache-Control', 'no-store, must-understand, max-age=60']] },
    'reused',
  ],
  [
    'row 34 (RFC 9111 s5.2.2.3): must-understand of a status that nobody knows',
    { status: 299, headers: [['Cache-Control', 'must-understand, max-age=60']] },
    'asked',
  ],
  [
    'row 34 (RFC 9111 s5.2.2.8): must-revalidate while fresh',
    {
      headers: [
        ['Cache-Control', 'must-revalidate, max-age=60'],
        ['ETag', '"a"'],
      ],
    },
    'reused',
  ],
  [
    'row 34 (RFC 9111 s5.2): a quoted string is no directive',
    { headers: [['Cache-Control', 'x="no-store, private", max-age=60']] },
    'reused',
  ],
  ['row 33 (RFC 9111 s7.3): Set-Cookie', { headers: [...FRESH, ['Set-Cookie', 'a=b']] }, 'asked'],
  ['row 33: a Cookie of the request', { headers: FRESH, second: { cookie: 'a=b' } }, 'reused'],
  [
    'row 33 (RFC 9111 s5.2.2.7): Set-Cookie named by private',
    {
      headers: [
        ['Cache-Control', 'max-age=60, private="set-cookie"'],
        ['Set-Cookie', 'a=b'],
      ],
    },
    'reused',
  ],
];
for (const [row, given, how] of TABLE) {
  test(`${row} -> ${how}`, async () => {
    assert.equal((await sendTwo(given)).how, how);
  });
}

for (const [setCookie, cookie] of [
  ['strip', undefined],
  ['keep', 'a=b'],
] as const) {
  test(`row 33 (RFC 9111 s7.3): Set-Cookie where a rule says ${setCookie}`, async () => {
    const rule: SiteRule = { ...PLAIN_RULE, name: 'cookies', setCookie };
    const { how, answers } = await sendTwo({ headers: [...FRESH, ['Set-Cookie', 'a=b']], rule });
    assert.equal(how, 'reused');
    for (const answer of answers) assert.equal(answer.headers['set-cookie'], cookie);
  });
}

test('row 34 (RFC 9111 s3.1, s5.2.2.4, s5.2.2.7): named fields are not stored, unknown ones are', async () => {
  const headers = [
    ['Cache-Control', 'no-cache="x-a, x-b"'],
    ['Cache-Control', 'max-age=60, private="x-c"'],
    ['X-A', '1'],
    ['X-B', '1'],
    ['X-C', '1'],
    ['Connection', 'x-d'],
    ['X-D', '1'],
    ['Proxy-Authenticate', 'x'],
    ['X-E', '1'],
    ['Content-Foo', '2'],
  ] as const;
  const { how, answers } = await sendTwo({ headers });
  assert.equal(how, 'reused');
  const kept = ['x-a', 'x-b', 'x-c', 'x-d', 'proxy-authenticate', 'x-e', 'content-foo'].filter(
    (name) => answers[1].headers[name] !== undefined,
  );
  assert.deepEqual(kept, ['x-e', 'content-foo']);
});

test('row 45 (RFC 9110 s13.2.1, s14.2): a stored 404 has no ranges and no conditions', async () => {
  await using origin = await Origin.start();
  origin.misbehave('/a', { status: 404, statusBody: 'nothing here\n', headers: [...FRESH, ['ETag', '"a"']] });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  for (const headers of [
    { range: 'bytes=0-3' },
    { range: 'bytes=900-' },
    { 'if-none-match': '"a"' },
    { 'if-modified-since': formatHttpDate(Date.now()) },
  ]) {
    const answer = await edge.get('/a', headers);
    assert.deepEqual(
      [answer.status, answer.bodyBytes, answer.headers['content-range'], answer.headers['x-cache']],
      [404, 13, undefined, 'HIT'],
    );
  }
  assert.equal((await edge.get('/a', {}, { method: 'HEAD' })).status, 404);
  assert.equal(origin.requests.length, 1);
});

test('row 45 (RFC 9111 s3): a 404 to a request for a range stands for the resource, not for the range', async () => {
  await using origin = await Origin.start();
  origin.misbehave('/a', { status: 404, headers: FRESH });
  await using edge = await startEdge({ origin });
  assert.equal((await edge.get('/a', { range: 'bytes=100000-200000' })).status, 404);
  const whole = await edge.get('/a');
  assert.deepEqual([whole.status, whole.bodyBytes, whole.headers['x-cache']], [404, 4, 'HIT']);
  assert.equal(origin.requests.length, 1);
});

test('row 45: a 404 becomes a 200 and a 200 a 404 when the time of each is over, by one request each', async () => {
  await using origin = await Origin.start();
  const rule: SiteRule = { ...PLAIN_RULE, name: 'a', freshForMs: 0, missingFreshForMs: 0, staleIfErrorMs: 60_000 };
  await using edge = await startEdge({ origin, rules: [rule] });
  const missing = { status: 404, headers: [['Cache-Control', 'max-age=60, stale-if-error=60']] } as const;
  for (const version of [1, 2]) {
    origin.misbehave('/a', missing);
    assert.deepEqual([(await edge.get('/a')).status, (await edge.get('/a')).status], [404, 404]);
    origin.behave();
    const body = origin.setObject('/a', { lengthBytes: 100_000, version });
    for (const _ of [1, 2]) {
      const answer = await edge.get('/a', {}, { expect: body });
      assert.deepEqual([answer.status, answer.wrongAt, answer.bodyBytes], [200, -1, 100_000]);
    }
    await edge.settle();
  }
  // Nothing conditional is asked of a 404, and the 200 is confirmed.
  assert.deepEqual(
    origin.requests.map(({ status }) => status),
    [404, 404, 200, 304, 404, 404, 200, 304],
  );
});

test('row 45: a rule limits how long a 404 is kept, and an immutable rule says nothing of it', async () => {
  const base = { ...PLAIN_RULE, name: 'pool', isImmutable: true, ignoresClientCacheControl: true, setCookie: 'strip' } as const;
  const ask = async (rule: SiteRule, headers: TwoRequests['headers'] = []): Promise<SecondAnswer> =>
    (await sendTwo({ status: 404, headers, rule })).how;
  assert.equal(await ask(base), 'asked');
  assert.equal(await ask(base, FRESH), 'reused');
  assert.equal(await ask({ ...base, missingFreshForMs: 60_000 }), 'reused');
  assert.equal(await ask({ ...base, missingFreshForMs: 0 }, FRESH), 'asked');
  assert.equal(await ask({ ...base, missingFreshForMs: 60_000 }, [['Cache-Control', 'no-store']]), 'asked');
});

test('row 44 (RFC 9110 s15.4): a redirect is stored with its Location and followed by nobody here', async () => {
  await using origin = await Origin.start();
  origin.misbehave('/a', { redirectTo: '/b', status: 302, headers: FRESH });
  await using edge = await startEdge({ origin });
  for (const result of ['MISS', 'HIT']) {
    const { status, headers } = await edge.get('/a');
    assert.deepEqual([status, headers.location, headers['x-cache']], [302, '/b', result]);
  }
  assert.equal(origin.requests.length, 1);
});

test('rows 24, 45: an error that the origin calls fresh does not take the place of what may be served stale', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: 1000, cacheControl: 'max-age=0' });
  origin.setObject('/b', { lengthBytes: 1000, cacheControl: 'max-age=0, must-revalidate' });
  await using edge = await startEdge({ origin });
  await edge.get('/a');
  await edge.get('/b');
  await edge.settle();
  origin.misbehave('*', { status: 503, headers: FRESH });
  for (const _ of [1, 2]) {
    const stale = await edge.get('/a', {}, { expect: body });
    assert.deepEqual([stale.status, stale.wrongAt, stale.headers['x-cache']], [200, -1, 'STALE']);
  }
  // What may not be served stale is replaced, for as long as the origin says.
  assert.deepEqual([(await edge.get('/b')).headers['x-cache'], (await edge.get('/b')).headers['x-cache']], ['MISS', 'HIT']);
  origin.behave();
  assert.deepEqual([(await edge.get('/a')).headers['x-cache'], (await edge.get('/b')).status], ['REVALIDATED', 503]);
});

test('row 34 (RFC 9111 s3): ten requests for a fresh 404 that comes slowly are one request', async () => {
  await using origin = await Origin.start();
  origin.misbehave('/a', { status: 404, headers: FRESH, holdHead: true });
  await using edge = await startEdge({ origin });
  const answers = Array.from({ length: 10 }, () => edge.get('/a'));
  await origin.waitForHeld('/a');
  origin.release();
  for (const answer of await Promise.all(answers)) assert.deepEqual([answer.status, answer.bodyBytes, answer.isComplete], [404, 4, true]);
  assert.equal(origin.requests.length, 1);
});
