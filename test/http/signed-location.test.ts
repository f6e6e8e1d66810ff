/** What counts as a signed Location (row 44). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSignedLocation } from '../../src/http/signed-location.ts';

for (const location of [
  'https://s3.example/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0a',
  'https://cdn.example/a?Expires=1&Signature=x&Key-Pair-Id=K',
  'https://blob.example/a?se=2026&sig=x%3D',
  '/a?v=1&token=x',
  '?%74oken=x',
  '//cdn.example/a#access_token=x',
  `/a?b=${'c'.repeat(9000)}`,
]) {
  test(`isSignedLocation(): row 44: ${location.slice(0, 60)} is signed`, () => assert.equal(isSignedLocation(location), true));
}

for (const location of ['/a', '/token/a?v=1', '/a?tokens=1&design=2', 'https://token@a.example/', '', '?#', '%%%?%']) {
  test(`isSignedLocation(): row 44: ${location} is not signed`, () => assert.equal(isSignedLocation(location), false));
}
