/**
 * Reads the options of a module from a configuration by the module's own table (base/module-options.ts), with the text forms of all other options, so
 * that what is wrong has its place in the file. Called by middleware-plan.ts and for balancers of one's own.
 */
import path from 'node:path';
import type { AnyOptions, ModuleOption, ModuleOptionKind, OptionTable, OptionValuesByKind } from '../base/module-options.ts';
import { parseDuration } from './duration.ts';
import { parseNetworks } from './network.ts';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';
import type { ConfigProblem } from './problem.ts';
import { type RecordKind, RecordReader } from './record-reader.ts';
import { parseBoolean, parseChoice } from './schema.ts';
import { parsePattern } from './site-rules.ts';
import { parseSize } from './size.ts';
import type { YamlNode } from './yaml-tree.ts';

/** What references in options are looked up in, and where files begin. */
export interface OptionSurroundings {
  /** Names of upstream groups. */
  readonly groups: readonly string[];
  /** Folder of the configuration. */
  readonly folder: string;
}

/** Options that were read. */
export interface ReadOptions {
  readonly values: AnyOptions;
  /** As they are shown: names with the text that holds, secrets without. */
  readonly shown: readonly string[];
  /** Upstream groups that they name. */
  readonly upstreams: readonly string[];
}

type AnyValue = OptionValuesByKind[ModuleOptionKind];

const TEXT_CHARACTERS_MAX = 4096;
const ITEMS_MAX = 256;
const WEIGHT_MAX = 1000;
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/;
const FIELD_VALUE = /^[\t\x20-\x7e]*$/;
const SECRET = /^[\x21-\x7e]{8,512}$/;

/**
 * Reads options.
 *
 * @param node the map, or undefined where there is none
 * @param about.key dotted key of the map
 */
export function readModuleOptions(
  node: Extract<YamlNode, { kind: 'map' }>,
  about: { readonly key: string; readonly table: OptionTable; readonly surroundings: OptionSurroundings },
  problems: ConfigProblem[],
): ReadOptions {
  const { key, table, surroundings } = about;
  const kind: Omit<RecordKind, 'countMax'> = {
    word: 'these options',
    keys: Object.fromEntries(Object.entries(table).map(([name, { meaning }]) => [name, meaning])),
  };
  const record = new RecordReader(node, { key, kind }, problems);
  const values: Record<string, AnyValue | undefined> = {};
  const shown: string[] = [];
  const upstreams: string[] = [];
  for (const [name, option] of Object.entries(table)) {
    const read = readOption(record, name, { option, surroundings });
    const value = read?.value ?? defaultOf(option);
    if (value === undefined && option.isRequired === true && record.node(name) === undefined) record.report(name, 'is required');
    values[name] = value;
    if (read !== undefined) shown.push(`${name} ${option.kind === 'secret' ? '(set)' : read.text}`);
    if (option.kind === 'upstream' && typeof value === 'string') upstreams.push(value);
    if (option.kind === 'weights' && isPairs(value)) upstreams.push(...value.map(([group]) => group));
  }
  return { values, shown, upstreams };
}

/** What is wrong with an option's row itself; a module from outside may say anything there. */
export function findTableFault(table: OptionTable): string | undefined {
  for (const [name, option] of Object.entries(table)) {
    if (!/^[a-z][A-Za-z0-9]{0,63}$/.test(name)) return `option ${quoteText(name)} is no name such as maxLength`;
    if (!(option.kind in PARSERS) && !(option.kind in READERS))
      return `option ${name} has an unknown kind ${quoteText(String(option.kind))}`;
    if (typeof option.meaning !== 'string') return `option ${name} has no meaning`;
    if (option.kind === 'choice' && (option.choices?.length ?? 0) === 0) return `option ${name} has no choices`;
    if (option.default === undefined) continue;
    const parse = PARSERS[option.kind];
    const verdict = parse === undefined ? invalid('cannot have a default') : parse(option.default, option);
    if (verdict.kind === 'invalid') return `the default of option ${name} ${verdict.message}`;
  }
  return undefined;
}

interface ReadOption {
  readonly value: AnyValue;
  readonly text: string;
}

interface OptionPlace {
  readonly option: ModuleOption;
  readonly surroundings: OptionSurroundings;
}

function readOption(record: RecordReader, name: string, { option, surroundings }: OptionPlace): ReadOption | undefined {
  const special = READERS[option.kind];
  if (special !== undefined) return special(record, name, surroundings);
  const parse = PARSERS[option.kind];
  const read = parse && record.read(name, (text) => parse(text, option));
  return read === undefined ? undefined : { value: read.value, text: textOf(record, name) };
}

function defaultOf(option: ModuleOption): AnyValue | undefined {
  if (option.default === undefined) return undefined;
  const verdict = PARSERS[option.kind]?.(option.default, option);
  return verdict?.kind === 'ok' ? verdict.value : undefined;
}

/** Kinds that are one text, whatever stands around. */
const PARSERS: Readonly<Partial<Record<ModuleOptionKind, (text: string, option: ModuleOption) => Parsed<AnyValue>>>> = {
  text: parseText,
  secret: (text) => (SECRET.test(text) ? parsed(text) : invalid('must be 8 to 512 visible ASCII characters without spaces')),
  boolean: parseBoolean,
  pattern: parsePattern,
  choice: (text, { choices = [] }) => parseChoice(text, choices),
  count: (text, option) => within(text, option, parseCount),
  duration: (text, option) => within(text, option, parseDuration),
  size: (text, option) => within(text, option, parseSize),
  rate: (text, option) => within(text, option, parseRate),
};

type Reader = (record: RecordReader, name: string, surroundings: OptionSurroundings) => ReadOption | undefined;

/** The others. */
const READERS: Readonly<Partial<Record<ModuleOptionKind, Reader>>> = {
  file: (record, name, { folder }) => {
    const value = record.read(name, parseText)?.value;
    return value === undefined ? undefined : { value: path.resolve(folder, value), text: value };
  },
  upstream: (record, name, { groups }) => {
    const value = record.read(name, (text) => parseGroup(text, groups))?.value;
    return value === undefined ? undefined : { value, text: value };
  },
  texts: (record, name) => readList(record, name, parseText),
  names: (record, name) => readList(record, name, parseFieldName),
  networks: (record, name) => {
    const lists = record.readList(name, parseNetworks, ITEMS_MAX);
    return lists === undefined ? undefined : { value: lists.flatMap(({ value }) => value), text: textOf(record, name) };
  },
  fields: (record, name) => readPairs(record, name, (field, text) => parseField(field, text)),
  weights: (record, name, { groups }) => readPairs(record, name, (group, text) => parseWeight(group, text, groups)),
};

function readList(record: RecordReader, name: string, parse: (text: string) => Parsed<string>): ReadOption | undefined {
  const list = record.readList(name, parse, ITEMS_MAX);
  return list === undefined ? undefined : { value: list.map(({ value }) => value), text: textOf(record, name) };
}

/** A map whose keys are data. */
function readPairs<Pair extends readonly [string, string] | readonly [string, number]>(
  record: RecordReader,
  name: string,
  parse: (key: string, text: string) => Parsed<Pair>,
): ReadOption | undefined {
  const node = record.node(name);
  if (node === undefined) return undefined;
  if (node.kind !== 'map' || node.entries.length === 0) {
    record.report(name, 'must be a map, such as `{ name: value }`');
    return undefined;
  }
  const pairs: Pair[] = [];
  for (const { key, keyPlace, value } of node.entries) {
    const verdict = value.kind === 'text' ? parse(key, value.text) : invalid('must have one value');
    if (verdict.kind === 'ok') pairs.push(verdict.value);
    else record.reportAt(value.kind === 'none' ? keyPlace : value.place, `${name}.${key}`, verdict.message);
  }
  // Of one kind, as their parser is.
  const value = pairs as readonly (readonly [string, string])[] | readonly (readonly [string, number])[];
  return { value: value as AnyValue, text: textOf(record, name) };
}

function parseText(text: string): Parsed<string> {
  return text !== '' && text.length <= TEXT_CHARACTERS_MAX
    ? parsed(text)
    : invalid(`must be a text of 1 to ${TEXT_CHARACTERS_MAX} characters`);
}

function parseCount(text: string): Parsed<number> {
  const trimmed = text.trim();
  return /^\d{1,15}$/.test(trimmed) ? parsed(Number(trimmed)) : invalid(`must be a whole number, not ${quoteText(text)}`);
}

function parseRate(text: string): Parsed<number> {
  const size = /\/s$/.test(text.trim()) ? parseSize(text.trim().slice(0, -2)) : undefined;
  return size?.kind === 'ok' ? size : invalid(`must be a rate such as 2MiB/s or 500k/s, not ${quoteText(text)}`);
}

function within(text: string, { min, max }: ModuleOption, parse: (text: string) => Parsed<number>): Parsed<number> {
  const verdict = parse(text);
  if (verdict.kind === 'invalid') return verdict;
  const [least, most] = [min, max].map((bound) => (bound === undefined ? undefined : parse(bound)));
  const isBelow = least?.kind === 'ok' && verdict.value < least.value;
  const isAbove = most?.kind === 'ok' && verdict.value > most.value;
  if (!isBelow && !isAbove) return verdict;
  const bounds = max === undefined ? `${min} at least` : min === undefined ? `${max} at most` : `between ${min} and ${max}`;
  return invalid(`must be ${bounds}, not ${quoteText(text)}`);
}

function parseGroup(text: string, groups: readonly string[]): Parsed<string> {
  const name = text.trim();
  return groups.includes(name)
    ? parsed(name)
    : invalid(`is ${quoteText(name)}, and there is no upstream group of that name (${groups.join(', ')})`);
}

function parseFieldName(text: string): Parsed<string> {
  const name = text.trim();
  return FIELD_NAME.test(name) ? parsed(name.toLowerCase()) : invalid(`must be the name of a header field, not ${quoteText(text)}`);
}

function parseField(name: string, text: string): Parsed<readonly [string, string]> {
  const field = parseFieldName(name);
  if (field.kind === 'invalid') return field;
  const value = text.trim();
  return FIELD_VALUE.test(value) ? parsed([field.value, value]) : invalid('must be a value of visible ASCII characters, spaces and tabs');
}

function parseWeight(group: string, text: string, groups: readonly string[]): Parsed<readonly [string, number]> {
  const name = parseGroup(group, groups);
  if (name.kind === 'invalid') return name;
  const weight = /^\d{1,4}$/.test(text.trim()) ? Number(text) : Number.NaN;
  return weight <= WEIGHT_MAX ? parsed([name.value, weight]) : invalid(`must be a weight from 0 to ${WEIGHT_MAX}, not ${quoteText(text)}`);
}

function isPairs(value: unknown): value is readonly (readonly [string, unknown])[] {
  return Array.isArray(value);
}

function textOf(record: RecordReader, name: string): string {
  const node = record.node(name);
  return node === undefined ? '' : flowText(node);
}

function flowText(node: YamlNode): string {
  switch (node.kind) {
    case 'none':
      return '';
    case 'text':
      return node.text;
    case 'list':
      return `[${node.items.map(flowText).join(', ')}]`;
    case 'map':
      return `{ ${node.entries.map(({ key, value }) => `${key}: ${flowText(value)}`).join(', ')} }`;
  }
}
