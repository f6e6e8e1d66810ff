/** Which Content-Type contradicts which extension. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contradictsPath } from '../../src/cache/content-deception.ts';
import { judgeResponse } from '../../src/cache/response-policy.ts';
import { PLAIN_RULE, type SiteRule } from '../../src/cache/site-rule.ts';
import type { FieldList } from '../../src/http/header-fields.ts';

const CONTRADICTIONS: readonly (readonly [path: string, type: string])[] = [
  ['/account.php/x.css', 'text/html'],
  ['/account.php/x.css', 'Text/HTML; charset=utf-8'],
  ['/account/x.CSS', 'application/json'],
  ['/account;x.css', 'text/html'],
  ['/account%2Fx.css', 'text/html'],
  ['/account/.css', 'text/html'],
  ['/a.html.js', 'text/html'],
  ['/a.js', 'application/json'],
  ['/a.css', 'text/css-page'],
  ['/a.css', 'text/css, text/html'],
  ['/a.png', 'text/html'],
  ['/a.svg', 'text/html'],
  ['/a.mp4', 'image/png'],
  ['/a.woff2', 'text/html'],
  ['/a.pdf', 'text/html'],
  ['/a.deb', 'text/html'],
  ['/a.tar.gz', 'application/xhtml+xml'],
  ['/a.iso', 'application/json'],
  ['/a.zip', 'application/problem+json; x=y'],
];
for (const [path, type] of CONTRADICTIONS) {
  test(`contradictsPath(): ${type} is no answer for ${path}`, () => {
    assert.equal(contradictsPath(path, [['content-type', type]]), true);
  });
}

const AGREEMENTS: readonly (readonly [path: string, type: string | undefined])[] = [
  ['/a.css', 'text/css; charset=utf-8'],
  ['/a.css', 'TEXT/CSS'],
  ['/a.css', undefined],
  ['/a.css', ''],
  ['/a.css', 'application/octet-stream'],
  ['/a.js', 'application/javascript'],
  ['/a.mjs', 'text/javascript'],
  ['/a.svg', 'image/svg+xml'],
  ['/a.ico', 'image/vnd.microsoft.icon'],
  ['/a.mp4', 'video/mp4'],
  ['/a.ogg', 'application/ogg'],
  ['/a.woff', 'application/font-woff'],
  ['/a.pdf', 'application/pdf'],
  ['/Packages.gz', 'text/plain'],
  ['/primary.xml.zst', 'text/xml'],
  ['/a.deb', 'application/vnd.debian.binary-package'],
  ['/a.apk', 'text/plain'],
  ['/a.iso', 'application/x-iso9660-image'],
  // Nothing is known of these.
  ['/', 'text/html'],
  ['/a.css/', 'text/html'],
  ['/a.css/b', 'text/html'],
  ['/css', 'text/html'],
  ['/a.html', 'text/html'],
  ['/a.json', 'text/html'],
  ['/a.constructor', 'text/html'],
];
for (const [path, type] of AGREEMENTS) {
  test(`contradictsPath(): ${type ?? 'no type'} is no contradiction to ${path}`, () => {
    assert.equal(contradictsPath(path, type === undefined ? [] : [['content-type', type]]), false);
  });
}

const PAGE: FieldList = [
  ['content-type', 'text/html'],
  ['cache-control', 'max-age=60'],
  ['etag', '"a"'],
];
const IMMUTABLE: SiteRule = { ...PLAIN_RULE, isImmutable: true };
const JUDGED: readonly (readonly [what: string, rule: SiteRule, status: number, reason: string | undefined])[] = [
  ['immutable', IMMUTABLE, 200, 'content-type'],
  ['a part', IMMUTABLE, 206, 'content-type'],
  ['freshFor', { ...PLAIN_RULE, freshForMs: 1 }, 200, 'content-type'],
  ['freshFor 0', { ...PLAIN_RULE, freshForMs: 0 }, 200, undefined],
  ['the word of the origin', PLAIN_RULE, 200, undefined],
  ['turned off', { ...IMMUTABLE, checksContentType: false }, 200, undefined],
  ['what is missing is a page', { ...IMMUTABLE, missingFreshForMs: 1000 }, 404, undefined],
  ['a redirect', IMMUTABLE, 301, undefined],
];
for (const [what, rule, status, reason] of JUDGED) {
  test(`judgeResponse(): a page under the path of a style sheet, ${what}: ${reason ?? 'stored'}`, () => {
    const response = {
      requestFields: [],
      status,
      fields: PAGE,
      requestTimeMs: 0,
      responseTimeMs: 0,
      rule,
      siteName: 's',
      path: '/a/x.css',
    };
    const verdict = judgeResponse(response);
    assert.equal(verdict.kind === 'store' ? undefined : verdict.reason, reason);
  });
}
