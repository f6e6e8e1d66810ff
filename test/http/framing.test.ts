/** Row 28: whether a request is framed so that everybody sees the same end of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeFraming } from '../../src/http/framing.ts';
import type { FieldList } from '../../src/http/header-fields.ts';

const LENGTH = (value: string) => ['content-length', value] as const;
const CODING = (value: string) => ['transfer-encoding', value] as const;

const ROWS: readonly (readonly [what: string, fields: FieldList, kind: 'ok' | 'faulty' | 'coding', version?: string])[] = [
  ['no content', [], 'ok'],
  ['a length', [LENGTH('0')], 'ok'],
  ['2^53-1', [LENGTH('9007199254740991')], 'ok'],
  ['2^53', [LENGTH('9007199254740992')], 'faulty'],
  ['a sign', [LENGTH('+3')], 'faulty'],
  ['a list', [LENGTH('3, 3')], 'faulty'],
  ['an empty length', [LENGTH('')], 'faulty'],
  ['the same length twice', [LENGTH('3'), LENGTH('3')], 'faulty'],
  ['chunked', [CODING('Chunked')], 'ok'],
  ['chunked and a length', [CODING('chunked'), LENGTH('3')], 'faulty'],
  ['chunked in HTTP/1.0', [CODING('chunked')], 'faulty', '1.0'],
  ['a coding before chunked', [CODING('gzip, chunked')], 'coding'],
  ['a coding before chunked in two lines', [CODING('gzip'), CODING('chunked')], 'coding'],
  ['identity', [CODING('identity')], 'faulty'],
  ['chunked, identity', [CODING('chunked, identity')], 'faulty'],
  ['chunked twice', [CODING('chunked'), CODING('chunked')], 'faulty'],
  ['nearly chunked', [CODING('xchunked')], 'faulty'],
  ['quoted', [CODING('"chunked"')], 'faulty'],
  ['empty', [CODING('')], 'faulty'],
];
for (const [what, fields, kind, version = '1.1'] of ROWS)
  test(`row 28 (RFC 9112 s6.1, s6.3): ${what} is ${kind}`, () => assert.equal(judgeFraming(fields, version).kind, kind));
