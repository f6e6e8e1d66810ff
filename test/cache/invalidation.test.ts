/** What unsafe methods leave invalid: which statuses, which methods, and which references are this site's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { invalidResources, isSafeMethod } from '../../src/cache/invalidation.ts';
import type { FieldList } from '../../src/http/header-fields.ts';
import { resolveReference } from '../../src/http/uri-reference.ts';

const TARGET = { path: '/a/b', query: 'q', host: 'cdn.example' };

function invalid(fields: FieldList, more: { method?: string; status?: number; basePath?: string } = {}): string[] {
  const { method = 'POST', status = 200, basePath = '' } = more;
  const resources = invalidResources({ method, target: TARGET, status, fields, origin: { authority: 'origin.example:8080', basePath } });
  return resources.map(({ cause, path, query }) => `${cause} ${path}${query === undefined ? '' : `?${query}`}`);
}

test('row 46 (RFC 9111 s4.4): a 2xx or 3xx to any method that is not known to be safe invalidates the target', () => {
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'MKCOL', 'M-SEARCH', 'PURGEIT'])
    for (const status of [200, 201, 204, 299, 301, 303, 399]) assert.deepEqual(invalid([], { method, status }), ['target /a/b?q'], method);
  for (const status of [100, 199, 400, 404, 409, 500, 503, 599]) assert.deepEqual(invalid([], { status }), [], String(status));
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'REPORT', 'SEARCH', 'QUERY']) {
    assert.equal(isSafeMethod(method), true);
    assert.deepEqual(invalid([['location', '/x']], { method }), [], method);
  }
});

test('row 46 (RFC 9111 s4.4): Location and Content-Location count at this host only', () => {
  const cases: readonly (readonly [reference: string, named: readonly string[]])[] = [
    ['/x', ['/x']],
    ['/x?y=1#part', ['/x?y=1']],
    ['x', ['/a/x']],
    ['../x', ['/x']],
    ['?y', ['/a/b?y']],
    ['', ['/a/b?q']],
    ['http://cdn.example/x', ['/x']],
    ['https://CDN.example:443/%78', ['/x']],
    ['//cdn.example/x', ['/x']],
    ['http://origin.example:8080/x', ['/x']],
    ['http://origin.example/x', []],
    ['http://cdn.example:81/x', []],
    ['http://other.example/x', []],
    ['//other.example/x', []],
    ['http://cdn.example@other.example/x', []],
    ['ftp://cdn.example/x', []],
    ['urn:x', []],
    ['/x y', []],
    ['/%zz', []],
  ];
  for (const [reference, named] of cases) {
    for (const name of ['location', 'content-location'] as const) {
      const expected = ['target /a/b?q', ...named.map((path) => `${name} ${path}`)];
      assert.deepEqual(invalid([[name, reference]]), expected, `${name}: ${reference}`);
    }
  }
  const both = invalid([
    ['content-location', '/c'],
    ['location', '/l'],
    ['location', '/second'],
  ]);
  assert.deepEqual(both, ['target /a/b?q', 'location /l', 'content-location /c']);
});

test("a base path is the origin's own: with it and without it", () => {
  const base = { basePath: '/base' };
  assert.deepEqual(invalid([['location', '/base/x']], base), ['target /a/b?q', 'location /base/x', 'location /x']);
  assert.deepEqual(invalid([['location', '/basement']], base), ['target /a/b?q', 'location /basement']);
});

test('references are resolved as RFC 3986 s5.4 shows', () => {
  const base = { path: '/b/c/d;p', query: 'q' };
  const cases: readonly (readonly [string, string])[] = [
    ['g', '/b/c/g'],
    ['./g', '/b/c/g'],
    ['g/', '/b/c/g/'],
    ['/g', '/g'],
    ['?y', '/b/c/d;p?y'],
    ['g?y', '/b/c/g?y'],
    ['#s', '/b/c/d;p?q'],
    [';x', '/b/c/;x'],
    ['.', '/b/c/'],
    ['./', '/b/c/'],
    ['..', '/b/'],
    ['../g', '/b/g'],
    ['../..', '/'],
    ['../../../g', '/g'],
    ['/./g', '/g'],
    ['g;x=1/../y', '/b/c/y'],
    ['g?y/../x', '/b/c/g?y/../x'],
  ];
  for (const [reference, expected] of cases) {
    const target = resolveReference(reference, base);
    assert.equal(`${target?.path}${target?.query === undefined ? '' : `?${target.query}`}`, expected, reference);
  }
});
