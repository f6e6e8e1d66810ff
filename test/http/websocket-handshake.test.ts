import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FieldList } from '../../src/http/header-fields.ts';
import { isHandshakeAnswer, judgeHandshake } from '../../src/http/websocket-handshake.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const GOOD: FieldList = [
  ['sec-websocket-key', KEY],
  ['sec-websocket-version', '13'],
];

test('judgeHandshake() takes what RFC 6455 s4.1 asks for, and says what else is', () => {
  assert.deepEqual(judgeHandshake('GET', GOOD), { kind: 'ok', key: KEY });
  const cases: readonly (readonly [string, FieldList, string])[] = [
    ['POST', GOOD, 'invalid'],
    ['GET', [], 'invalid'],
    ['GET', [...GOOD, ['sec-websocket-key', KEY]], 'invalid'],
    ['GET', [['sec-websocket-key', 'short'], ...GOOD.slice(1)], 'invalid'],
    ['GET', GOOD.slice(0, 1), 'version'],
    ['GET', [...GOOD.slice(0, 1), ['sec-websocket-version', '8']], 'version'],
    ['GET', [...GOOD, ['sec-websocket-version', '8']], 'version'],
  ];
  for (const [method, fields, kind] of cases) assert.equal(judgeHandshake(method, fields).kind, kind, JSON.stringify([method, fields]));
});

test('isHandshakeAnswer() knows the answer to a key (the example of RFC 6455 s1.3)', () => {
  assert.equal(isHandshakeAnswer(KEY, [['sec-websocket-accept', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=']]), true);
  assert.equal(isHandshakeAnswer(KEY, [['sec-websocket-accept', 'S3pPLMBiTxaQ9kYGzzhZRbK+xOo=']]), false);
  assert.equal(isHandshakeAnswer(KEY, []), false);
});
