/** Lists and Dictionaries of structured fields (RFC 9651 s4.2). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseStructuredDictionary, parseStructuredList } from '../../src/http/structured-field.ts';

const integer = (value: number) => ({ kind: 'integer', value }) as const;
const TRUE = { kind: 'boolean', value: true } as const;

const DICTIONARIES: readonly (readonly [text: string, members: Readonly<Record<string, unknown>> | undefined])[] = [
  ['', {}],
  ['   ', {}],
  ['a=1', { a: integer(1) }],
  ['a=-1', { a: integer(-1) }],
  ['a=999999999999999', { a: integer(999_999_999_999_999) }],
  ['a=1000000000000000', undefined],
  ['a=1.5', { a: { kind: 'decimal', value: 1.5 } }],
  ['a=1.0', { a: { kind: 'decimal', value: 1 } }],
  ['a=123456789012.123', { a: { kind: 'decimal', value: 123_456_789_012.123 } }],
  ['a=1234567890123.1', undefined],
  ['a=1.1234', undefined],
  ['a=1.', undefined],
  ['a=.5', undefined],
  ['a=-', undefined],
  ['a=+1', undefined],
  ['a=1x', undefined],
  ['a', { a: TRUE }],
  ['a=?1, b=?0', { a: TRUE, b: { kind: 'boolean', value: false } }],
  ['a=?2', undefined],
  ['a;x=1;y', { a: TRUE }],
  ['a=1; x="y"', { a: integer(1) }],
  ['a=1 ;x', undefined],
  ['a="b \\" \\\\"', { a: { kind: 'string', value: 'b " \\' } }],
  ['a="b', undefined],
  ['a="\\b"', undefined],
  ['a="\x7f"', undefined],
  ['a="\xe9"', undefined],
  ['a=b/c:d', { a: { kind: 'token', value: 'b/c:d' } }],
  ['a=*b', { a: { kind: 'token', value: '*b' } }],
  ['a=:aGk=:', { a: { kind: 'bytes' } }],
  ['a=:aGk=', undefined],
  ['a=@1659578233', { a: { kind: 'date', value: 1_659_578_233 } }],
  ['a=@1.5', undefined],
  ['a=%"f%c3%bc"', { a: { kind: 'display' } }],
  ['a=%"f%C3"', undefined],
  ['a=(1 b "c");x', { a: { kind: 'inner-list', items: [integer(1), { kind: 'token', value: 'b' }, { kind: 'string', value: 'c' }] } }],
  ['a=( )', { a: { kind: 'inner-list', items: [] } }],
  ['a=(1;q=2  3)', { a: { kind: 'inner-list', items: [integer(1), integer(3)] } }],
  ['a=(1,2)', undefined],
  ['a=(1', undefined],
  ['a=(1(2))', undefined],
  ['A=1', undefined],
  ['1=a', undefined],
  ['a =1', undefined],
  ['a= 1', undefined],
  ['a=', undefined],
  ['a=1,b=2', { a: integer(1), b: integer(2) }],
  ['a=1 \t,\t b=2', { a: integer(1), b: integer(2) }],
  ['a=1,', undefined],
  ['a=1,,b=2', undefined],
  [',a=1', undefined],
  ['a=1 b=2', undefined],
  ['a=1\t', undefined],
  ['\ta=1', undefined],
  ['a=1, b, a=2', { b: TRUE, a: integer(2) }],
  ['max-age=10000, &&&&&', undefined],
];
for (const [text, members] of DICTIONARIES) {
  test(`row 36: parseStructuredDictionary(${JSON.stringify(text)}) (9651 s4.2.2)`, () => {
    const parsed = parseStructuredDictionary(text);
    assert.deepEqual(parsed === undefined ? undefined : Object.fromEntries(parsed), members);
    if (parsed !== undefined && members !== undefined) assert.deepEqual([...parsed.keys()], Object.keys(members));
  });
}

const LISTS: readonly (readonly [text: string, members: readonly unknown[] | undefined])[] = [
  ['', []],
  [
    '"a", "b";x=1',
    [
      { kind: 'string', value: 'a' },
      { kind: 'string', value: 'b' },
    ],
  ],
  [
    'a,(b c),1',
    [
      { kind: 'token', value: 'a' },
      {
        kind: 'inner-list',
        items: [
          { kind: 'token', value: 'b' },
          { kind: 'token', value: 'c' },
        ],
      },
      integer(1),
    ],
  ],
  ['a b', undefined],
  ['a,', undefined],
];
for (const [text, members] of LISTS) {
  test(`parseStructuredList(${JSON.stringify(text)}) (9651 s4.2.1)`, () => {
    assert.deepEqual(parseStructuredList(text), members);
  });
}

test('no text makes either throw or take long (seed 20261121)', () => {
  const piece = fc.constantFrom('a', '=', ',', ' ', '"', '\\', '(', ')', ';', '1', '.', '-', ':', '?', '@', '%', '\t', 'A', '*');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 200 }), (pieces) => {
      const text = pieces.join('');
      parseStructuredDictionary(text);
      parseStructuredList(text);
    }),
    { seed: 20_261_121, numRuns: 2000 },
  );
  for (const unit of ['"\\', '(((((', '%"%', 'a=1;', '1.1', '::', ' \t']) assert.equal(parseStructuredList(unit.repeat(20_000)), undefined);
});
