/**
 * YAML text as a tree of texts with places. Scalars keep the text that was written (`010`, `1h`, `true`), because this program's own text
 * forms decide what they mean, not YAML's; aliases, tags and odd keys are refused. Never throws: whatever is wrong is a problem.
 */
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Pair, parseDocument } from 'yaml';
import { quoteText } from './parsed.ts';
import type { ConfigProblem, SourcePlace } from './problem.ts';

/** A node. `none`: nothing was written (or `null`). */
export type YamlNode =
  | { readonly kind: 'text'; readonly text: string; readonly place: SourcePlace }
  | { readonly kind: 'none'; readonly place: SourcePlace }
  | { readonly kind: 'list'; readonly items: readonly YamlNode[]; readonly place: SourcePlace }
  | { readonly kind: 'map'; readonly entries: readonly YamlEntry[]; readonly place: SourcePlace };

/** One key of a map with its value. */
export interface YamlEntry {
  readonly key: string;
  readonly keyPlace: SourcePlace;
  readonly value: YamlNode;
}

/** Configuration nests three deep; what goes beyond this is a mistake or an attack. */
const DEPTH_MAX = 8;
/** Keys of one map; so that the problems with a file that is no configuration stay few. */
const KEYS_MAX = 100;
/** Faults of syntax that are reported; after the first few they follow from one another. */
const FAULTS_MAX = 20;
/** Of the parser's words on one fault. */
const FAULT_CHARACTERS_MAX = 120;

/**
 * Parses one YAML document.
 *
 * @param file name for places
 * @returns `root` is undefined when the text is not YAML or holds something that is refused; then there is at least one problem
 */
export function parseYamlTree(
  text: string,
  file: string,
): { readonly root: YamlNode | undefined; readonly problems: readonly ConfigProblem[] } {
  const reader = new YamlReader(text, file);
  const root = reader.read();
  return { root: reader.problems.length === 0 ? root : undefined, problems: reader.problems };
}

class YamlReader {
  readonly problems: ConfigProblem[] = [];
  readonly #text: string;
  readonly #file: string;
  readonly #lines: readonly string[];
  readonly #counter = new LineCounter();

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
    this.#lines = text.split(/\r\n|\n/);
  }

  read(): YamlNode | undefined {
    let document: Document.Parsed;
    try {
      // Its own search for repeated keys takes seconds on a large map; #convert looks for them.
      document = parseDocument(this.#text, { lineCounter: this.#counter, prettyErrors: false, logLevel: 'silent', uniqueKeys: false });
    } catch (error) {
      // The parser recurses; on hostile nesting the stack runs out. Everything else it says through `errors`.
      this.#report(this.#place(0, 1), `cannot be parsed: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
    for (const fault of [...document.errors, ...document.warnings].slice(0, FAULTS_MAX)) {
      this.#report(this.#place(fault.pos[0], fault.pos[1]), describeFault(fault.message));
    }
    if (this.problems.length > 0) return undefined;
    return this.#convert(document.contents, this.#place(0, 1), 0);
  }

  #convert(node: unknown, fallback: SourcePlace, depth: number): YamlNode {
    const place = this.#placeOf(node) ?? fallback;
    if (depth > DEPTH_MAX) {
      this.#report(place, 'is nested too deeply');
      return { kind: 'none', place };
    }
    if (isMap(node)) return { kind: 'map', place, entries: this.#convertEntries(node.items, place, depth) };
    if (isSeq(node)) return { kind: 'list', place, items: node.items.map((item) => this.#convert(item, place, depth + 1)) };
    if (isAlias(node)) this.#report(place, 'is an alias; write the value out');
    if (!isScalar(node) || node.value === null) return { kind: 'none', place };
    return { kind: 'text', place, text: node.source ?? String(node.value) };
  }

  #convertEntries(pairs: readonly Pair<unknown, unknown>[], fallback: SourcePlace, depth: number): readonly YamlEntry[] {
    if (pairs.length > KEYS_MAX) {
      this.#report(fallback, `has ${pairs.length} keys; the limit is ${KEYS_MAX}`);
      return [];
    }
    const first = new Map<string, SourcePlace>();
    return pairs.map(({ key, value }) => {
      const entry = this.#convertEntry(key, value, fallback, depth);
      const earlier = first.get(entry.key);
      if (earlier === undefined) first.set(entry.key, entry.keyPlace);
      else this.#report(entry.keyPlace, `${quoteText(entry.key)} is given twice; the first is in line ${earlier.line}`);
      return entry;
    });
  }

  #convertEntry(key: unknown, value: unknown, fallback: SourcePlace, depth: number): YamlEntry {
    const keyPlace = this.#placeOf(key) ?? fallback;
    const name = isScalar(key) ? (key.source ?? String(key.value)) : undefined;
    if (name === undefined) this.#report(keyPlace, 'must have plain text as its key');
    return { key: name ?? '', keyPlace, value: this.#convert(value, keyPlace, depth + 1) };
  }

  #placeOf(node: unknown): SourcePlace | undefined {
    if (!(isScalar(node) || isMap(node) || isSeq(node) || isAlias(node)) || !node.range) return undefined;
    return this.#place(node.range[0], node.range[1]);
  }

  #place(start: number, end: number): SourcePlace {
    const position = this.#counter.linePos(Math.min(start, this.#text.length));
    const line = Math.max(1, position.line);
    const column = Math.max(1, position.col);
    const lineText = this.#lines[line - 1] ?? '';
    const lengthColumns = Math.max(1, Math.min(end - start, lineText.length - column + 1));
    return { file: this.#file, line, column, lengthColumns, lineText };
  }

  #report(place: SourcePlace, message: string): void {
    this.problems.push({ source: this.#file, place, message });
  }
}

/** The parser's words, without the rest of the file that some of them quote. */
function describeFault(text: string): string {
  const shown = text.length > FAULT_CHARACTERS_MAX ? `${text.slice(0, FAULT_CHARACTERS_MAX)}...` : text;
  return shown.slice(0, 1).toLowerCase() + shown.slice(1);
}
