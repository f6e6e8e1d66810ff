/** Tags of responses, by which they are purged together. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasTagField, tagsOf } from '../../src/cache/cache-tags.ts';
import { judgeResponse } from '../../src/cache/response-policy.ts';
import { PLAIN_RULE } from '../../src/cache/site-rule.ts';
import { TAGS_MAX } from '../../src/format/manifest-record.ts';
import type { FieldList } from '../../src/http/header-fields.ts';

test('lists of three fields, divided by commas and white space, each tag once', () => {
  const fields: FieldList = [
    ['surrogate-key', 'a b\tc'],
    ['cache-tag', 'd, e,,a'],
    ['xkey', ' f '],
    ['xkey', 'g'],
    ['x-other', 'h'],
  ];
  assert.deepEqual(tagsOf(fields, 's'), ['a', 'b', 'c', 'd', 'e', 'f', 'g']);
  assert.equal(hasTagField(fields), true);
  assert.equal(hasTagField([['x-other', 'h']]), false);
  assert.deepEqual(tagsOf([], 's'), []);
});

test('a response with more tags than are kept is not stored: a purge by one that is left out would miss it', () => {
  const words = (count: number, length: number): string => Array.from({ length: count }, (_, at) => `${at}`.padEnd(length, 'x')).join(' ');
  assert.equal(tagsOf([['xkey', words(TAGS_MAX, 4)]], 's')?.length, TAGS_MAX);
  assert.equal(tagsOf([['xkey', words(TAGS_MAX + 1, 4)]], 's'), undefined);
  assert.equal(tagsOf([['xkey', words(9, 1000)]], 's'), undefined);
  const judge = (value: string) =>
    judgeResponse({
      requestFields: [],
      status: 200,
      fields: [
        ['cache-control', 'max-age=60'],
        ['surrogate-key', value],
      ],
      requestTimeMs: 0,
      responseTimeMs: 0,
      rule: PLAIN_RULE,
      siteName: 's',
      path: '/a',
    });
  const kept = judge('a b');
  assert.ok(kept.kind === 'store');
  assert.deepEqual(kept.tags, ['a', 'b']);
  const refused = judge(words(TAGS_MAX + 1, 4));
  assert.ok(refused.kind === 'not-storable');
  assert.equal(refused.reason, 'too-many-tags');
});
