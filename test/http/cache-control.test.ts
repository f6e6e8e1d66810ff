/** Cache-Control parsing (RFC 9111 s5.2): whatever is malformed is read strictly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cacheControlOf, MAX_DELTA_SECONDS, parseCacheControl, parseDeltaSeconds } from '../../src/http/cache-control.ts';

const SECONDS: readonly (readonly [string, number | undefined])[] = [
  ['max-age=60', 60],
  ['MAX-AGE=60', 60],
  ['max-age="60"', 60],
  ['public,max-age=60 , x', 60],
  ['max-age=0060', 60],
  ['max-age=99999999999999999999', MAX_DELTA_SECONDS],
  ['max-age', 0],
  ['max-age=', 0],
  ['max-age=-1', 0],
  ['max-age=60.5', 0],
  ["max-age='60'", 0],
  ['max-age =60', 0],
  ['max-age= 60', 0],
  ['max-age=60s', 0],
  ['max-age=60, max-age=5', 60],
  ['x="max-age=60"', undefined],
  ['x="a, max-age=60"', undefined],
  ['x="a, max-age=60', 60],
  ['xmax-age=60', undefined],
  ['', undefined],
];
for (const [value, seconds] of SECONDS) {
  test(`row 35: ${JSON.stringify(value)} says max-age ${seconds} (9111 s5.2, s1.2.2, s4.2.1)`, () => {
    assert.equal(parseCacheControl(value).seconds('max-age'), seconds);
  });
}

test('row 34: several lines are one list (9110 s5.3), names have no case', () => {
  const control = cacheControlOf([
    ['cache-control', 'Max-Age=1'],
    ['cache-control', 'NO-STORE'],
  ]);
  assert.equal(control.has('no-store'), true);
  assert.equal(control.get('no-store'), true);
  assert.equal(control.get('max-age'), '1');
  assert.deepEqual(control.names(), ['max-age', 'no-store']);
  assert.equal(cacheControlOf([]).has('no-store'), false);
});

test('row 34: malformed members still forbid (9111 s5.2.2.5)', () => {
  for (const value of ['no-store foo', 'no-store=', 'no-store=1', 'no-store="x', 'a="b, no-store', ',no-store;x,', 'no-store\tx']) {
    const control = parseCacheControl(value.replace(';x', ''));
    assert.equal(control.has('no-store'), true, value);
  }
});

test('row 34: qualified and unqualified no-cache and private (9111 s5.2.2.4, s5.2.2.7)', () => {
  const names = (value: string) => parseCacheControl(value).fieldNames('private');
  assert.deepEqual(names('private="Set-Cookie, X-A"'), ['set-cookie', 'x-a']);
  assert.deepEqual(names('private=Set-Cookie'), ['set-cookie']);
  assert.deepEqual(names('private="a", private="b"'), ['a', 'b']);
  assert.equal(names('private="a", private'), undefined);
  assert.equal(names('private'), undefined);
  assert.equal(names('private=""'), undefined);
  assert.equal(names('private="a b"'), undefined);
  assert.equal(names('public'), undefined);
  assert.equal(parseCacheControl('private="a b"').isUnqualified('private'), true);
  assert.equal(parseCacheControl('private="a"').isUnqualified('private'), false);
  assert.equal(parseCacheControl('public').isUnqualified('private'), false);
});

test('parseDeltaSeconds() takes digits only (9111 s1.2.2)', () => {
  assert.equal(parseDeltaSeconds('7200'), 7200);
  for (const text of ['7200.0', '-1', '', ' 1', '1e3']) assert.equal(parseDeltaSeconds(text), undefined, text);
});
