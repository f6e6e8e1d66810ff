/** Validators: which are strong, and which responses are parts of one (RFC 9110 s8.8, RFC 9111 s3.4 and s4.3.4). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { confirmsStored, hasValidator, sameRepresentation, strongValidator, validatorsOf } from '../../src/cache/validators.ts';
import type { FieldList } from '../../src/http/header-fields.ts';

const MODIFIED = 'Sun, 06 Nov 1994 08:49:37 GMT';
const SAME_SECOND: FieldList = [
  ['last-modified', MODIFIED],
  ['date', MODIFIED],
];
const MUCH_LATER: FieldList = [
  ['last-modified', MODIFIED],
  ['date', 'Mon, 07 Nov 1994 08:49:37 GMT'],
];
const tag = (text: string): FieldList => [['etag', text]];

const STRONG: readonly (readonly [string, FieldList, string | undefined])[] = [
  ['row 16 strong tag', tag('"a"'), '"a"'],
  ['row 17 weak tag', tag('W/"a"'), undefined],
  ['row 17 weak tag, however old the date', [...tag('W/"a"'), ...MUCH_LATER], undefined],
  ['row 16 a tag without quotes is none', tag('a'), undefined],
  ['row 16 malformed tag, strong date', [...tag('a'), ...MUCH_LATER], MODIFIED],
  ['row 16 two tags are none', [...tag('"a"'), ...tag('"b"')], undefined],
  [
    'row 18 date a second before',
    [
      ['last-modified', MODIFIED],
      ['date', 'Sun, 06 Nov 1994 08:49:38 GMT'],
    ],
    MODIFIED,
  ],
  ['row 18 date in the same second', SAME_SECOND, undefined],
  [
    'row 18 date in the future',
    [
      ['last-modified', MODIFIED],
      ['date', 'Sun, 06 Nov 1994 08:49:00 GMT'],
    ],
    undefined,
  ],
  ['row 18 no Date', [['last-modified', MODIFIED]], undefined],
  ['nothing', [], undefined],
];
for (const [name, fields, value] of STRONG) {
  test(`strongValidator(): ${name} -> ${value} (9110 s8.8.1, s8.8.2.2)`, () => assert.equal(strongValidator(fields)?.value, value));
}

test('validatorsOf() gives what is well-formed (9110 s8.8)', () => {
  assert.deepEqual(validatorsOf([...tag('W/"a"'), ...MUCH_LATER]), {
    entityTag: 'W/"a"',
    isStrongTag: false,
    lastModified: { text: MODIFIED, ms: Date.UTC(1994, 10, 6, 8, 49, 37) },
    dateMs: Date.UTC(1994, 10, 7, 8, 49, 37),
  });
  assert.deepEqual(validatorsOf([...tag('a'), ['last-modified', 'x'], ['date', 'x']]), {
    entityTag: undefined,
    isStrongTag: false,
    lastModified: undefined,
    dateMs: undefined,
  });
  assert.equal(hasValidator(tag('W/"a"')), true);
  assert.equal(hasValidator([['last-modified', MODIFIED]]), true);
  assert.equal(hasValidator([...tag('a'), ['last-modified', 'x']]), false);
});

const SAME: readonly (readonly [string, FieldList, FieldList, boolean])[] = [
  ['equal strong tags', tag('"a"'), tag('"a"'), true],
  ['other dates beside equal tags', [...tag('"a"'), ...MUCH_LATER], tag('"a"'), true],
  ['different tags', tag('"a"'), tag('"b"'), false],
  ['equal weak tags', tag('W/"a"'), tag('W/"a"'), false],
  ['equal strong dates', MUCH_LATER, MUCH_LATER, true],
  ['equal dates, one of them weak', MUCH_LATER, SAME_SECOND, false],
  ['one has a tag, the other only the date', [...tag('"a"'), ...MUCH_LATER], MUCH_LATER, false],
  ['nothing at all', [], [], false],
];
for (const [name, one, other, isSame] of SAME) {
  test(`row 16: sameRepresentation(): ${name} -> ${isSame} (9111 s3.4, 9110 s15.3.7.3)`, () => {
    assert.equal(sameRepresentation(one, other), isSame);
    assert.equal(sameRepresentation(other, one), isSame);
  });
}

const CONFIRMED: readonly (readonly [string, FieldList, FieldList, boolean])[] = [
  ['no validator in the 304', tag('"a"'), [], true],
  ['the strong tag', tag('"a"'), tag('"a"'), true],
  ['another strong tag', tag('"a"'), tag('"b"'), false],
  ['the weak form of the stored tag', tag('"a"'), tag('W/"a"'), true],
  ['a strong tag for a weak one', tag('W/"a"'), tag('"a"'), false],
  ['a tag for what has none', SAME_SECOND, tag('"a"'), false],
  ['the date', SAME_SECOND, MUCH_LATER, true],
  ['another date', SAME_SECOND, [['last-modified', 'Sun, 06 Nov 1994 08:49:38 GMT']], false],
  ['the tag decides over the date', tag('"a"'), [...tag('"a"'), ...MUCH_LATER], true],
];
for (const [name, stored, notModified, isConfirmed] of CONFIRMED) {
  test(`row 22: confirmsStored(): ${name} -> ${isConfirmed} (9111 s4.3.4)`, () =>
    assert.equal(confirmsStored(stored, notModified), isConfirmed));
}
