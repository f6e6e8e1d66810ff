/**
 * Fails on what hides defects, each time with the replacement in the message; reports, without failing, what is worth a look: long functions
 * and files, synonyms of glossary words, exports without a docstring, `as` outside of codecs. Works on text, without a parser.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const ROOT = path.resolve(import.meta.dirname, '..');

interface TidyRule {
  readonly pattern: RegExp;
  readonly instead: string;
  readonly isExempt: (file: string) => boolean;
  /** Look at comments too. */
  readonly seesComments?: true;
}

const nowhere = (): boolean => false;
const only =
  (pattern: RegExp) =>
  (file: string): boolean =>
    !pattern.test(file);

const RULES: readonly TidyRule[] = [
  {
    pattern: /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b|\bset(Timeout|Interval)\b|\bAbortSignal\.timeout\b|node:timers/,
    instead: 'take a Clock (src/base/clock.ts)',
    isExempt: (file) => file === 'src/base/clock.ts',
  },
  {
    pattern: /\bMath\.random\b|\brandomUUID\b|\brandomBytes\b|\brandomInt\b|\brandomFill\w*\b|\bgetRandomValues\b/,
    instead: 'take a Random (src/base/random.ts)',
    isExempt: (file) => file === 'src/base/random.ts',
  },
  { pattern: /\bconsole\s*\./, instead: 'use the logger, in tools the terminal', isExempt: nowhere },
  { pattern: /\bprocess\.env\b/, instead: 'make it an option (src/config)', isExempt: (file) => /^(src\/config|tools)\//.test(file) },
  {
    pattern: /\bBuffer\.alloc(Unsafe(Slow)?)?\(/,
    instead: 'lease a slot of the arena: O_DIRECT needs page-aligned memory',
    isExempt: only(/^src\/(device|store)\//),
  },
  {
    pattern: /(offset|position|address|Bytes)\w*\)?\s(>>>?|<<)=?\s|\b\w*(offset|position|Bytes)\)?\s*\|\s*(?!undefined|null|string|\|)\w/i,
    instead: 'bitwise operators cut to 32 bits: use divFloor, divCeil or alignUp (src/base/units.ts)',
    isExempt: nowhere,
  },
  { pattern: /(:\s*|<|\bas\s+|=>\s*|,\s*)any\b(?!\s*[:(.])/, instead: 'say the type, or take unknown and look', isExempt: nowhere },
  { pattern: /^export default\b|^export \* from\b/m, instead: 'export by name, from the file itself', isExempt: nowhere },
  { pattern: /@ts-(ignore|nocheck|expect-error)/, instead: 'fix the type', isExempt: nowhere, seesComments: true },
  { pattern: /\b(FIXME|XXX|HACK|TODO)\b/, instead: 'do it, or say in the comment what holds now', isExempt: nowhere, seesComments: true },
];

/** Glossary synonyms that are ordinary words too, and so prove nothing. */
const ORDINARY_WORDS = new Set(['file', 'version', 'delete', 'segment', 'alternate', 'region']);
const FUNCTION_LINES_MAX = 70;
const FILE_LINES_MAX = 500;

interface SourceText {
  readonly file: string;
  readonly text: string;
  /** Comments and the insides of quotes blanked; lines stay where they are. */
  readonly code: string;
}

function toSourceText(file: string, text: string): SourceText {
  const code = text.replace(/'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (part) =>
    part.replace(/[^\n]/g, ' '),
  );
  return { file, text, code };
}

function readSources(): readonly SourceText[] {
  return globSync(['src/**/*.ts', 'tools/**/*.ts'], { cwd: ROOT })
    .sort()
    .map((file) => toSourceText(file, readFileSync(path.join(ROOT, file), 'utf8')));
}

function lineOf(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}

function findOffences(source: SourceText): readonly string[] {
  return RULES.filter((rule) => !rule.isExempt(source.file)).flatMap((rule) => {
    const pattern = new RegExp(rule.pattern.source, `${rule.pattern.flags}g`);
    return [...(rule.seesComments === true ? source.text : source.code).matchAll(pattern)].map(
      (match) => `${source.file}:${lineOf(source.code, match.index)}: \`${match[0].trim()}\`: ${rule.instead}`,
    );
  });
}

function findCasts(source: SourceText): readonly string[] {
  if (source.file.startsWith('src/format/') || source.file === 'src/base/metrics.ts') return [];
  const code = source.code.replace(/^(import|export)\s[\w*{}\s,$]*?from\b/gm, (part) => part.replace(/[^\n]/g, ' '));
  return [...code.matchAll(/[\w)\]}]\s+as\s+(?!const\b)\w+/g)].map(
    (match) => `${source.file}:${lineOf(code, match.index)}: a cast, \`${match[0].trim()}\``,
  );
}

/** Relies on the formatter: a function ends at the brace that stands as far in as its first line. */
function findLongFunctions(source: SourceText): readonly string[] {
  const lines = source.code.split('\n');
  return lines.flatMap((line, index) => {
    const indent =
      /^(\s*)(?:export |async |static |override |private |get |set )*(?:function\b|[#\w]+(?:<[^>]*>)?\(|const \w+ = .*=> \{$)/.exec(
        line,
      )?.[1];
    if (indent === undefined || /^\s*(if|for|while|switch|return)\b/.test(line)) return [];
    const length = lines.slice(index).findIndex((other) => other === `${indent}}` || other === `${indent}};`) + 1;
    return length > FUNCTION_LINES_MAX ? [`${source.file}:${index + 1}: a function of ${length} lines`] : [];
  });
}

function findBareExports(source: SourceText): readonly string[] {
  const lines = source.text.split('\n');
  return lines.flatMap((line, index) => {
    const name = /^export (?:async |abstract )?(?:function|class|interface|type|const) (\w+)/.exec(line)?.[1];
    return name === undefined || (lines[index - 1] ?? '').trimEnd().endsWith('*/')
      ? []
      : [`${source.file}:${index + 1}: ${name} has no docstring`];
  });
}

function readSynonyms(page: string): readonly string[] {
  const glossary = page.slice(page.indexOf('## Glossary'));
  return [...glossary.matchAll(/^\|[^|]*\|[^|]*\| ([^|]*) \|$/gm)]
    .flatMap((row) => (row[1] ?? '').split(','))
    .map((word) => word.trim())
    .filter((word) => /^[a-z]+$/.test(word) && word !== 'not' && !ORDINARY_WORDS.has(word));
}

function findSynonyms(source: SourceText, synonyms: readonly string[]): readonly string[] {
  return synonyms.flatMap((word) => {
    const match = new RegExp(`(?<![a-z])${word}(?![a-z])|[a-z]${word.slice(0, 1).toUpperCase()}${word.slice(1)}(?![a-z])`).exec(
      source.code,
    );
    return match === null ? [] : [`${source.file}:${lineOf(source.code, match.index)}: ${word} is not the glossary's word`];
  });
}

test('nothing stands in the code that hides defects', () => {
  assert.deepEqual(readSources().flatMap(findOffences), []);
});

test('a report of what is worth a look (never fails)', (context) => {
  const sources = readSources();
  const synonyms = readSynonyms(readFileSync(path.join(ROOT, 'ARCHITECTURE.md'), 'utf8'));
  const longFiles = sources
    .filter(({ text }) => text.split('\n').length > FILE_LINES_MAX)
    .map(({ file }) => `${file}: more than ${FILE_LINES_MAX} lines`);
  const found = [
    ...longFiles,
    ...sources.flatMap(findLongFunctions),
    ...sources.flatMap((source) => findSynonyms(source, synonyms)),
    ...sources.flatMap(findBareExports),
    ...sources.flatMap(findCasts),
  ];
  for (const line of found) context.diagnostic(line);
});

test('the rules find what is untidy and leave alone what is not', () => {
  const offences = (file: string, text: string): readonly string[] =>
    findOffences(toSourceText(file, text)).map((line) => /`(.*)`/.exec(line)?.[1] ?? '');
  assert.deepEqual(offences('src/store/x.ts', "// Date.now\nconst a = 'Math.random';\nconst b = Date.now();\n"), ['Date.now']);
  assert.deepEqual(offences('src/base/clock.ts', 'setTimeout(f, 1);\n'), []);
  assert.deepEqual(offences('src/store/x.ts', 'const a = Buffer.alloc(4);\n'), ['Buffer.alloc(']);
  assert.deepEqual(offences('src/http/x.ts', 'const a = Buffer.alloc(4);\n'), []);
  assert.deepEqual(offences('src/store/x.ts', 'a = offsetBytes >> 3;\nb = endBytes | 1;\n'), ['offsetBytes >>', 'endBytes | 1']);
  assert.deepEqual(
    offences('src/store/x.ts', 'type A = { offsetBytes: number | undefined; b: Bytes | undefined };\nif (aBytes || bBytes) f();\n'),
    [],
  );
  assert.deepEqual(offences('src/store/x.ts', 'function f(a: any): Map<any, b> {}\n'), [': any', '<any']);
  assert.deepEqual(offences('src/store/x.ts', 'if (list.any()) f(any.thing);\n/* FIXME later */\n'), ['FIXME']);
  assert.deepEqual(
    findCasts(toSourceText('src/store/x.ts', "import {\n  a as b,\n} from 'c';\nconst d = [1] as const;\nconst e = d as unknown;\n"))
      .length,
    1,
  );
  const long = `export function f(): void {\n${'  g();\n'.repeat(80)}}\n`;
  assert.deepEqual(findLongFunctions(toSourceText('src/store/x.ts', long)), ['src/store/x.ts:1: a function of 82 lines']);
  assert.deepEqual(findBareExports(toSourceText('src/store/x.ts', '/** A. */\nexport type A = 1;\nexport const B = 2;\n')), [
    'src/store/x.ts:3: B has no docstring',
  ]);
  assert.deepEqual(findSynonyms(toSourceText('src/store/x.ts', 'const myFragment = 1;\n'), ['fragment']).length, 1);
});
