/**
 * The cases that a slicing cache must get right, by number and section. Each has a scenario against real sockets that names it (`row 48 (...)`),
 * and README, *Compliance*, tells what is done otherwise than the letter. This file keeps the three together.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const ROOT = path.resolve(import.meta.dirname, '..');

/** By row number, from 1. RFC 9110 unless another is named. */
const ROWS: readonly (readonly [what: string, section: string])[] = [
  ['Range only on GET; HEAD ignores it', '14.2, 9.3.2'],
  ['unknown unit, malformed Range', '14.2, 14.1.1'],
  ['last byte past the end', '14.1.2'],
  ['open end', '14.1.2'],
  ['suffixes', '14.1.2'],
  ['first after last', '14.1.1'],
  ['416', '15.5.17, 14.4'],
  ['zero length', '14.1.2, 14.2'],
  ['several ranges', '15.3.7.2, 14.6'],
  ['one satisfiable range left of several', '15.3.7.2'],
  ['overlapping, many, unordered ranges', '14.2, 17.15'],
  ['fields of a 206', '15.3.7'],
  ['206 without total', '14.4'],
  ['Content-Range missing or not what was asked', '14.4, 15.3.7'],
  ['an origin that ignores Range', '14.2'],
  ['parts are joined under a strong validator only', '9111 3.4'],
  ['weak tags', '8.8.1, 8.8.3.2'],
  ['Last-Modified as strong', '8.8.2.2'],
  ['If-Range', '13.1.5'],
  ['order of preconditions', '13.2.2'],
  ['conditions answered from the cache', '9111 4.3.2'],
  ['what a 304 updates', '9111 3.2, 4.3.4'],
  ['validation that brings another version', '9111 4.3.3'],
  ['5xx on validation', '9111 4.3.3, 4.2.4'],
  ['HEAD freshens', '9111 4.3.5'],
  ['incomplete bodies', '9111 3.3'],
  ['unknown length', '9112 6.3, 7.1'],
  ['framing that contradicts itself', '9112 6.3, 11.2'],
  ['encoded content and ranges', '8.4, 14.1.2'],
  ['Accept-Encoding', '12.5.3'],
  ['Vary', '9111 4.1'],
  ['Authorization', '9111 3.5'],
  ['Set-Cookie', '9111 7.3'],
  ['no-store, private, no-cache, must-understand', '9111 5.2.2'],
  ['freshness', '9111 4.2'],
  ['CDN-Cache-Control', '9213'],
  ['request directives', '9111 5.2.1'],
  ['Age and Date', '9111 5.1, 4.2.3'],
  ['Via and fields of the connection', '7.6.1, 7.6.3'],
  ['Cache-Status, Proxy-Status', '9211, 9209'],
  ['stale-while-revalidate', '5861 3'],
  ['stale-if-error', '5861 4'],
  ['immutable', '8246'],
  ['redirects', '15.4'],
  ['404 and 410', '15.1'],
  ['unsafe methods', '9111 4.4'],
  ['OPTIONS, TRACE, CONNECT, unknown methods', '9.3'],
  ['the origin changes while slices are filled', '9111 3.4'],
  ['clients that leave', '9112 9.6'],
  ['1xx', '15.2, 10.1.1'],
  ['targets in their normal form', '4.2.3, 7.1'],
  ['Accept-Ranges', '14.3'],
  ['digests', '9530'],
  ['trailers', '6.5'],
  ['cache groups', '9875'],
  ['HTTP/1.0', '9112 9.3'],
  ['very large sizes', '14.1.2'],
  ['stale and in part', '9111 4.3.1, 3.4'],
];

test('every case has a scenario that names it', () => {
  const named = new Map<number, string>();
  for (const file of globSync('test/scenario/**/*.test.ts', { cwd: ROOT })) {
    for (const [, list = ''] of readFileSync(path.join(ROOT, file), 'utf8').matchAll(/\brows? ((?:\d+(?:, | and )?)+)/g)) {
      for (const [number] of list.matchAll(/\d+/g)) named.set(Number(number), file);
    }
  }
  const missing = ROWS.map(([what, section], index) => ({ row: index + 1, what, section })).filter(({ row }) => !named.has(row));
  assert.deepEqual(missing, []);
  const unknown = [...named.keys()].filter((row) => row < 1 || row > ROWS.length);
  assert.deepEqual(unknown, [], 'rows that the table does not have');
});

test('README tells the deviations, each with its section', () => {
  const readme = readFileSync(path.join(ROOT, 'README.md'), 'utf8');
  const part = /\n## Compliance\n([\s\S]*?)\n## /.exec(readme)?.[1];
  assert.ok(part !== undefined, 'the README has a part called Compliance');
  const deviations = [...part.matchAll(/^- (.*(?:\n {2}.*)*)/gm)].map(([, text = '']) => text);
  assert.ok(deviations.length > 0);
  for (const text of deviations) assert.match(text, /RFC \d{4}/, `which section? ${text}`);
});
