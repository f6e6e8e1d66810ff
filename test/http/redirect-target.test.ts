/** Where redirects may lead (RFC 9110 s10.2.2, s15.4). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isRedirect, judgeRedirect } from '../../src/http/redirect-target.ts';

const FROM = { url: 'https://mirror.example/pool/a', configured: 'https://mirror.example' };

const CASES: readonly (readonly [location: string, hosts: readonly string[], expected: string])[] = [
  ['/other', [], 'https://mirror.example /other'],
  ['b?x=1#fragment', [], 'https://mirror.example /pool/b?x=1'],
  ['../../../b', [], 'https://mirror.example /b'],
  ['https://MIRROR.example:443/b', [], 'https://mirror.example /b'],
  ['https://mirror.example:8443/b', [], 'host'],
  ['https://cdn.example/b', [], 'host'],
  ['https://cdn.example/b', ['cdn.example'], 'https://cdn.example /b public'],
  ['https://cdn.example:444/b', ['cdn.example'], 'host'],
  ['https://cdn.example:444/b', ['cdn.example:444'], 'https://cdn.example:444 /b'],
  ['https://cdn.example/b', ['cdn.example:443'], 'https://cdn.example /b'],
  ['https://a.cdn.example/b', ['*.cdn.example'], 'https://a.cdn.example /b public'],
  ['https://cdn.example/b', ['*.cdn.example'], 'host'],
  ['https://evilcdn.example/b', ['*.cdn.example', 'cdn.example'], 'host'],
  ['https://anything.example/b', ['*'], 'https://anything.example /b public'],
  ['http://cdn.example/b', ['*'], 'scheme'],
  ['ftp://cdn.example/b', ['*'], 'scheme'],
  ['javascript:alert(1)', ['*'], 'scheme'],
  ['https://user@cdn.example/b', ['*'], 'malformed'],
  ['https://', ['*'], 'malformed'],
  [`https://cdn.example/${'x'.repeat(9000)}`, ['*'], 'malformed'],
];

for (const [location, hosts, expected] of CASES) {
  test(`row 44: ${location.slice(0, 60)} under [${hosts.join(' ')}]: ${expected}`, () => {
    const verdict = judgeRedirect(location, FROM, { hopsMax: 1, hosts });
    const text =
      verdict.kind === 'refused'
        ? verdict.why
        : `${verdict.target.origin} ${verdict.target.path}${verdict.target.mayBePrivate ? '' : ' public'}`;
    assert.equal(text, expected);
  });
}

test('row 44: from http a redirect may lead to https, and to http', () => {
  const from = { url: 'http://mirror.example/', configured: 'http://mirror.example' };
  for (const location of ['https://cdn.example/', 'http://cdn.example/']) {
    assert.equal(judgeRedirect(location, from, { hopsMax: 1, hosts: ['cdn.example'] }).kind, 'follow');
  }
});

test('row 44: 304 and 300 are no redirects', () => {
  const followed = [200, 300, 301, 302, 303, 304, 305, 306, 307, 308, 404].filter(isRedirect);
  assert.deepEqual(followed, [301, 302, 303, 307, 308]);
});
