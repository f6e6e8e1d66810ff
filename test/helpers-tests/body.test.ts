import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bodyByte, bodyBytes, fillBody, verifyBody } from '../helpers/body.ts';

const identity = { name: '/a', version: 1 };

test('fillBody() gives the same bytes however the body is cut', () => {
  const whole = bodyBytes(identity, 0, 20_000);
  for (const [start, end] of [
    [0, 1],
    [4095, 4097],
    [5000, 13_001],
    [8192, 12_288],
  ] as const) {
    assert.deepEqual(bodyBytes(identity, start, end - start), whole.subarray(start, end));
  }
  assert.equal(bodyByte(identity, 12_345), whole[12_345]);
});

test('fillBody() differs by name, version and place, also beyond 4 GiB', () => {
  const offset = 5 * 1024 ** 3 + 7;
  const texts = [
    bodyBytes(identity, 0, 4096),
    bodyBytes({ ...identity, name: '/b' }, 0, 4096),
    bodyBytes({ ...identity, version: 2 }, 0, 4096),
    bodyBytes(identity, 4096, 4096),
    bodyBytes(identity, 4 * 1024 ** 3, 4096),
    bodyBytes(identity, offset, 4096),
  ].map((bytes) => bytes.toString('base64'));
  assert.equal(new Set(texts).size, texts.length);
  assert.equal(bodyByte(identity, offset + 100), bodyBytes(identity, offset, 101)[100]);
});

test('verifyBody() finds the first wrong byte', () => {
  const bytes = bodyBytes(identity, 1000, 50_000);
  assert.equal(verifyBody(bytes, identity, 1000), -1);
  for (const at of [0, 3095, 3096, 49_999]) {
    const wrong = Buffer.from(bytes);
    wrong[at] = (wrong[at]! + 1) % 256;
    assert.equal(verifyBody(wrong, identity, 1000), at);
  }
  assert.equal(verifyBody(bytes, { ...identity, version: 2 }, 1000) < 4, true);
});

test('fillBody() does not compress', () => {
  const counts = new Map<number, number>();
  const bytes = new Uint8Array(256 * 1024);
  fillBody(bytes, identity, 0);
  for (const byte of bytes) counts.set(byte, (counts.get(byte) ?? 0) + 1);
  assert.equal(counts.size, 256);
  assert.ok(Math.max(...counts.values()) < 1200, 'every byte value is about as frequent as any other');
});
