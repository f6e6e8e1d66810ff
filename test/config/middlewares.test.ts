/** Middlewares in a configuration: what their options mean, what is wrong with them and where, and how they are shown. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { loadEdgeConfig } from '../../src/app/load-config.ts';
import { listEffectiveOptions } from '../../src/config/effective-options.ts';
import { type LoadResult, loadConfig } from '../../src/config/load.ts';
import { formatProblem } from '../../src/config/problem.ts';

const FOLDER = mkdtempSync(path.join(tmpdir(), 'rawslice-middlewares-'));
const FILE = path.join(FOLDER, 'edge.yaml');
const BASE = 'device: { path: cache.img }\nupstream: { url: http://127.0.0.1:9 }\n';

after(() => rmSync(FOLDER, { recursive: true }));

function load(text: string): LoadResult {
  writeFileSync(FILE, BASE + text);
  return loadEdgeConfig({ file: FILE, environment: {} });
}

function problemsOf(text: string): readonly string[] {
  const result = load(text);
  if (result.kind === 'ok') return [];
  return result.problems.map((problem) => formatProblem(problem).replaceAll(`${FOLDER}/`, '').split('\n')[0] ?? '');
}

/** What is wrong with a module whose default export is this. */
function moduleProblem(name: string, source: string): string {
  writeFileSync(path.join(FOLDER, name), source);
  const [problem = 'none'] = problemsOf(`middlewares: [{ name: m, use: ./${name} }]\n`);
  return problem.replace(/^edge.yaml:3:\d+: middlewares.0.use: names [^,]*, /, '');
}

test('without services and routes all middlewares hold, else those that are named', () => {
  const list = `middlewares:\n  - { name: a, use: access, options: { deny: 10.0.0.1 } }\n  - { name: b, use: redirect, options: { to: /x } }\n`;
  const short = load(list);
  assert.ok(short.kind === 'ok');
  assert.deepEqual(short.config.routes[0]?.middlewares, ['a', 'b']);
  const long = load(`${list}services: [{ name: s, listen: 127.0.0.1:1, middlewares: [b] }]\nroutes: [{ name: r, middlewares: a }]\n`);
  assert.ok(long.kind === 'ok');
  assert.deepEqual([long.config.services[0]?.middlewares, long.config.routes[0]?.middlewares], [['b'], ['a']]);
  const shown = listEffectiveOptions(long.config, long.sources).filter(({ key }) => /^(middlewares|services|routes)\./.test(key));
  assert.deepEqual(
    shown.map(({ key, value }) => `${key}: ${value}`),
    [
      'routes.r: middlewares a, upstream default, sliceSize 1MiB, upgrade websocket',
      'middlewares.a: access, timeout 2s, deny 10.0.0.1',
      'middlewares.b: redirect, timeout 2s, to /x',
      'services.s: listen 127.0.0.1:1, routes r, middlewares b',
    ],
  );
});

test('everything that is wrong is named, each with its place', () => {
  const text = `middlewares:
  - { name: a, use: acces }
  - name: b
    use: access
    options: { alow: 10.0.0.0/8, deny: [10.0.0.0/40] }
  - { name: c, use: access }
  - { name: d, use: headers, options: { setResponse: { "a b": x, content-length: "5" }, setRequest: [x] } }
  - { name: e, use: headers, options: { setResponse: { etag: x }, setRequest: { host: y } } }
  - { name: f, use: redirect, options: { to: "https://x$1", status: 200 } }
  - { name: g, use: redirect, options: { to: "https://x$1/" } }
  - { name: h, use: cors, options: { origins: ["*"], credentials: true, maxAge: 9d } }
  - { name: i, use: cors, options: { origins: ["*", app.example], credentials: true } }
  - { name: j, use: headers, options: { setRequest: { x-key: y } }, timeout: 2h }
  - { name: j, use: access, options: x }
  - { name: k, use: headers, options: { setRequest: { x-key: y } } }
services: [{ name: s, listen: 127.0.0.1:1, middlewares: [k, a, a] }]
routes: [{ name: r, middlewares: [b, c, d, e, f, g, h, i, jj] }]
`;
  assert.deepEqual(problemsOf(text), [
    'edge.yaml:4:21: middlewares.0.use: must be one of headers, access, cors, redirect, or the path of a module such as ./acces.ts, not "acces"; did you mean access?',
    'edge.yaml:7:16: middlewares.1.options.alow: is not a key of these options; did you mean allow?',
    'edge.yaml:7:41: middlewares.1.options.deny: must be networks such as 192.0.2.0/24 or 2001:db8::/32, or single addresses, not "10.0.0.0/40"',
    'edge.yaml:8:5: middlewares.2.options: let everybody in; give allow or deny',
    'edge.yaml:9:63: middlewares.3.options.setResponse.a b: must be the name of a header field, not "a b"',
    'edge.yaml:9:101: middlewares.3.options.setRequest: must be a map, such as `{ name: value }`',
    'edge.yaml:10:54: middlewares.4.options.setResponse: names etag, which this program writes itself',
    'edge.yaml:10:79: middlewares.4.options.setRequest: names host, which this program writes itself',
    'edge.yaml:11:69: middlewares.5.options.status: must be one of 301, 302, 303, 307, 308, not "200"',
    'edge.yaml:12:46: middlewares.6.options.to: must be a path or a URL whose host is written out or {host}, followed by a path',
    'edge.yaml:12:46: middlewares.6.options.to: has parts of match, and there is no match',
    'edge.yaml:13:81: middlewares.7.options.maxAge: must be 1d at most, not "9d"',
    'edge.yaml:14:47: middlewares.8.options.origins: must be origins such as https://app.example, without path, not "app.example"',
    'edge.yaml:14:80: middlewares.8.options.credentials: cannot be beside the origin *: browsers refuse that, and it would be everybody',
    'edge.yaml:15:13: middlewares.9.name: is named by no service and no route, so it does nothing; name it in their middlewares',
    'edge.yaml:15:78: middlewares.9.timeout: must be between 1ms and 1m, not "2h"',
    'edge.yaml:16:13: middlewares: "j" is given twice; the first is in line 15',
    'edge.yaml:16:38: middlewares.10.options: must be a map of options',
    'edge.yaml:18:58: services.s.middlewares: names "k", which changes what the origin is told and so what is stored; name it in routes',
    'edge.yaml:18:64: services.s.middlewares: names "a" twice',
    'edge.yaml:19:59: routes.r.middlewares: names "jj", and there is no middleware of that name; did you mean j?',
  ]);
});

test("a module of one's own is loaded by its path from the file, and what is none is named", () => {
  assert.match(moduleProblem('empty.ts', ''), /^which has no default export that is a middleware$/);
  assert.match(moduleProblem('syntax.ts', 'export default {'), /^which cannot be loaded: SyntaxError/);
  assert.match(moduleProblem('throws.ts', 'throw new Error("no");'), /^which cannot be loaded: Error: no$/);
  assert.match(moduleProblem('waits.ts', 'await 1;\nexport default {};'), /^which awaits something while it is loaded/);
  assert.match(
    moduleProblem('old.ts', 'export default { interfaceVersion: 0 };'),
    /^which is written for interface version 0; this program has 1$/,
  );
  assert.match(moduleProblem('bare.ts', 'export default { interfaceVersion: 1 };'), /^whose default export has no function create$/);
  const wrong = (options: string, more = ''): string =>
    `export default { interfaceVersion: 1, create: () => ({}), options: ${options}, ${more} };`;
  assert.match(
    moduleProblem('kind.ts', wrong('{ a: { kind: "number", meaning: "x" } }')),
    /^of which option a has an unknown kind "number"$/,
  );
  assert.match(
    moduleProblem('default.ts', wrong('{ a: { kind: "count", meaning: "x", default: "y" } }')),
    /^of which the default of option a must be a whole number/,
  );
  assert.match(moduleProblem('events.ts', wrong('{}', 'events: ["A B"]')), /^whose events are not 16 words at most/);
  assert.deepEqual(problemsOf('middlewares: [{ name: m, use: ./none.ts }]\n'), [
    'edge.yaml:3:31: middlewares.0.use: names none.ts, which cannot be read',
  ]);
  writeFileSync(path.join(FOLDER, 'check.ts'), wrong('{}', 'check() { throw new Error("why not"); }'));
  assert.deepEqual(problemsOf('middlewares: [{ name: m, use: ./check.ts }]\n'), [
    'edge.yaml:3:15: middlewares.0.options: cannot be checked by the module: why not',
  ]);
});

test('every kind of option reaches a module as its value; secrets are shown nowhere', () => {
  const kinds = 'text secret count boolean duration size rate pattern file upstream texts networks fields names weights'.split(' ');
  const rows = kinds.map((kind) => `${kind}: { kind: "${kind}", meaning: "x" }`).join(', ');
  const options = `{ ${rows}, choice: { kind: "choice", choices: ["a", "b"], default: "b", meaning: "x" }, none: { kind: "text", meaning: "x" } }`;
  writeFileSync(path.join(FOLDER, 'kinds.ts'), `export default { interfaceVersion: 1, create: () => ({}), options: ${options} };`);
  const loaded = load(`middlewares:
  - name: m
    use: ./kinds.ts
    options: { text: 010, secret: abcdefgh, count: 7, boolean: yes, duration: 1h, size: 1MiB, rate: 2k/s, pattern: ^/a, file: keys.txt, upstream: default, texts: [a, b], networks: 10.0.0.1, fields: { X-A: b }, names: [X-A], weights: { default: 5 } }
`);
  assert.ok(loaded.kind === 'ok', JSON.stringify(loaded));
  const [middleware] = loaded.config.middlewares;
  const { pattern, ...others } = middleware?.options ?? {};
  assert.deepEqual(others, {
    text: '010',
    secret: 'abcdefgh',
    count: 7,
    boolean: true,
    duration: 3_600_000,
    size: 1_048_576,
    rate: 2048,
    file: path.join(FOLDER, 'keys.txt'),
    upstream: 'default',
    texts: ['a', 'b'],
    networks: [{ address: '10.0.0.1', prefixBits: 32, family: 'ipv4' }],
    fields: [['x-a', 'b']],
    names: ['x-a'],
    weights: [['default', 5]],
    choice: 'b',
    none: undefined,
  });
  assert.equal(String(pattern), '/^\\/a/u');
  assert.deepEqual(middleware?.upstreams, ['default', 'default']);
  assert.equal(JSON.stringify(middleware?.shown).includes('abcdefgh'), false);
});

test('middlewares are for files, and nothing is known of modules where none are given', () => {
  writeFileSync(FILE, `${BASE}middlewares: [{ name: m, use: access }]\n`);
  const result = loadConfig({ file: FILE, environment: {} });
  assert.ok(result.kind === 'invalid');
  const flag = loadConfig({ environment: {}, overrides: [['middlewares.0', 'x', 'flag']] });
  assert.ok(flag.kind === 'invalid' && flag.problems.some(({ message }) => message === 'can be given in a file only'));
});
