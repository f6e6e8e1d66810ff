/** Entity tags (RFC 9110 s8.8.3). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type EntityTag, matchesStrongly, matchesWeakly, parseEntityTag, parseEntityTagList } from '../../src/http/entity-tag.ts';

const strong = (opaque: string): EntityTag => ({ isWeak: false, opaque });
const weak = (opaque: string): EntityTag => ({ isWeak: true, opaque });

test('parseEntityTag() takes exactly one tag (9110 s8.8.3)', () => {
  assert.deepEqual(parseEntityTag('"xyzzy"'), strong('"xyzzy"'));
  assert.deepEqual(parseEntityTag('W/"xyzzy"'), weak('"xyzzy"'));
  assert.deepEqual(parseEntityTag('""'), strong('""'));
  assert.deepEqual(parseEntityTag('"a\\"'), strong('"a\\"'));
  for (const text of ['', 'xyzzy', 'w/"a"', 'W/ "a"', '"a', '"a" ', '"a b"', '"a""b"', '*'])
    assert.equal(parseEntityTag(text), undefined, text);
});

const LISTS: readonly (readonly [string, '*' | readonly EntityTag[]])[] = [
  ['*', '*'],
  [' * ', '*'],
  ['"a"', [strong('"a"')]],
  ['"a", W/"b" ,"c,d"', [strong('"a"'), weak('"b"'), strong('"c,d"')]],
  [',, "a",,', [strong('"a"')]],
  ['bad, "a"', [strong('"a"')]],
  ['"a" "b", "c"', [strong('"c"')]],
  ['"a\\", "b"', [strong('"a\\"'), strong('"b"')]],
  ['"open, "a"', [strong('"a"')]],
  ['*, "a"', [strong('"a"')]],
  ['', []],
];
for (const [value, tags] of LISTS) {
  test(`parseEntityTagList(${JSON.stringify(value)}) (9110 s13.1.1, s5.6.1)`, () => assert.deepEqual(parseEntityTagList(value), tags));
}

// The table of RFC 9110 s8.8.3.2.
const COMPARISONS: readonly (readonly [EntityTag, EntityTag, boolean, boolean])[] = [
  [weak('"1"'), weak('"1"'), false, true],
  [weak('"1"'), weak('"2"'), false, false],
  [weak('"1"'), strong('"1"'), false, true],
  [strong('"1"'), strong('"1"'), true, true],
];
test('row 17: strong and weak comparison as in the table of 9110 s8.8.3.2', () => {
  for (const [one, other, isStrong, isWeak] of COMPARISONS) {
    assert.equal(matchesStrongly(one, other), isStrong);
    assert.equal(matchesStrongly(other, one), isStrong);
    assert.equal(matchesWeakly(one, other), isWeak);
    assert.equal(matchesWeakly(other, one), isWeak);
  }
});
