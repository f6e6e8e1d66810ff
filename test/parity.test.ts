/**
 * Tables that stand in two places say the same: options in the code, in config/default.yaml and in README.md; errors in the code and in
 * README.md; metrics in the code and in METRICS.md. Where it fails, `npm run docs` or the default file needs a hand.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ERRORS } from '../src/base/errors.ts';
import { listOptions, OPTION_KEYS } from '../src/config/options.ts';
import { OPTION_SCHEMA } from '../src/config/schema.ts';
import { parseYamlTree } from '../src/config/yaml-tree.ts';
import { collectMetrics, GENERATED_PAGES, renderParts, renderSchema, SCHEMA_FILE, updatePage } from '../tools/generated-docs.ts';

const ROOT = path.resolve(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8');

test('npm run docs would change nothing', async () => {
  const parts = renderParts(await collectMetrics(ROOT));
  // Not equal(): it would print both pages.
  assert.ok(read(SCHEMA_FILE) === renderSchema(), `${SCHEMA_FILE} is out of date: npm run docs`);
  for (const page of GENERATED_PAGES) assert.ok(updatePage(read(page), parts) === read(page), `${page} is out of date: npm run docs`);
});

test('README.md and METRICS.md have every row, and no row that the code does not have', async () => {
  const readme = read('README.md');
  const codes = [...readme.matchAll(/^\| `([A-Z_]+)` \|/gm)].map((match) => match[1]);
  assert.deepEqual(codes, Object.keys(ERRORS));
  const options = [...readme.matchAll(/^\| `([\w.]+)` \|.*`RAWSLICE_/gm)].map((match) => match[1]);
  assert.deepEqual(options, OPTION_KEYS);
  const names = [...read('METRICS.md').matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1]);
  const metrics = [...(await collectMetrics(ROOT)).values()].flat().map((row) => row.name);
  assert.deepEqual(names, metrics);
});

test('metric names are unique and end in their unit', async () => {
  const rows = [...(await collectMetrics(ROOT)).values()].flat();
  assert.equal(new Set(rows.map((row) => row.name)).size, rows.length);
  for (const row of rows) {
    assert.match(row.name, /^rawslice_[a-z_]+$/);
    assert.equal(row.name.endsWith('_total'), row.kind === 'counter', `${row.name} is a ${row.kind}`);
  }
});

test('the schema has the keys of the option table', () => {
  assert.deepEqual(Object.keys(OPTION_SCHEMA.shape).sort(), [...OPTION_KEYS].sort());
});

test('config/default.yaml has every option; those in comments show their default', () => {
  const names = new Set(OPTION_KEYS.map((key) => key.slice(key.lastIndexOf('.') + 1)));
  const lines = read('config/default.yaml').split('\n');
  const commented = new Set<number>();
  const uncommented = lines.map((line, index) => {
    const match = /^( *)# ((\w+):.*)$/.exec(line);
    if (match === null || !names.has(match[3] ?? '')) return line;
    commented.add(index + 1);
    return `${match[1]}${match[2]}`;
  });
  const { root, problems } = parseYamlTree(uncommented.join('\n'), 'config/default.yaml');
  assert.deepEqual(problems, []);
  assert.ok(root?.kind === 'map');
  const shown = new Map<string, string | undefined>();
  for (const { key, keyPlace, value } of root.entries) {
    const nested =
      value.kind === 'map' ? value.entries.map((entry) => ({ ...entry, key: `${key}.${entry.key}` })) : [{ key, keyPlace, value }];
    for (const entry of nested) {
      const text = entry.value.kind === 'text' ? entry.value.text : undefined;
      shown.set(entry.key, commented.has(entry.keyPlace.line) ? text : 'given');
    }
  }
  assert.deepEqual([...shown.keys()].sort(), [...OPTION_KEYS].sort());
  for (const [key, row] of listOptions()) if (shown.get(key) !== 'given') assert.equal(shown.get(key), row.default, key);
});

test('every error code is in use', () => {
  const files = globSync('{src,tools}/**/*.ts', { cwd: ROOT }).filter((file) => file !== 'src/base/errors.ts');
  const code = files.map(read).join('\n');
  assert.deepEqual(
    Object.keys(ERRORS).filter((name) => !code.includes(`'${name}'`)),
    [],
  );
});
