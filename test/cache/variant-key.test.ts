/** What responses vary on, what requests select, and the keys and markers made of that (RFC 9111 s4.1). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hashKeyText, MAX_KEY_BYTES } from '../../src/cache/cache-key.ts';
import { PLAIN_RULE } from '../../src/cache/site-rule.ts';
import { primaryKeyText, selectionHash, selectionOf, variantKey, varyingFields, withSelection } from '../../src/cache/variant-key.ts';
import { isMarker, markerManifest, markerOf, type VariantMarker, variantManifest } from '../../src/cache/variant-marker.ts';
import type { ObjectHash } from '../../src/format/manifest.ts';
import { decodeManifestRecord, encodeManifestRecord } from '../../src/format/manifest-record.ts';
import type { FieldList } from '../../src/http/header-fields.ts';

const SEED = 31_001;
const IDENTITY_RULE = { ...PLAIN_RULE, encodings: 'identity' } as const;
const vary = (...lines: string[]): FieldList => lines.map((line) => ['vary', line] as const);
const GZIP: FieldList = [['content-encoding', 'gzip']];

const VARYING: readonly (readonly [string, FieldList, readonly string[] | undefined])[] = [
  ['nothing', [], []],
  ['an empty list', vary(' , '), []],
  ['case and order', vary('Origin, ACCEPT', 'accept-encoding, origin'), ['accept', 'accept-encoding', 'origin']],
  ['*', vary('*'), undefined],
  ['* on the second line', vary('accept', '*'), undefined],
  ['* among others', vary('accept, *'), undefined],
  ['no field name', vary('a b'), undefined],
  ['a field of ours', vary('Via'), undefined],
  ['a field of one message', vary('If-None-Match'), undefined],
  ['Range', vary('Accept, Range'), undefined],
  ['encoded without Vary', GZIP, ['accept-encoding']],
  ['encoded, with another Vary', [...GZIP, ...vary('Accept')], ['accept', 'accept-encoding']],
  ['eight', vary('a,b,c,d,e,f,g,h'), [...'abcdefgh']],
  ['nine', vary('a,b,c,d,e,f,g,h,i'), undefined],
];
for (const [name, fields, expected] of VARYING) {
  test(`row 31: varyingFields(): ${name} (9111 s4.1)`, () => assert.deepEqual(varyingFields(fields, PLAIN_RULE), expected));
}

test('row 30: where all are given identity, Accept-Encoding selects nothing (9111 s4.1)', () => {
  assert.deepEqual(varyingFields(vary('Accept-Encoding'), IDENTITY_RULE), []);
  assert.deepEqual(varyingFields([...vary('Accept-Encoding'), ...GZIP], IDENTITY_RULE), ['accept-encoding']);
});

const SELECTED: readonly (readonly [string, string, FieldList, string | undefined])[] = [
  ['absent', 'x', [], 'x'],
  ['empty is not absent', 'x', [['x', '']], 'x='],
  ['as it came', 'x', [['x', 'A  b']], 'x=A  b'],
  [
    'lines are joined',
    'x',
    [
      ['x', '1'],
      ['x', '2'],
    ],
    'x=1, 2',
  ],
  ['any media type', 'accept', [], 'accept=*/*'],
  ['languages', 'accept-language', [['accept-language', 'EN;q=0.5 , De']], 'accept-language=de, en;q=0.5'],
  ['codings', 'accept-encoding', [['accept-encoding', 'gzip, deflate']], 'accept-encoding=gzip'],
  ['no cookie', 'cookie', [], 'cookie'],
  ['a cookie (row 33)', 'cookie', [['cookie', 'a=b']], undefined],
  ['a secret (row 32)', 'authorization', [['authorization', 'x']], undefined],
];
for (const [name, field, fields, expected] of SELECTED) {
  test(`row 31: selectionOf(): ${name} (9111 s4.1)`, () => assert.equal(selectionOf([field], fields)?.text, expected));
}

test('row 31: the origin is asked with the normal forms, and for a known variant with its coding alone (9110 s12.5.3)', () => {
  const client: FieldList = [
    ['accept-encoding', 'br, gzip, deflate'],
    ['accept-language', 'DE'],
  ];
  const selection = selectionOf(['accept-encoding', 'accept-language', 'user-agent'], client);
  assert(selection !== undefined);
  const base: FieldList = [
    ['host', 'h'],
    ['user-agent', 'rawslice'],
    ['accept-encoding', 'identity'],
  ];
  assert.deepEqual(withSelection(base, selection), [
    ['host', 'h'],
    ['accept-encoding', 'br, gzip'],
    ['accept-language', 'de'],
  ]);
  assert.deepEqual(withSelection(base, selection, 'gzip'), [
    ['host', 'h'],
    ['accept-encoding', 'gzip'],
    ['accept-language', 'de'],
  ]);
});

test('keys: codings that came are shared, markers keep generations apart, and no key is too long', () => {
  const select = (codings: string): NonNullable<ReturnType<typeof selectionOf>> => {
    const selection = selectionOf(['accept-encoding'], [['accept-encoding', codings]]);
    assert(selection !== undefined);
    return selection;
  };
  const [both, one] = [select('br, gzip'), select('gzip')];
  const keyOf = (generation: number, selection = one): string | undefined =>
    variantKey('site/a', generation, { selection, coding: 'gzip' })?.keyText;
  assert.equal(keyOf(1, both), keyOf(1, one));
  assert.notEqual(selectionHash('site/a', 1, both), selectionHash('site/a', 1, one));
  assert.notEqual(keyOf(1), keyOf(2));
  assert.notEqual(selectionHash('site/a', 1, one), hashKeyText(keyOf(1) ?? ''), 'a question is no variant');
  assert.equal(primaryKeyText(keyOf(1) ?? ''), 'site/a');
  assert(keyOf(1)?.startsWith('site/a'), 'a purge by prefix covers it');
  const long = selectionOf(['x'], [['x', 'y'.repeat(MAX_KEY_BYTES)]]);
  assert(long !== undefined);
  assert.equal(variantKey('site/a', 1, { selection: long, coding: 'identity' }), undefined);
});

const anyValue = fc.oneof(
  fc.constantFrom('gzip', 'gzip, br', 'br;q=0.5,gzip', '*', 'de', 'DE', 'en, de', 'de;q=1, en;q=0.2', '', 'x=\ty', 'a=b'),
  fc.string({ maxLength: 12 }).map((text) => text.replace(/[\r\n\0]/g, ' ')),
);
const NAMES = ['accept', 'accept-encoding', 'accept-language', 'cookie', 'origin', 'x'];
const anyRequest = fc.array(fc.tuple(fc.constantFrom(...NAMES), anyValue), { maxLength: 6 });

test(`two requests share a variant only if their normal forms agree, and what is asked reads as what is wanted (seed ${SEED})`, () => {
  fc.assert(
    fc.property(fc.subarray(NAMES, { minLength: 1 }), anyRequest, anyRequest, (unsorted, one, other) => {
      const names = unsorted.sort();
      const [first, second] = [selectionOf(names, one), selectionOf(names, other)];
      if (first === undefined || second === undefined) return;
      // The fields of a selection are all that the origin sees of it: equal keys must mean equal questions.
      const isSameQuestion = JSON.stringify(first.fields) === JSON.stringify(second.fields);
      assert.equal(selectionHash('s/a', 1, first) === selectionHash('s/a', 1, second), isSameQuestion);
      if (isSameQuestion)
        assert.deepEqual(
          variantKey('s/a', 1, { selection: first, coding: 'br' }),
          variantKey('s/a', 1, { selection: second, coding: 'br' }),
        );
      const sent = withSelection([['accept', '*/*']], first);
      assert.equal(selectionOf(names, sent)?.text, first.text);
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test('a marker survives the disk, and tells its variants of soft purges (S8)', () => {
  const hash = (text: string): ObjectHash => hashKeyText(text);
  const marker: VariantMarker = {
    generation: 7,
    names: ['accept', 'accept-encoding'],
    known: Array.from({ length: 64 }, (_, index) => ({ selectionHash: hash(`s${index}`), objectHash: hash(`o${index}`), coding: 'gzip' })),
    staleUntilMs: 0,
  };
  const manifest = markerManifest(marker, { objectHash: hash('s/a'), keyText: 's/a', sliceSizeBytes: 65_536, nowMs: 1000 });
  const record = encodeManifestRecord(manifest);
  assert(record !== undefined, 'as many as there may be fit a record');
  const read = decodeManifestRecord(record);
  assert(read !== undefined && isMarker(read));
  assert.deepEqual(markerOf(read), marker);

  const purged = markerOf({ ...read, freshUntilMs: 5000 });
  assert.equal(purged.staleUntilMs, 5000);
  const kept = markerOf(markerManifest(purged, { objectHash: hash('s/a'), keyText: 's/a', sliceSizeBytes: 65_536, nowMs: 6000 }));
  assert.equal(kept.staleUntilMs, 5000);
  const variant = { ...manifest, status: 200, receivedAtMs: 5000, freshUntilMs: 9000 };
  assert.equal(variantManifest(variant, kept).freshUntilMs, 5000);
  assert.equal(variantManifest({ ...variant, receivedAtMs: 5001 }, kept).freshUntilMs, 9000);
});
