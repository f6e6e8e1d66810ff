/** Keys: unambiguous, bounded, hashed. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { cacheKey, hostOfKey, keySiteName, MAX_KEY_BYTES, siteNameOf } from '../../src/cache/cache-key.ts';

test('cacheKey() is site, path and query, and the first 128 bits of its SHA-256', () => {
  const key = cacheKey({ siteName: 'debian', path: '/pool/a.deb', query: 'x=1' });
  assert.equal(key?.keyText, 'debian/pool/a.deb?x=1');
  assert.equal(key?.objectHash, createHash('sha256').update('debian/pool/a.deb?x=1').digest('hex').slice(0, 32));
});

test('row 51: no query and an empty query are two resources (3986 s6.2.3)', () => {
  assert.notEqual(
    cacheKey({ siteName: 's', path: '/', query: undefined })?.keyText,
    cacheKey({ siteName: 's', path: '/', query: '' })?.keyText,
  );
});

test('a key that the record cannot hold is no key', () => {
  const path = `/${'a'.repeat(MAX_KEY_BYTES - 2)}`;
  assert.equal(cacheKey({ siteName: 's', path, query: undefined })?.keyText.length, MAX_KEY_BYTES);
  assert.equal(cacheKey({ siteName: 's', path: `${path}a`, query: undefined }), undefined);
  assert.equal(cacheKey({ siteName: 's', path, query: '' }), undefined);
});

test('a site name that would make keys ambiguous is a mistake of the program', () => {
  assert.throws(() => cacheKey({ siteName: 'a/b', path: '/', query: undefined }), { name: 'AssertionFailure' });
  assert.throws(() => cacheKey({ siteName: 'a', path: '/?', query: undefined }), { name: 'AssertionFailure' });
});

test('keySiteName() has the host where the origin is told it, else the site alone', () => {
  const site = { name: 'mirror~1', authority: 'origin:81', preservesHost: true };
  for (const [host, name] of [
    ['a.example:8080', 'mirror~1@a.example:8080'],
    ['[::1]', 'mirror~1@[::1]'],
    [undefined, 'mirror~1@origin:81'],
  ] as const) {
    assert.equal(keySiteName(site, host), name);
    assert.equal(siteNameOf(`${name}/x@y/z`), name);
    assert.equal(hostOfKey(`${name}/x@y/z`), host ?? 'origin:81');
    assert.equal(keySiteName({ ...site, preservesHost: false }, host), 'mirror~1');
  }
  assert.equal(hostOfKey('mirror~1/x@y'), undefined);
});
