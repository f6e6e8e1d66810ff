/** Cache-Status (RFC 9211) and the traces in Via and CDN-Loop. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CacheStatus, formatCacheStatus } from '../../src/http/cache-status.ts';
import { appendCdnLoop, appendVia, countCdnLoop } from '../../src/http/via.ts';

const ROWS: readonly (readonly [CacheStatus, string])[] = [
  [{}, 'rawslice'],
  [{ hit: true, ttlSeconds: 30 }, 'rawslice; hit; ttl=30'],
  [{ hit: true, ttlSeconds: -3.9 }, 'rawslice; hit; ttl=-3'],
  [{ hit: true, forward: 'stale' }, 'rawslice; hit'],
  [{ forward: 'uri-miss', isStored: true, isCollapsed: true }, 'rawslice; fwd=uri-miss; stored; collapsed'],
  [{ forward: 'stale', forwardStatus: 304, ttlSeconds: 60 }, 'rawslice; fwd=stale; fwd-status=304; ttl=60'],
  [{ forward: 'bypass', detail: 'no-store' }, 'rawslice; fwd=bypass; detail=no-store'],
  [{ forward: 'miss', detail: 'disk is "full"\n' }, 'rawslice; fwd=miss; detail="disk is \\"full\\"?"'],
  [{ hit: true, key: 'site/a\\b\xe9' }, 'rawslice; hit; key="site/a\\\\b?"'],
  [{ hit: true, ttlSeconds: Number.NaN }, 'rawslice; hit; ttl=0'],
  [{ hit: true, ttlSeconds: -0.5 }, 'rawslice; hit; ttl=0'],
  [{ hit: true, ttlSeconds: Number.POSITIVE_INFINITY }, 'rawslice; hit; ttl=999999999999999'],
];
for (const [status, text] of ROWS) {
  test(`row 40: ${text} (9211 s2)`, () => assert.equal(formatCacheStatus(status), text));
}

test('row 39: appendVia() adds one member (9110 s7.6.3)', () => {
  assert.equal(appendVia(undefined, '1.1'), '1.1 rawslice');
  assert.equal(appendVia('1.0 fred', '1.1'), '1.0 fred, 1.1 rawslice');
});

test('row 39: CDN-Loop counts only our own identifier (8586 s2)', () => {
  const once = appendCdnLoop(undefined, 'rawslice-7f');
  assert.equal(once, 'rawslice-7f');
  assert.equal(countCdnLoop(undefined, 'rawslice-7f'), 0);
  assert.equal(countCdnLoop(appendCdnLoop('other', 'rawslice-7f'), 'rawslice-7f'), 1);
  assert.equal(countCdnLoop('rawslice-7f; a="x, rawslice-7f", RAWSLICE-7F ;b, rawslice-7f0, rawslice', 'rawslice-7f'), 2);
});
