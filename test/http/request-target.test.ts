/** Request targets (RFC 9112 s3.2, RFC 3986 s6.2.2): one form for each resource, never one form for two. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAX_TARGET_BYTES, parseRequestTarget, type TargetFault } from '../../src/http/request-target.ts';

const VALID: readonly (readonly [string, string, string | undefined])[] = [
  ['/', '/', undefined],
  ['/a/b.deb', '/a/b.deb', undefined],
  ['/a?', '/a', ''],
  ['/a?b=c&d', '/a', 'b=c&d'],
  ['/a?b?c/../d', '/a', 'b?c/../d'],
  ['/%7euser/%41', '/~user/A', undefined],
  ['/a%2fb', '/a%2Fb', undefined],
  ['/a%2Fb?x=%2f%7E', '/a%2Fb', 'x=%2F~'],
  ['/a%3fb', '/a%3Fb', undefined],
  ['/a%25%34%31', '/a%2541', undefined],
  ['/a%00', '/a%00', undefined],
  ['/caf\xc3\xa9', '/caf%C3%A9', undefined],
  ['/a/./b/../c', '/a/c', undefined],
  ['/a/b/..', '/a/', undefined],
  ['/a/.', '/a/', undefined],
  ['/../../x', '/x', undefined],
  ['/a/%2e%2E/b', '/b', undefined],
  ['/a/..%2fb', '/a/..%2Fb', undefined],
  ['//a//b', '//a//b', undefined],
  ['/.well-known/x', '/.well-known/x', undefined],
  ['/a/...', '/a/...', undefined],
  ['/a;p=1', '/a;p=1', undefined],
  ['/a|b[c]', '/a|b[c]', undefined],
  ['/a?x=%zz%41', '/a', 'x=%zz%41'],
];
for (const [target, path, query] of VALID) {
  test(`row 51: ${target} -> ${path} ? ${query} (3986 s6.2.2)`, () => {
    assert.deepEqual(parseRequestTarget(target, 'example.com'), { kind: 'ok', path, query, host: 'example.com' });
  });
}

const INVALID: readonly (readonly [string, string | undefined, TargetFault])[] = [
  ['', 'h', 'form'],
  ['*', 'h', 'form'],
  ['a/b', 'h', 'form'],
  ['example.com:443', 'h', 'form'],
  ['ftp://h/', 'h', 'form'],
  ['/a b', 'h', 'character'],
  ['/a\tb', 'h', 'character'],
  ['/a\x7f', 'h', 'character'],
  ['/a#b', 'h', 'character'],
  ['/a\u0100', 'h', 'character'],
  ['/a%', 'h', 'percent-encoding'],
  ['/a%4', 'h', 'percent-encoding'],
  ['/a%gg', 'h', 'percent-encoding'],
  [`/${'a'.repeat(MAX_TARGET_BYTES)}`, 'h', 'too-long'],
  ['/', '', 'host'],
  ['/', 'a b', 'host'],
  ['/', 'a, b', 'host'],
  ['/', 'user@h', 'host'],
  ['/', 'h:80:80', 'host'],
  ['/', 'h:x', 'host'],
  ['/', 'h/x', 'host'],
  ['http://user@h/', 'h', 'host'],
  ['http:///x', 'h', 'host'],
];
for (const [target, host, why] of INVALID) {
  test(`row 51: ${JSON.stringify(target.slice(0, 40))} for ${host} is refused: ${why} (9112 s3.2)`, () => {
    assert.deepEqual(parseRequestTarget(target, host), { kind: 'invalid', why });
  });
}

const HOSTS: readonly (readonly [string, string | undefined, string | undefined])[] = [
  ['/', 'EXAMPLE.com', 'example.com'],
  ['/', 'example.com:80', 'example.com'],
  ['/', 'example.com:', 'example.com'],
  ['/', 'example.com:8080', 'example.com:8080'],
  ['/', 'example.com.', 'example.com'],
  ['/', 'example.com.:080', 'example.com'],
  ['/', 'example.com:08080', 'example.com:8080'],
  ['/', '[::1]:8080', '[::1]:8080'],
  ['/', undefined, undefined],
  ['http://Other.org/', 'example.com', 'other.org'],
  ['HTTP://other.org:80/', undefined, 'other.org'],
  ['https://other.org:443/', 'example.com', 'other.org'],
  ['https://other.org:80/', 'example.com', 'other.org:80'],
];
for (const [target, hostHeader, host] of HOSTS) {
  test(`row 51: ${target} with Host ${hostHeader} is for ${host} (9112 s3.2.2, 9110 s4.2.3)`, () => {
    const parsed = parseRequestTarget(target, hostHeader);
    assert.equal(parsed.kind === 'ok' ? parsed.host : 'refused', host);
  });
}

test('row 51: absolute-form without a path is / (9110 s4.2.3)', () => {
  assert.deepEqual(parseRequestTarget('http://h?x', undefined), { kind: 'ok', path: '/', query: 'x', host: 'h' });
});
