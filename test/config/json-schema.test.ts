/** The JSON Schema for editors against the checks of the program, by a validator that others use. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { parse } from 'yaml';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import { loadConfig } from '../../src/config/load.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const BASE = 'device: { path: cache }\nupstream: { url: http://o.test }\n';

// Unknown formats and keywords of ours would be a mistake: strict, but for several types in a row.
const validate = new Ajv({ strict: true, allowUnionTypes: true, strictRequired: false }).compile(configJsonSchema());

function isShapely(text: string): boolean {
  return validate(parse(text));
}

test('every file in config is valid by the schema that it names', () => {
  for (const file of globSync(['config/default.yaml', 'config/examples/*.yaml'], { cwd: ROOT })) {
    const text = readFileSync(path.join(ROOT, file), 'utf8');
    assert.equal(isShapely(text), true, `${file}: ${JSON.stringify(validate.errors)}`);
    const [, named = ''] = /^# yaml-language-server: \$schema=(.*)\n/.exec(text) ?? [];
    assert.deepEqual(JSON.parse(readFileSync(path.resolve(ROOT, path.dirname(file), named), 'utf8')), configJsonSchema(), file);
  }
});

/** Files, and whether they are right in shape: what each thinks of them has to be the same. */
const FILES: readonly (readonly [text: string, isValid: boolean])[] = [
  [BASE, true],
  [`${BASE}limits:\n  # requests: 5\n`, true],
  [`${BASE}rules:\n`, true],
  [`${BASE}log: { access: yes, level: warn }\n`, true],
  [`${BASE}log: { access: 1 }\n`, false],
  [`${BASE}log: { level: loud }\n`, false],
  [`${BASE}nonsense: 1\n`, false],
  [`${BASE}limits: { nonsense: 1 }\n`, false],
  [`${BASE}limits: { requests: 100, headerBytes: 32KiB, headerTimeout: 1m30s }\n`, true],
  [`${BASE}limits: { requests: "100", headerBytes: 32768 }\n`, true],
  [`${BASE}limits: { requests: 0 }\n`, false],
  [`${BASE}limits: { requests: many }\n`, false],
  [`${BASE}limits: { requests: [1] }\n`, false],
  [`${BASE}limits: { headerTimeout: 5 }\n`, false],
  [`${BASE}limits: { headerTimeout: 5 parsecs }\n`, false],
  [`${BASE}limits: { headerBytes: 5 apples }\n`, false],
  [`${BASE}shutdown: { drain: 0 }\n`, true],
  [`${BASE}limits: 5\n`, false],
  [`${BASE}purge: { allow: [127.0.0.1, "::1"] }\n`, true],
  [`${BASE}purge: { token: short }\n`, false],
  [`${BASE}listen: 8080\n`, false],
  [`${BASE}listen: "[::1]:8080"\n`, true],
  [`${BASE}upgrade: [websocket, chat/2]\n`, true],
  [`${BASE}upgrade: { a: b }\n`, false],
  ['device: { path: [a, b] }\nupstream: { url: ftp://o.test }\n', false],
  [`${BASE}rules: [{ name: a, prefix: /x, freshFor: 1d, immutable: true }]\n`, true],
  [`${BASE}rules: [{ name: a, freshFor: 1d }]\n`, false],
  [`${BASE}rules: [{ name: a, prefix: /x, match: x }]\n`, false],
  [`${BASE}rules: [{ prefix: /x }]\n`, false],
  [`${BASE}rules: { name: a }\n`, false],
  [`${BASE}rules: [{ name: a, prefix: /x, store: sometimes }]\n`, false],
  [`${BASE}routes: [{ name: a, host: [a.test, "*.b.test"], methods: GET, stripPrefix: /x, prefix: /x/y }]\n`, true],
  [`${BASE}routes: [{ name: a, hots: a.test }]\n`, false],
  [`${BASE}routes: [{ host: a.test }]\n`, false],
  [`${BASE}routes: []\n`, false],
  [`${BASE}routes: { name: a }\n`, false],
  [`${BASE}routes: [{ name: a, methods: get }]\n`, false],
  [`${BASE}services: [{ name: a, listen: 127.0.0.1:1, tlsMinVersion: 1.3, certificates: [{ cert: a, key: b }] }]\n`, true],
  [`${BASE}services: [{ name: a, listen: 127.0.0.1:1, trustedProxies: 10.0.0.0/8, forwardedField: forwarded }]\n`, true],
  [`${BASE}services: [{ name: a, listen: 127.0.0.1:1, trustedProxies: 10.0.0.0/8, forwardedField: x-real-ip }]\n`, false],
  [`${BASE}services: [{ name: a }]\n`, false],
  [`${BASE}services: [{ name: a, listen: 127.0.0.1:1, certificates: [{ cert: a }] }]\n`, false],
  [`${BASE}services: [{ name: a, listen: 127.0.0.1:1, certificates: [{ cert: a, key: b }], tlsMinVersion: 1.1 }]\n`, false],
  [
    'device: { path: a }\nupstreams: [{ name: a, nodes: [{ url: "http://a.test", weight: 3 }], balance: ketama, hashOn: header X-A, outlier: { failures: 3 } }]\n',
    true,
  ],
  ['device: { path: a }\nupstreams: [{ name: a, nodes: [{ url: "http://a.test" }], healthCheck: { type: tcp, interval: 1s } }]\n', true],
  ['device: { path: a }\nupstreams: [{ name: a, nodes: [{ url: "http://a.test" }], healthCheck: { status: [200, 300-399] } }]\n', true],
  ['device: { path: a }\nupstreams: [{ name: a, nodes: [{ url: "http://a.test" }], healthCheck: { type: udp } }]\n', false],
  ['device: { path: a }\nupstreams: [{ name: a, nodes: [{ url: "http://a.test" }], balance: fair }]\n', false],
  ['device: { path: a }\nupstreams: [{ name: a, nodes: [{ weight: 1 }] }]\n', false],
  ['device: { path: a }\nupstreams: [{ name: a, nodes: [{ url: "http://a.test", weight: 0 }] }]\n', false],
  ['device: { path: a }\nupstreams: [{ name: a, nodes: [{ url: "http://a.test" }], retries: 11 }]\n', false],
];

test('what config check refuses for its shape the schema refuses, and takes what it takes', async () => {
  await withTemporaryDirectory(async (folder) => {
    const file = path.join(folder, 'edge.yaml');
    for (const [text, isValid] of FILES) {
      await writeFile(file, text);
      assert.equal(loadConfig({ file, environment: {} }).kind, isValid ? 'ok' : 'invalid', `config check: ${text}`);
      assert.equal(isShapely(text), isValid, `the schema: ${text} ${JSON.stringify(validate.errors)}`);
    }
  });
});
