/**
 * Enforces the table of layers in ARCHITECTURE.md: who may import whom, which packages belong to which layer, no cycles, and no file that
 * nothing reaches. The rules have tests of their own on wrong skeletons.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const ROOT = path.resolve(import.meta.dirname, '..');

interface Layer {
  readonly height: number;
  readonly folder: string;
  readonly mayImport: readonly string[] | 'everything below';
  readonly packages: readonly string[];
}

/** Text of each file by its path from the root. */
type Sources = ReadonlyMap<string, string>;

function readLayers(page: string): readonly Layer[] {
  return [...page.matchAll(/^\| (\d) \| `([a-z/]+)` \|[^|]*\| ([^|]*) \|([^|]*)\|$/gm)].map((row) => {
    const words = (cell: string | undefined): readonly string[] =>
      (cell ?? '')
        .split(',')
        .map((word) => word.trim())
        .filter((word) => word !== '');
    const mayImport =
      row[3] === 'everything below'
        ? row[3]
        : words(row[3])
            .filter((word) => word !== 'node builtins')
            .map((word) => `src/${word}`);
    return { height: Number(row[1]), folder: (row[2] ?? '').replace(/\/$/, ''), mayImport, packages: words(row[4]) };
  });
}

function importsOf(text: string): readonly string[] {
  const pattern =
    /^(?:import|export)\s[\w*{}\s,$]*?from\s+'([^']+)'|^import\s+'([^']+)'|\bimport\(\s*'([^']+)'|\bnew Worker\(new URL\('([^']+)'/gm;
  return [...text.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? match[4] ?? '');
}

/** Files of the project that `file` imports. */
function neighboursOf(file: string, sources: Sources): readonly string[] {
  return importsOf(sources.get(file) ?? '')
    .filter((name) => name.startsWith('.'))
    .map((name) => path.join(path.dirname(file), name));
}

function layerOf(file: string, layers: readonly Layer[]): Layer | undefined {
  return layers.find(({ folder }) => file.startsWith(`${folder}/`));
}

function findForbiddenImports(sources: Sources, layers: readonly Layer[]): readonly string[] {
  const found: string[] = [];
  for (const [file, text] of sources) {
    if (!/^(src|tools)\//.test(file)) continue;
    const layer = layerOf(file, layers);
    if (layer === undefined) {
      found.push(`${file} is in no folder of the table in ARCHITECTURE.md`);
      continue;
    }
    for (const name of importsOf(text)) {
      // The scripts that install packages have to load what they install.
      if (name.startsWith('node:') || file.endsWith('.mjs')) continue;
      if (!name.startsWith('.')) {
        if (!layer.packages.some((known) => name === known || name.startsWith(`${known}/`)))
          found.push(`${file} imports the package ${name}, which is not one of ${layer.folder}`);
        continue;
      }
      const target = path.join(path.dirname(file), name);
      if (target.endsWith('.json')) continue;
      if (!sources.has(target)) found.push(`${file} imports ${target}, which does not exist`);
      const other = layerOf(target, layers);
      const isAllowed =
        other !== undefined &&
        (other === layer ||
          (layer.mayImport === 'everything below' ? other.height < layer.height : layer.mayImport.includes(other.folder)));
      if (!isAllowed) found.push(`${file} imports ${target}; ${layer.folder} may import ${String(layer.mayImport)}`);
    }
  }
  return found;
}

function findCycles(sources: Sources): readonly string[] {
  const found: string[] = [];
  const finished = new Set<string>();
  const visit = (file: string, trail: readonly string[]): void => {
    if (trail.includes(file)) found.push(`cycle: ${[...trail.slice(trail.indexOf(file)), file].join(' -> ')}`);
    if (finished.has(file) || trail.includes(file)) return;
    for (const next of neighboursOf(file, sources)) visit(next, [...trail, file]);
    finished.add(file);
  };
  for (const file of sources.keys()) visit(file, []);
  return found;
}

function findUnreached(sources: Sources, entries: readonly string[]): readonly string[] {
  const reached = new Set<string>();
  const queue = [...entries];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (reached.has(file)) continue;
    reached.add(file);
    queue.push(...neighboursOf(file, sources));
  }
  return (
    [...sources.keys()]
      // Declarations of types are found by the compiler, not by imports.
      .filter((file) => !reached.has(file) && !file.endsWith('.d.ts'))
      .map((file) => `${file} is reached from no entry point; wire it or remove it`)
  );
}

/** The program and the scripts of package.json. */
function isProgramEntry(file: string): boolean {
  return (
    file === 'tools/cli.ts' ||
    file === 'tools/run-tests.ts' ||
    file === 'tools/update-docs.ts' ||
    /^(tools\/[^/]+\.mjs|bench\/.*)$/.test(file)
  );
}

function readSources(): Sources {
  const files = globSync(['src/**/*.{ts,mjs}', 'tools/**/*.{ts,mjs}', 'bench/**/*.{ts,mjs}', 'test/**/*.{ts,mjs}'], { cwd: ROOT }).sort();
  return new Map(files.map((file) => [file, readFileSync(path.join(ROOT, file), 'utf8')]));
}

const LAYERS = readLayers(readFileSync(path.join(ROOT, 'ARCHITECTURE.md'), 'utf8'));

test('ARCHITECTURE.md has a table of layers', () => {
  assert.ok(LAYERS.length >= 14, `only ${LAYERS.length} layers were found`);
  assert.deepEqual(
    LAYERS.find(({ folder }) => folder === 'src/config'),
    { height: 2, folder: 'src/config', mayImport: ['src/base'], packages: ['yaml', 'zod'] },
  );
});

test('imports follow the table of layers', () => {
  assert.deepEqual(findForbiddenImports(readSources(), LAYERS), []);
});

test('there are no import cycles', () => {
  assert.deepEqual(findCycles(readSources()), []);
});

// What only a test reaches is not part of the program.
test('every file is reached from a program, or in test/ from a test', () => {
  const sources = readSources();
  const files = [...sources.keys()];
  const ofProgram = findUnreached(sources, files.filter(isProgramEntry)).filter((text) => !text.startsWith('test/'));
  const ofTests = findUnreached(
    sources,
    files.filter((file) => file.endsWith('.test.ts')),
  ).filter((text) => text.startsWith('test/'));
  assert.deepEqual([...ofProgram, ...ofTests], []);
});

test('the rules find what is wrong with a skeleton', () => {
  const wrong: Sources = new Map([
    ['src/base/clock.ts', "import { x } from '../store/index.ts';\nimport express from 'express';\nimport fs from 'node:fs';\n"],
    ['src/store/index.ts', "import {\n  type Entry,\n} from './entry.ts';\nimport 'undici/lib';\n"],
    ['src/store/entry.ts', "export { y } from './index.ts';\nconst z = await import('../http/range.ts');\n"],
    ['src/http/range.ts', "import { gone } from './gone.ts';\n"],
    ['src/stray.ts', ''],
    ['tools/cli.ts', "import { Command } from 'commander';\nimport { x } from '../src/store/index.ts';\n"],
  ]);
  assert.deepEqual(findForbiddenImports(wrong, LAYERS), [
    'src/base/clock.ts imports src/store/index.ts; src/base may import ',
    'src/base/clock.ts imports the package express, which is not one of src/base',
    'src/store/index.ts imports the package undici/lib, which is not one of src/store',
    'src/store/entry.ts imports src/http/range.ts; src/store may import src/device,src/format,src/memory,src/base',
    'src/http/range.ts imports src/http/gone.ts, which does not exist',
    'src/stray.ts is in no folder of the table in ARCHITECTURE.md',
  ]);
  assert.deepEqual(findCycles(wrong), ['cycle: src/store/index.ts -> src/store/entry.ts -> src/store/index.ts']);
  assert.deepEqual(findUnreached(wrong, ['tools/cli.ts']), [
    'src/base/clock.ts is reached from no entry point; wire it or remove it',
    'src/stray.ts is reached from no entry point; wire it or remove it',
  ]);
});
