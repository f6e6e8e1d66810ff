/** What a 304 does to a manifest (RFC 9111 s3.2, s4.3.4). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cacheKey } from '../../src/cache/cache-key.ts';
import { type RenewedManifest, renewedManifest } from '../../src/cache/renewal.ts';
import { PLAIN_RULE } from '../../src/cache/site-rule.ts';
import { strongValidator } from '../../src/cache/validators.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { type FieldList, fieldLines, fieldValue } from '../../src/http/header-fields.ts';
import { formatHttpDate } from '../../src/http/http-date.ts';

const STORED_MS = Date.UTC(2026, 0, 1);
const LATER_MS = STORED_MS + 3600_000;
const TAG: FieldList = [['etag', '"a"']];

function manifestWith(fields: FieldList): Manifest {
  const key = cacheKey({ siteName: 's', path: '/x', query: undefined });
  assert.ok(key !== undefined);
  const freshness = { receivedAtMs: STORED_MS, initialAgeSeconds: 0, freshUntilMs: STORED_MS };
  return { ...key, ...freshness, generation: 7, status: 200, fields, tags: [], lengthBytes: 5, sliceSizeBytes: 65_536 };
}

function renew(stored: FieldList, received: FieldList, rule = PLAIN_RULE): RenewedManifest {
  const times = { requestTimeMs: LATER_MS, responseTimeMs: LATER_MS };
  const renewed = renewedManifest(manifestWith(stored), { responseFields: received, ...times, rule });
  assert.ok(renewed !== undefined);
  return renewed;
}

test('row 22: a 304 begins freshness anew and leaves the rest of the manifest alone (9111 s4.3.4)', () => {
  const { manifest, isMetadataChanged } = renew([...TAG, ['cache-control', 'max-age=60']], [['age', '10']]);
  assert.equal(manifest.receivedAtMs, LATER_MS);
  assert.equal(manifest.initialAgeSeconds, 10);
  assert.equal(manifest.freshUntilMs, LATER_MS + 50_000);
  assert.equal(manifest.generation, 7);
  assert.equal(manifest.lengthBytes, 5);
  assert.equal(isMetadataChanged, false);
});

test('row 22: every field is replaced but those that describe the bytes (9111 s3.2)', () => {
  const stored: FieldList = [...TAG, ['x-a', '1'], ['content-type', 'a/b'], ['x-a', '2'], ['x-keep', 'k']];
  const received: FieldList = [
    ['x-a', '3'],
    ['x-a', '4'],
    ['x-new', 'n'],
    ['content-type', 'c/d'],
    ['content-encoding', 'gzip'],
    ['content-length', '0'],
    ['content-range', 'bytes 0-1/2'],
    ['connection', 'x-hop'],
    ['x-hop', '1'],
    ['set-cookie', 'a=b'],
    ['age', '0'],
  ];
  const { manifest, isMetadataChanged } = renew(stored, received);
  assert.deepEqual(manifest.fields, [...TAG, ['x-a', '3'], ['x-a', '4'], ['content-type', 'a/b'], ['x-keep', 'k'], ['x-new', 'n']]);
  assert.equal(isMetadataChanged, true);
});

const CHANGES: readonly (readonly [string, FieldList, FieldList, boolean])[] = [
  [
    'Date and Expires',
    [
      ['date', formatHttpDate(STORED_MS)],
      ['expires', formatHttpDate(STORED_MS)],
    ],
    [
      ['date', formatHttpDate(LATER_MS)],
      ['expires', formatHttpDate(LATER_MS)],
    ],
    true,
  ],
  ['the number in max-age', [['cache-control', 'public, max-age=60']], [['cache-control', 'public, max-age=61']], true],
  ['max-age to s-maxage', [['cache-control', 'max-age=60']], [['cache-control', 's-maxage=60']], true],
  ['another directive', [['cache-control', 'max-age=60']], [['cache-control', 'max-age=60, must-revalidate']], true],
  ['stale-if-error', [['cache-control', 'stale-if-error=60']], [['cache-control', 'stale-if-error=61']], true],
  [
    'the same again',
    [
      ['x', '1'],
      ['cache-control', 'no-cache'],
    ],
    [
      ['x', '1'],
      ['cache-control', 'no-cache'],
    ],
    false,
  ],
  [
    'one line for two',
    [
      ['x', '1'],
      ['x', '2'],
    ],
    [['x', '1']],
    true,
  ],
  ['a new field', [], [['x', '']], true],
];
for (const [name, stored, received, isChanged] of CHANGES) {
  test(`row 22: isMetadataChanged: ${name} -> ${isChanged}`, () =>
    assert.equal(renew([...TAG, ...stored], received).isMetadataChanged, isChanged));
}

test('row 22: freshness rests on the merged fields and the dates of the 304 (9111 s4.2.1)', () => {
  const date = formatHttpDate(LATER_MS);
  const kept = renew([...TAG, ['expires', formatHttpDate(LATER_MS + 9000)], ['date', formatHttpDate(STORED_MS)]], [['date', date]]);
  assert.equal(kept.manifest.freshUntilMs, LATER_MS + 9000);
  const dateless = renew([...TAG, ['cache-control', 'max-age=60'], ['date', formatHttpDate(STORED_MS)]], []);
  assert.equal(dateless.manifest.freshUntilMs, LATER_MS + 60_000);
});

test('a 304 with no-store or private ends use without asking, even where a rule gives freshness (9111 s5.2.2.5)', () => {
  for (const control of ['no-store, max-age=60', 'private, max-age=60']) {
    const { manifest } = renew(TAG, [['cache-control', control]], { ...PLAIN_RULE, isImmutable: true });
    assert.equal(manifest.freshUntilMs, LATER_MS, control);
  }
});

test('row 17: the weak form of the stored tag does not take its strength away (9110 s8.8.1)', () => {
  assert.equal(fieldValue(renew(TAG, [['etag', 'W/"a"']]).manifest.fields, 'etag'), '"a"');
  assert.equal(fieldValue(renew([['etag', 'W/"a"']], [['etag', 'W/"a"']]).manifest.fields, 'etag'), 'W/"a"');
});

test('row 18: a 304 does not make a weak Last-Modified strong by a later Date (9110 s8.8.2.2)', () => {
  const second = formatHttpDate(STORED_MS);
  const { manifest } = renew(
    [
      ['last-modified', second],
      ['date', second],
    ],
    [
      ['last-modified', second],
      ['date', formatHttpDate(LATER_MS)],
    ],
  );
  assert.equal(strongValidator(manifest.fields), undefined);
  assert.equal(manifest.receivedAtMs, LATER_MS);
  const dateless = renew([['last-modified', second]], [['date', formatHttpDate(LATER_MS)]]);
  assert.equal(strongValidator(dateless.manifest.fields), undefined);
  const strong = renew(
    [
      ['last-modified', second],
      ['date', formatHttpDate(STORED_MS + 1000)],
    ],
    [['date', formatHttpDate(LATER_MS)]],
  );
  assert.equal(fieldValue(strong.manifest.fields, 'date'), formatHttpDate(LATER_MS));
});

test('fields that would outgrow the record stay as they are; freshness is renewed', () => {
  const { manifest, isMetadataChanged } = renew(
    [...TAG, ['x', '1']],
    [
      ['x', 'a'.repeat(17_000)],
      ['cache-control', 'max-age=60'],
    ],
  );
  assert.deepEqual(fieldLines(manifest.fields, 'x'), ['1']);
  assert.equal(manifest.freshUntilMs, LATER_MS + 60_000);
  assert.equal(isMetadataChanged, false);
});

test('a 304 brings other tags, or says nothing of them', () => {
  const tagged = { ...manifestWith([...TAG, ['surrogate-key', 'a b']]), tags: ['a', 'b'] };
  const times = { requestTimeMs: LATER_MS, responseTimeMs: LATER_MS, rule: PLAIN_RULE };
  const silent = renewedManifest(tagged, { responseFields: TAG, ...times });
  assert.deepEqual([silent?.manifest.tags, silent?.isMetadataChanged], [['a', 'b'], false]);
  const other = renewedManifest(tagged, { responseFields: [...TAG, ['surrogate-key', 'c']], ...times });
  assert.deepEqual([other?.manifest.tags, other?.isMetadataChanged], [['c'], true]);
  const many = Array.from({ length: 300 }, (_, at) => `t${at}`).join(' ');
  assert.equal(renewedManifest(tagged, { responseFields: [...TAG, ['surrogate-key', many]], ...times }), undefined);
});
