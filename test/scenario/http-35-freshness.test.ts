/** What makes a response fresh, for how long, and what a client may ask beyond that (rows 35, 36, 37, 38, 43). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';
import { formatHttpDate } from '../../src/http/http-date.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { type SecondAnswer, sendTwo, type TwoRequests } from '../helpers/two-requests.ts';

/** An HTTP-date so many seconds from now. */
const at = (seconds: number): string => formatHttpDate(Date.now() + seconds * 1000);
const control = (value: string): TwoRequests['headers'] => [['Cache-Control', value]];
const expires = (value: string, ...more: TwoRequests['headers']): TwoRequests['headers'] => [['Expires', value], ...more];
const cdn = (value: string, ...more: TwoRequests['headers']): TwoRequests['headers'] => [['CDN-Cache-Control', value], ...more];
const TAG = ['ETag', '"a"'] as const;

const ROW_35: readonly (readonly [name: string, headers: TwoRequests['headers'], how: SecondAnswer])[] = [
  ['s4.2.2: nothing', [], 'asked'],
  ['s5.2.2.1: max-age', control('max-age=3600'), 'reused'],
  ['s5.2: max-age in quotes', control('max-age="3600"'), 'reused'],
  ['s5.2.2.1: max-age in other quotes', control("max-age='3600'"), 'asked'],
  ['s5.2: max-age in an argument', control('extension="max-age=100", max-age=0'), 'asked'],
  ['s5.2: the same behind it', control('max-age=0, extension="max-age=100"'), 'asked'],
  ['s5.2: space before =', control('max-age =100'), 'asked'],
  ['s5.2: space after =', control('max-age= 100'), 'asked'],
  ['s5.2.2.1: max-age=0', control('max-age=0'), 'asked'],
  ['s4.2.1: max-age=a100', control('max-age=a100'), 'asked'],
  ['s4.2.1: max-age=100a', control('max-age=100a'), 'asked'],
  ['s4.2.1: max-age=-100', control('max-age=-100'), 'asked'],
  ['s4.2.1: max-age=3600.0', control('max-age=3600.0'), 'asked'],
  ['s1.2.2: max-age=2147483648', control('max-age=2147483648'), 'reused'],
  ['s1.2.2: max-age=99999999999', control('max-age=99999999999'), 'reused'],
  ['s5.2.3: an extension', control('foobar, max-age=3600'), 'reused'],
  ['s5.2: MaX-aGe', control('MaX-aGe=3600'), 'reused'],
  ['s4.2.1: the first of two counts', control('max-age=3600, max-age=0'), 'reused'],
  [
    's5.3: max-age over Expires',
    [
      ['Cache-Control', 'max-age=3600'],
      ['Expires', at(-10_000)],
    ],
    'reused',
  ],
  [
    's5.3: max-age over an invalid Expires',
    [
      ['Cache-Control', 'max-age=3600'],
      ['Expires', '0'],
    ],
    'reused',
  ],
  [
    's5.3: max-age=0 over Expires',
    [
      ['Cache-Control', 'max-age=0'],
      ['Expires', at(10_000)],
    ],
    'asked',
  ],
  ['s5.2.2.10: s-maxage', control('s-maxage=3600'), 'reused'],
  ['s5.2.2.10: s-maxage over a shorter max-age', control('max-age=0, s-maxage=3600'), 'reused'],
  ['s5.2.2.10: s-maxage over a longer max-age', control('s-maxage=0, max-age=3600'), 'asked'],
  [
    's5.2.2.10: on two lines',
    [
      ['Cache-Control', 'max-age=3600'],
      ['Cache-Control', 's-maxage=0'],
    ],
    'asked',
  ],
  ['s5.3: Expires', expires(at(3600)), 'reused'],
  ['s5.3: Expires in the past', expires(at(-3600), TAG), 'confirmed'],
  ['s5.3: Expires now', expires(at(0)), 'asked'],
  ['s5.3: Expires 0', expires('0'), 'asked'],
  ['s5.3: Expires -1, and a date to guess from', expires('-1', ['Last-Modified', at(-86_400)]), 'confirmed'],
  ['s5.3: two that differ', expires(at(3600), ['Expires', at(7200)]), 'asked'],
  ['s5.3: RFC 850', expires('Thursday, 18-Aug-50 02:01:18 GMT'), 'reused'],
  ['s5.3: asctime', expires('Thu Aug 18 02:01:18 2050'), 'reused'],
  ['s5.3: THU', expires('THU, 18 Aug 2050 02:01:18 GMT'), 'asked'],
  ['s5.3: AUG', expires('Thu, 18 AUG 2050 02:01:18 GMT'), 'asked'],
  ['s5.3: gMT', expires('Thu, 18 Aug 2050 02:01:18 gMT'), 'asked'],
  ['s5.3: UTC', expires('Thu, 18 Aug 2050 02:01:18 UTC'), 'asked'],
  ['s5.3: AEST', expires('Thu, 18 Aug 2050 02:01:18 AEST'), 'asked'],
  ['s5.3: year of two digits', expires('Thu, 18 Aug 50 02:01:18 GMT'), 'asked'],
  ['s5.3: no comma', expires('Thu 18 Aug 2050 02:01:18 GMT'), 'asked'],
  ['s5.3: two spaces', expires('Thu, 18  Aug  2050 02:01:18 GMT'), 'asked'],
  ['s5.3: dashes', expires('Thu, 18-Aug-2050 02:01:18 GMT'), 'asked'],
  ['s5.3: periods', expires('Thu, 18 Aug 2050 02.01.18 GMT'), 'asked'],
  ['s5.3: hour of one digit', expires('Thu, 18 Aug 2050 2:01:18 GMT'), 'asked'],
  ['s5.3: Expires by the clock of the origin', expires(at(-1800), ['Date', at(-3600)]), 'asked'],
  ['s4.2.2: a tenth of a day', [['Last-Modified', at(-86_400)]], 'reused'],
  ['s4.2.2: modified in the future', [['Last-Modified', at(3600)]], 'confirmed'],
  [
    's5.4: Pragma of a response',
    [
      ['Cache-Control', 'max-age=60'],
      ['Pragma', 'no-cache'],
    ],
    'reused',
  ],
];

const ROW_36: readonly (readonly [name: string, headers: TwoRequests['headers'], how: SecondAnswer])[] = [
  ['max-age', cdn('max-age=3600'), 'reused'],
  ['saturates', cdn('max-age=99999999999'), 'reused'],
  ['Age counts', cdn('max-age=3600', ['Age', '7200']), 'asked'],
  ['space before =', cdn('max-age =100', ['Cache-Control', 'max-age=0']), 'asked'],
  ['space after =', cdn('max-age= 100', ['Cache-Control', 'max-age=0']), 'asked'],
  ['max-age=0', cdn('max-age=0'), 'asked'],
  ['an extension', cdn('foobar, max-age=3600'), 'reused'],
  ['keys are lower-case', cdn('MaX-aGe=3600'), 'asked'],
  ['over a past Expires', cdn('max-age=3600', ['Expires', at(-10_000)]), 'reused'],
  ['over an invalid Expires', cdn('max-age=3600', ['Expires', '0']), 'reused'],
  ['max-age=0 over Expires', cdn('max-age=0', ['Expires', at(10_000)]), 'asked'],
  ['over a shorter Cache-Control', cdn('max-age=3600', ['Cache-Control', 'max-age=0']), 'reused'],
  ['over a longer Cache-Control', cdn('max-age=0', ['Cache-Control', 'max-age=3600']), 'asked'],
  ['private', cdn('private', ['Cache-Control', 'max-age=3600'], ['Expires', at(3600)]), 'asked'],
  ['no-cache', cdn('no-cache', ['Cache-Control', 'max-age=3600'], TAG), 'confirmed'],
  ['no-store', cdn('no-store', ['Cache-Control', 'max-age=3600'], ['Expires', at(3600)]), 'asked'],
  ['over no-store', cdn('max-age=3600', ['Cache-Control', 'no-store']), 'reused'],
  ['not a Dictionary', cdn('max-age=3600, &&&&&', ['Cache-Control', 'no-store']), 'asked'],
  ['a value of the wrong type', cdn('max-age="3600"', ['Cache-Control', 'no-store']), 'asked'],
  ['a value of the wrong type, Cache-Control rules', cdn('max-age=0.0', ['Cache-Control', 'max-age=3600']), 'reused'],
  ['empty', cdn('', ['Cache-Control', 'max-age=3600']), 'reused'],
  ['our own field goes first', cdn('no-store', ['Rawslice-Cache-Control', 'max-age=3600']), 'reused'],
  ['unless it is malformed', cdn('max-age=3600', ['Rawslice-Cache-Control', 'no-store=5']), 'reused'],
];

const ROW_38: readonly (readonly [name: string, headers: TwoRequests['headers'], how: SecondAnswer])[] = [
  ['s5.1: older than its lifetime', [...control('max-age=10'), ['Age', '15']], 'asked'],
  ['s5.1: younger', [...control('max-age=3600'), ['Age', '15']], 'reused'],
  ['s5.1: not a number', [...control('max-age=3600'), ['Age', 'abc']], 'reused'],
  ['s5.1: negative', [...control('max-age=3600'), ['Age', '-7200']], 'reused'],
  ['s5.1: 7200.0', [...control('max-age=3600'), ['Age', '7200.0']], 'reused'],
  ['s5.1: 7200,0', [...control('max-age=3600'), ['Age', '7200,0']], 'asked'],
  ['s5.1: 0,7200', [...control('max-age=3600'), ['Age', '0,7200']], 'reused'],
  ['s5.1: 7200 and 0 on two lines', [...control('max-age=3600'), ['Age', '7200'], ['Age', '0']], 'asked'],
  ['s5.1: 0 and 7200 on two lines', [...control('max-age=3600'), ['Age', '0'], ['Age', '7200']], 'reused'],
  ['s1.2.2: overflow', [...control('max-age=3600'), ['Age', '9'.repeat(30)]], 'asked'],
  ['s4.2.3: apparent age', [...control('max-age=3600'), ['Date', at(-7200)]], 'asked'],
  ['s4.2.3: a clock that is ahead', [...control('max-age=3600'), ['Date', at(7200)]], 'reused'],
];

for (const [row, cases] of [
  ['row 35 (RFC 9111)', ROW_35],
  ['row 36 (RFC 9213 s2.1, s2.2)', ROW_36],
  ['row 38 (RFC 9111)', ROW_38],
] as const) {
  for (const [name, headers, how] of cases) {
    test(`${row}: ${name} -> ${how}`, async () => {
      assert.equal((await sendTwo({ headers })).how, how);
    });
  }
}

test('row 38 (RFC 9111 s4, s5.1; RFC 9110 s6.6.1): Age goes on from what came, Date stays, the targeted field is sent on', async () => {
  const date = at(-5);
  const { answers } = await sendTwo({ headers: [...cdn('max-age=600', ['Age', '30']), ['Date', date]] });
  for (const { headers } of answers) {
    assert.ok(Number(headers.age) >= 30, 'Age goes on');
    assert.deepEqual([headers.date, headers['cdn-cache-control']], [date, 'max-age=600']);
  }
});

const MINUTE = control('max-age=60');
/** The second request's Cache-Control. */
const ROW_37: readonly (readonly [name: string, wish: string, headers: TwoRequests['headers'], how: SecondAnswer])[] = [
  ['s5.2.1.1: max-age=0', 'max-age=0', [...MINUTE, TAG], 'confirmed'],
  ['s5.2.1.1: younger than wished', 'max-age=50', [...MINUTE, ['Age', '40']], 'reused'],
  ['s5.2.1.1: older than wished', 'max-age=30', [...MINUTE, ['Age', '40']], 'asked'],
  ['s5.2.1.2: stale, and any staleness will do', 'max-stale', [...control('max-age=60, stale-if-error=1'), ['Age', '900']], 'reused'],
  ['s5.2.1.2: stale within the wish', 'max-stale=1000', [...control('max-age=60, stale-if-error=1'), ['Age', '900']], 'reused'],
  ['s5.2.1.2: stale beyond the wish', 'max-stale=100', [...control('max-age=60'), ['Age', '900'], TAG], 'confirmed'],
  [
    's5.2.1.2: stale, but the origin forbids it',
    'max-stale',
    [...control('max-age=60, must-revalidate'), ['Age', '900'], TAG],
    'confirmed',
  ],
  ['s5.2.1.3: fresh for long enough', 'min-fresh=30', MINUTE, 'reused'],
  ['s5.2.1.3: not fresh for long enough', 'min-fresh=90', MINUTE, 'asked'],
  ['s5.2.1.3: not fresh for long enough, for its age', 'min-fresh=30', [...MINUTE, ['Age', '40']], 'asked'],
  ['s5.2.1.4: no-cache', 'no-cache', [...MINUTE, TAG], 'confirmed'],
  ['s5.2.1.5: no-store', 'no-store', MINUTE, 'asked'],
  ['s5.2.1.7: only-if-cached', 'only-if-cached', MINUTE, 'reused'],
  ['s5.2: an unknown directive', 'foo=bar', MINUTE, 'reused'],
];
for (const [name, wish, headers, how] of ROW_37) {
  test(`row 37 (RFC 9111 ${name}) -> ${how}`, async () => {
    assert.equal((await sendTwo({ headers, second: { 'cache-control': wish } })).how, how);
  });
  if (how !== 'reused') {
    test(`row 37: where a rule is deaf to it: ${name}`, async () => {
      const rule: SiteRule = { ...PLAIN_RULE, name: 'deaf', ignoresClientCacheControl: true, freshForMs: 60_000 };
      assert.equal((await sendTwo({ headers, second: { 'cache-control': wish }, rule })).how, 'reused');
    });
  }
}

test('row 37 (RFC 9111 s5.2.1.5): what came to a request with no-store is not stored', async () => {
  assert.equal((await sendTwo({ headers: MINUTE, first: { 'cache-control': 'no-store' } })).how, 'asked');
});

test('row 37 (RFC 9111 s5.4): Pragma: no-cache counts, in the absence of Cache-Control', async () => {
  const headers = [...MINUTE, TAG] as const;
  assert.equal((await sendTwo({ headers, second: { pragma: 'no-cache' } })).how, 'confirmed');
  assert.equal((await sendTwo({ headers, second: { pragma: 'no-cache', 'cache-control': 'max-age=50' } })).how, 'reused');
});

test('row 37 (RFC 9111 s5.2.1.7): only-if-cached brings 504 where nothing will do, and the origin hears nothing', async () => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 100, cacheControl: 'max-age=0' });
  await using edge = await startEdge({ origin });
  assert.equal((await edge.get('/a', { 'cache-control': 'only-if-cached' })).status, 504);
  await edge.get('/a');
  assert.equal((await edge.get('/a', { 'cache-control': 'only-if-cached' })).status, 504);
  assert.equal((await edge.get('/a', { 'cache-control': 'only-if-cached, max-stale' })).status, 200);
  assert.equal((await edge.get('/a', { 'cache-control': 'only-if-cached', authorization: 'x' })).status, 504);
  assert.equal(origin.requests.length, 1);
});

const IMMUTABLE = control('max-age=60, immutable');
const ROW_43: readonly (readonly [name: string, given: TwoRequests, how: SecondAnswer])[] = [
  ['s2: a reload is not passed on', { headers: [...IMMUTABLE, TAG], second: { 'cache-control': 'max-age=0' } }, 'reused'],
  ['s2.1: a forced reload is', { headers: [...IMMUTABLE, TAG], second: { 'cache-control': 'no-cache' } }, 'confirmed'],
  ['s2.1: Pragma forces, too', { headers: [...IMMUTABLE, TAG], second: { pragma: 'no-cache' } }, 'confirmed'],
  ['s2: stale is stale', { headers: [...IMMUTABLE, TAG, ['Age', '90']] }, 'confirmed'],
  ['s2: alone it gives no freshness', { headers: [...control('immutable'), TAG] }, 'confirmed'],
  ['s2: a request says nothing with it', { headers: [...MINUTE, TAG], second: { 'cache-control': 'immutable, max-age=0' } }, 'confirmed'],
  ['s2: of a 404 it says nothing', { status: 404, headers: [...IMMUTABLE, TAG], second: { 'cache-control': 'max-age=0' } }, 'asked'],
];
for (const [name, given, how] of ROW_43) {
  test(`row 43 (RFC 8246 ${name}) -> ${how}`, async () => {
    assert.equal((await sendTwo(given)).how, how);
  });
}
