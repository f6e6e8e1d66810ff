/**
 * Reads one record of a list (a service, a route, a group, a node): a map whose keys are named in a table, each with one text, a list of texts, or a
 * node that somebody else reads. Whatever is wrong is a problem, and the rest is still read.
 */
import { countText } from '../base/count-text.ts';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';
import type { ConfigProblem, SourcePlace } from './problem.ts';
import { findSuggestion } from './suggestion.ts';
import type { YamlEntry, YamlNode } from './yaml-tree.ts';

/** A value with the place that it was read from. */
export interface Placed<T> {
  readonly value: T;
  readonly place: SourcePlace;
}

/** What a list of records is called, and how much there may be of it. */
export interface RecordKind {
  /** One of them, for messages: `a route`. */
  readonly word: string;
  /** The keys with their meaning. */
  readonly keys: Readonly<Record<string, string>>;
  readonly countMax: number;
}

/** One record. */
export class RecordReader {
  readonly place: SourcePlace;
  /** Dotted, such as `routes.0`. */
  readonly #key: string;
  readonly #problems: ConfigProblem[];
  readonly #entries = new Map<string, YamlEntry>();

  constructor(
    node: Extract<YamlNode, { kind: 'map' }>,
    about: { readonly key: string; readonly kind: Omit<RecordKind, 'countMax'> },
    problems: ConfigProblem[],
  ) {
    const { key, kind } = about;
    this.place = node.place;
    this.#key = key;
    this.#problems = problems;
    for (const entry of node.entries) {
      if (Object.hasOwn(kind.keys, entry.key)) this.#entries.set(entry.key, entry);
      else {
        const suggestion = findSuggestion(entry.key, Object.keys(kind.keys));
        this.#report({ place: entry.keyPlace, name: entry.key, message: `is not a key of ${kind.word}`, suggestion });
      }
    }
  }

  /** The text of a key as a value; undefined when it is missing or wrong. */
  read<T>(name: string, parse: (text: string) => Parsed<T>): Placed<T> | undefined {
    const node = this.node(name);
    if (node === undefined) return undefined;
    if (node.kind === 'text') return this.#parse(name, node, parse);
    this.#report({ place: node.place, name, message: 'must have one value' });
    return undefined;
  }

  /** As read(), and a problem when it is missing. */
  readRequired<T>(name: string, parse: (text: string) => Parsed<T>): Placed<T> | undefined {
    if (!this.#entries.has(name)) this.#report({ place: this.place, name, message: 'is required' });
    return this.read(name, parse);
  }

  /** The values of a key that has one text or a list of them; undefined when it is missing, of the right ones only when some are wrong. */
  readList<T>(name: string, parse: (text: string) => Parsed<T>, countMax: number): readonly Placed<T>[] | undefined {
    const node = this.node(name);
    if (node === undefined) return undefined;
    const items = node.kind === 'list' ? node.items : [node];
    if (items.length === 0 || items.length > countMax) {
      this.#report({ place: node.place, name, message: `has ${countText(items.length, 'value')}; 1 to ${countMax} are possible` });
      return [];
    }
    return items.flatMap((item) => {
      if (item.kind === 'text') return this.#parse(name, item, parse) ?? [];
      this.#report({ place: item.place, name, message: 'must be one value or a list of values' });
      return [];
    });
  }

  /** The record behind a key; undefined when it is missing or none. */
  readRecord(name: string, kind: Omit<RecordKind, 'countMax'>): RecordReader | undefined {
    const node = this.node(name);
    if (node === undefined || node.kind === 'none') return undefined;
    if (node.kind === 'map') return new RecordReader(node, { key: `${this.#key}.${name}`, kind }, this.#problems);
    this.#report({ place: node.place, name, message: `must be ${kind.word}, with keys of its own` });
    return undefined;
  }

  /** What stands behind a key; undefined when it is missing. */
  node(name: string): YamlNode | undefined {
    return this.#entries.get(name)?.value;
  }

  /** Something is wrong with a key, or with the record. */
  report(name: string | undefined, message: string, suggestion?: string | undefined): void {
    const place = name === undefined ? this.place : (this.node(name)?.place ?? this.place);
    this.#report({ place, name, message, suggestion });
  }

  /** Something is wrong with a part of what stands behind a key. */
  reportAt(place: SourcePlace, name: string, message: string): void {
    this.#report({ place, name, message });
  }

  #parse<T>(name: string, node: Extract<YamlNode, { kind: 'text' }>, parse: (text: string) => Parsed<T>): Placed<T> | undefined {
    const verdict = parse(node.text);
    if (verdict.kind === 'ok') return { value: verdict.value, place: node.place };
    this.#report({ place: node.place, name, message: verdict.message });
    return undefined;
  }

  #report({
    place,
    name,
    message,
    suggestion,
  }: {
    place: SourcePlace;
    name: string | undefined;
    message: string;
    suggestion?: string | undefined;
  }): void {
    this.#problems.push({ source: place.file, place, key: name === undefined ? this.#key : `${this.#key}.${name}`, message, suggestion });
  }
}

/** Reads a list of records. @param key dotted key of the list */
export function readRecords<T>(
  node: YamlNode,
  { key, kind, problems }: { readonly key: string; readonly kind: RecordKind; readonly problems: ConfigProblem[] },
  readOne: (reader: RecordReader, key: string) => T | undefined,
): readonly T[] {
  if (node.kind === 'none') return [];
  const report = (at: YamlNode, place: string, message: string): void => {
    problems.push({ source: at.place.file, place: at.place, key: place, message });
  };
  if (node.kind !== 'list') {
    report(node, key, `must be a list, each item ${kind.word}`);
    return [];
  }
  if (node.items.length > kind.countMax) {
    report(node, key, `has ${node.items.length} items; the limit is ${kind.countMax}`);
    return [];
  }
  if (node.items.length === 0) report(node, key, `is empty; add ${kind.word}`);
  return node.items.flatMap((item, index) => {
    if (item.kind === 'map') return readOne(new RecordReader(item, { key: `${key}.${index}`, kind }, problems), `${key}.${index}`) ?? [];
    report(item, `${key}.${index}`, `must be ${kind.word}, with keys of its own`);
    return [];
  });
}

/** Takes out records whose name an earlier one has. */
export function withoutNamesakes<T extends { readonly name: Placed<string> }>(
  records: readonly T[],
  key: string,
  problems: ConfigProblem[],
): readonly T[] {
  const first = new Map<string, T>();
  for (const record of records) {
    const { value, place } = record.name;
    const earlier = first.get(value);
    if (earlier === undefined) first.set(value, record);
    else {
      const message = `${quoteText(value)} is given twice; the first is in line ${earlier.name.place.line}`;
      problems.push({ source: place.file, place, key, message });
    }
  }
  return [...first.values()];
}

/** A name for logs, metrics and references. */
export function parseName(text: string): Parsed<string> {
  return /^[\w.-]{1,64}$/.test(text)
    ? parsed(text)
    : invalid(`must be 1 to 64 letters, digits, dots, underscores or hyphens, not ${quoteText(text)}`);
}
