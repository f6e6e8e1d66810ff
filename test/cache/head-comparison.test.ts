/** What a HEAD says about a stored GET (RFC 9111 s4.3.5), case by case. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareHead, type HeadAnswer, type HeadComparison } from '../../src/cache/head-comparison.ts';
import type { FieldList } from '../../src/http/header-fields.ts';

const DATE = 'Tue, 15 Nov 1994 12:45:26 GMT';
const LATER = 'Tue, 15 Nov 1994 12:45:27 GMT';
const STORED: FieldList = [
  ['etag', '"a"'],
  ['last-modified', DATE],
];

const CASES: readonly (readonly [name: string, answer: Partial<HeadAnswer>, expected: HeadComparison, storedStatus?: number])[] = [
  ['everything agrees', { fields: STORED, lengthBytes: 9 }, 'same'],
  ['no length', { fields: STORED }, 'same'],
  ['the tag alone', { fields: [['etag', '"a"']] }, 'same'],
  ['the date alone', { fields: [['last-modified', DATE]], lengthBytes: 9 }, 'same'],
  ['another tag', { fields: [['etag', '"b"']], lengthBytes: 9 }, 'other'],
  ['the tag made weak', { fields: [['etag', 'W/"a"']], lengthBytes: 9 }, 'other'],
  [
    'another date',
    {
      fields: [
        ['etag', '"a"'],
        ['last-modified', LATER],
      ],
    },
    'other',
  ],
  ['another length', { fields: STORED, lengthBytes: 8 }, 'other'],
  ['a length that is none', { fields: STORED, lengthBytes: 'invalid' }, 'other'],
  ['encoded', { fields: [...STORED, ['content-encoding', 'gzip']] }, 'other'],
  ['no validator, whatever the length', { fields: [], lengthBytes: 9 }, 'other'],
  ['gone', { status: 404 }, 'other'],
  ['gone for good', { status: 410 }, 'other'],
  ['a redirect', { status: 302 }, 'silent'],
  ['not allowed', { status: 405 }, 'silent'],
  ['failed', { status: 503, fields: STORED }, 'silent'],
  ['there again, where an error is stored', { fields: STORED }, 'other', 404],
  ['an error as before', { status: 404 }, 'silent', 404],
];

for (const [name, answer, expected, status = 200] of CASES) {
  test(`row 25 (RFC 9111 s4.3.5): ${name}: ${expected}`, () => {
    const stored = { status, fields: STORED, lengthBytes: 9 };
    assert.equal(compareHead(stored, { status: 200, fields: [], lengthBytes: undefined, ...answer }), expected);
  });
}
