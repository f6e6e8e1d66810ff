/**
 * A configuration file as options by dotted key and a list of rules. Finds unknown keys and values of the wrong shape; what the texts mean
 * is the schema's business. Reads the file, bounded in size; never throws.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { systemErrorCode } from '../base/errors.ts';
import { KIB } from '../base/units.ts';
import { readGroups } from './group-table.ts';
import { isOptionKey, OPTION_KEYS, OPTIONS, type OptionKey, type OptionKind } from './options.ts';
import type { ConfigProblem, SourcePlace } from './problem.ts';
import { isTableKey, readMiddlewares, readRoutes, readServices, type ServiceTables, TABLE_KEYS, type TableKey } from './service-tables.ts';
import { type PlacedRule, readRules } from './site-rules.ts';
import { findSuggestion } from './suggestion.ts';
import { parseYamlTree, type YamlEntry, type YamlNode } from './yaml-tree.ts';

const FILE_BYTES_MAX = 256 * KIB;

/** Kinds of options that may be a list, each item without commas. */
const LIST_EXAMPLES: Partial<Record<OptionKind, string>> = {
  paths: 'paths without commas, such as `[/dev/sdb, /dev/sdc]`',
  protocols: 'protocols, such as `[websocket]`',
  networks: 'networks, such as `[127.0.0.1, 192.0.2.0/24]`',
};

/** A text as it was given for an option. */
export interface FileOption {
  readonly key: OptionKey;
  readonly text: string;
  readonly place: SourcePlace;
}

/** What a file says; on problems the rest is there as far as it could be read. */
export interface ConfigFile {
  readonly options: readonly FileOption[];
  readonly rules: readonly PlacedRule[];
  readonly tables: ServiceTables;
  readonly problems: readonly ConfigProblem[];
}

/** What an empty file says. */
export const EMPTY_FILE: ConfigFile = {
  options: [],
  rules: [],
  tables: { services: undefined, routes: undefined, groups: undefined, middlewares: undefined },
  problems: [],
};

/** Reads a configuration file. */
export function readConfigFile(file: string): ConfigFile {
  const text = readText(file);
  return typeof text === 'string' ? parseConfigText(text, file) : { ...EMPTY_FILE, problems: [text] };
}

/** Reads the text of a configuration. @param file name for places */
export function parseConfigText(text: string, file: string): ConfigFile {
  const { root, problems } = parseYamlTree(text, file);
  const reader = new FileReader();
  reader.problems.push(...problems);
  if (root?.kind === 'map') reader.readSection(root.entries, '');
  else if (root !== undefined && root.kind !== 'none')
    reader.report(root.place, undefined, 'must be a map of options, such as `listen: 127.0.0.1:8080`');
  return reader;
}

/** A file's text, or the problem why there is none. At most 256 KiB are read. */
export function readText(file: string): string | ConfigProblem {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, 'r');
    const bytes = new Uint8Array(FILE_BYTES_MAX + 1);
    let lengthBytes = 0;
    while (lengthBytes < bytes.length) {
      const count = readSync(descriptor, bytes, lengthBytes, bytes.length - lengthBytes, null);
      if (count === 0) break;
      lengthBytes += count;
    }
    if (lengthBytes > FILE_BYTES_MAX) return { source: file, message: `is larger than ${FILE_BYTES_MAX / KIB}KiB` };
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, lengthBytes));
  } catch (error) {
    return { source: file, message: describeReadError(error) };
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

class FileReader implements ConfigFile {
  readonly options: FileOption[] = [];
  rules: readonly PlacedRule[] = [];
  tables: ServiceTables = EMPTY_FILE.tables;
  readonly problems: ConfigProblem[] = [];

  /** @param prefix empty, or a section's name with a dot */
  readSection(entries: readonly YamlEntry[], prefix: string): void {
    for (const entry of entries) {
      const key = prefix + entry.key;
      if (key === 'rules') {
        const { rules, problems } = readRules(entry.value);
        this.rules = rules;
        this.problems.push(...problems);
      } else if (isTableKey(key)) this.#readTable(key, entry.value);
      else if (isOptionKey(key)) this.#readOption(key, entry.value);
      else if (prefix === '' && OPTION_KEYS.some((known) => known.startsWith(`${key}.`))) this.#readNested(key, entry.value);
      else this.report(entry.keyPlace, key, 'is not an option', suggestKey(entry.key, prefix));
    }
  }

  #readTable(key: TableKey, value: YamlNode): void {
    // A list whose items are all commented out is none.
    if (value.kind === 'none') return;
    if (key === 'services') this.tables = { ...this.tables, services: readServices(value, this.problems) };
    else if (key === 'routes') this.tables = { ...this.tables, routes: readRoutes(value, this.problems) };
    else if (key === 'middlewares') this.tables = { ...this.tables, middlewares: readMiddlewares(value, this.problems) };
    else this.tables = { ...this.tables, groups: readGroups(value, this.problems) };
  }

  report(place: SourcePlace, key: string | undefined, message: string, suggestion?: string | undefined): void {
    this.problems.push({ source: place.file, place, key, message, suggestion });
  }

  #readOption(key: OptionKey, value: YamlNode): void {
    if (value.kind === 'text') this.options.push({ key, text: value.text, place: value.place });
    else if (value.kind === 'list' && Object.hasOwn(LIST_EXAMPLES, OPTIONS[key].kind)) this.#readList(key, value);
    else if (value.kind === 'none') this.report(value.place, key, 'has no value; leave the key out to get its default');
    else this.report(value.place, key, `must be one value, not a ${value.kind}`);
  }

  /** As the text that a flag would have. */
  #readList(key: OptionKey, list: Extract<YamlNode, { kind: 'list' }>): void {
    const texts: string[] = [];
    for (const item of list.items) {
      if (item.kind === 'text' && !item.text.includes(',')) texts.push(item.text);
      else this.report(item.place, key, `must be a list of ${LIST_EXAMPLES[OPTIONS[key].kind]}`);
    }
    if (texts.length === list.items.length) this.options.push({ key, text: texts.join(','), place: list.place });
  }

  /** A section whose keys are all commented out is an empty one. */
  #readNested(section: string, value: YamlNode): void {
    if (value.kind === 'map') this.readSection(value.entries, `${section}.`);
    else if (value.kind !== 'none') this.report(value.place, section, 'must be a section with keys of its own, one line each');
  }
}

/** The nearest sibling, else the option of that name in another section, else a near name anywhere. */
function suggestKey(name: string, prefix: string): string | undefined {
  const siblings = new Set(
    [...OPTION_KEYS, 'rules', ...TABLE_KEYS]
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length).split('.')[0] ?? ''),
  );
  const sibling = findSuggestion(name, siblings);
  if (sibling !== undefined) return sibling;
  const leaf = (key: string): string => key.slice(key.lastIndexOf('.') + 1);
  const near = findSuggestion(name, OPTION_KEYS.map(leaf));
  return OPTION_KEYS.find((key) => leaf(key) === near) ?? findSuggestion(name, OPTION_KEYS);
}

function describeReadError(error: unknown): string {
  const code = systemErrorCode(error);
  if (code === 'ENOENT') return 'does not exist';
  if (code === 'EACCES' || code === 'EPERM') return 'may not be read by this user';
  if (code === 'EISDIR') return 'is a directory';
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'is not UTF-8 text';
  return `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
}
