/**
 * Loads a configuration: defaults, then the file, then environment variables, then overrides (flags), the later winning for each option;
 * then the preset's rules after the file's. Everything that is wrong is collected and returned together. Does file input, synchronously:
 * called once at the start, once for each reload, and by `config check`.
 */
import path from 'node:path';
import { assert, must } from '../base/assert.ts';
import { KIB } from '../base/units.ts';
import { type ConfigFile, EMPTY_FILE, readConfigFile } from './config-file.ts';
import type { EdgeConfig } from './edge-config.ts';
import { type ConfigOverride, readEnvironment } from './environment.ts';
import { formatListenAddress, isLoopback } from './listen-address.ts';
import { type ModuleCatalogue, NO_MODULES } from './middleware-plan.ts';
import { isOptionKey, listOptions, OPTION_KEYS, OPTIONS, type OptionKey, type OptionRow } from './options.ts';
import { readPreset } from './presets.ts';
import type { ConfigProblem, SourcePlace } from './problem.ts';
import { OPTION_SCHEMA, type OptionValues } from './schema.ts';
import type { ServiceTables } from './service-tables.ts';
import { findShadowedNames, planSites, type SitePlan } from './site-plan.ts';
import type { PlacedRule } from './site-rules.ts';
import { formatSize } from './size.ts';
import { findSuggestion } from './suggestion.ts';

/** What to load from. */
export interface LoadRequest {
  /** Path of the YAML file; undefined for none. */
  readonly file?: string | undefined;
  /** Usually process.env; only names that begin with RAWSLICE_ are looked at. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Winning over all; usually from flags. */
  readonly overrides?: readonly ConfigOverride[] | undefined;
  /** What middlewares may be; none when undefined. */
  readonly modules?: ModuleCatalogue | undefined;
}

/** A configuration, or everything that is wrong with it. */
export type LoadResult =
  | {
      readonly kind: 'ok';
      readonly config: EdgeConfig;
      /** Where each value came from, by dotted key (`rules.NAME` for rules): `default`, `preset debian`, `file:line`, a variable, a flag. */
      readonly sources: ReadonlyMap<string, string>;
    }
  | { readonly kind: 'invalid'; readonly problems: readonly ConfigProblem[] };

/** The text that won for an option. */
interface GivenText {
  readonly text: string;
  readonly source: string;
  readonly place?: SourcePlace | undefined;
}

type GivenTexts = Map<OptionKey, GivenText>;

/** An option's key, with what is wrong about its value. `keys`: the options that the statement rests on. */
interface Contradiction {
  readonly keys: readonly [OptionKey, ...OptionKey[]];
  readonly message: string;
}

/** Lists, for which there is no short text. */
const FILE_ONLY = /^(rules|services|routes|upstreams|middlewares)(\.|$)/;

/** Loads and validates. Never throws for anything that a file, a variable or a flag may say. */
export function loadConfig(request: LoadRequest): LoadResult {
  const problems: ConfigProblem[] = [];
  const file = request.file === undefined ? EMPTY_FILE : readConfigFile(request.file);
  problems.push(...file.problems);
  const given = collectTexts(file, request, problems);
  // A file that cannot be read would otherwise be followed by a list of everything that is missing in it.
  const isFileRead = file.problems.length === 0 || file.options.length > 0;
  const { tables } = file;
  const values = evaluate(given, problems, (key) => isFileRead && !(key === 'upstream.url' && tables.groups !== undefined));
  const preset = readPreset(values.preset);
  problems.push(...preset.problems, ...findShadowedNames(file.rules, preset.rules), ...findUnusedListen(given, tables));
  const { modules = NO_MODULES } = request;
  const folder = path.dirname(path.resolve(request.file ?? '.'));
  const plan = planSites({ tables, values, rules: file.rules, preset, modules, folder }, problems);
  if (problems.length > 0) return { kind: 'invalid', problems: problems.sort(byPlace) };
  const rules = [...file.rules, ...preset.rules];
  const sources = new Map([...listSources(given, file.rules, preset.rules, values.preset), ...plan.sources]);
  return { kind: 'ok', config: toEdgeConfig(values, rules, plan), sources };
}

/** An address that nobody would listen on. */
function findUnusedListen(given: GivenTexts, { services }: ServiceTables): readonly ConfigProblem[] {
  const listen = given.get('listen');
  if (services === undefined || listen === undefined || listen.source === 'default') return [];
  return [problemFor('listen', given, 'is given beside services, which say themselves where they listen; leave it out')];
}

function collectTexts(file: ConfigFile, request: LoadRequest, problems: ConfigProblem[]): GivenTexts {
  const given: GivenTexts = new Map();
  for (const [key, row] of listOptions()) if (row.default !== undefined) given.set(key, { text: row.default, source: 'default' });
  for (const { key, text, place } of file.options) given.set(key, { text, place, source: `${place.file}:${place.line}` });
  const environment = readEnvironment(request.environment);
  problems.push(...environment.problems);
  for (const [key, text, source] of [...environment.overrides, ...(request.overrides ?? [])]) {
    if (isOptionKey(key)) given.set(key, { text, source });
    else if (FILE_ONLY.test(key)) problems.push({ source, key, message: 'can be given in a file only' });
    else problems.push({ source, key, message: 'is not an option', suggestion: findSuggestion(key, OPTION_KEYS) });
  }
  return given;
}

/**
 * Turns texts into values and reports what is wrong with each and with all together. Where a text is wrong the default stands in, so that
 * contradictions between the others are found in the same run.
 */
function evaluate(given: GivenTexts, problems: ConfigProblem[], isNeeded: (key: OptionKey) => boolean): OptionValues {
  const missing = listOptions().filter(([key, row]) => row.isRequired === true && !given.has(key) && isNeeded(key));
  for (const [key] of missing) problems.push({ source: 'configuration', key, message: 'is required' });
  const texts: Record<string, string> = {};
  for (const [key, { text }] of given) texts[key] = text;
  const first = OPTION_SCHEMA.safeParse(texts);
  const wrong = new Set<string>();
  for (const issue of first.error?.issues ?? []) {
    const key = String(issue.path[0]);
    assert(isOptionKey(key), 'the schema has the keys of the option table');
    wrong.add(key);
    problems.push(problemFor(key, given, issue.message));
    const row: OptionRow = OPTIONS[key];
    if (row.default === undefined) delete texts[key];
    else texts[key] = row.default;
  }
  const values = first.success ? first.data : OPTION_SCHEMA.parse(texts);
  for (const { keys, message } of findContradictions(values)) {
    if (!keys.some((key) => wrong.has(key))) problems.push(problemFor(keys[0], given, message));
  }
  return values;
}

/** Statements about several options. */
function findContradictions(values: OptionValues): readonly Contradiction[] {
  const found: Contradiction[] = [];
  const arenaBytes = values['memory.arena'];
  const sliceBytes = values['slice.size'];
  if (arenaBytes % (64 * KIB) !== 0)
    found.push({ keys: ['memory.arena'], message: `must be a multiple of 64KiB, not ${arenaBytes} bytes` });
  if (arenaBytes < 8 * sliceBytes) {
    const message = `must hold 8 slices of ${formatSize(sliceBytes)}, that is ${formatSize(8 * sliceBytes)}; it is ${formatSize(arenaBytes)}`;
    found.push({ keys: ['memory.arena', 'slice.size'], message });
  }
  const listen = values.listen;
  const adminListen = values['admin.listen'];
  if (!('path' in listen) && listen.port !== 0 && formatListenAddress(listen) === formatListenAddress(adminListen)) {
    found.push({ keys: ['admin.listen', 'listen'], message: `must differ from listen; both are ${formatListenAddress(listen)}` });
  }
  if (values['log.accessFormat'] === 'combined' && values['log.accessFile'] === undefined)
    found.push({ keys: ['log.accessFormat', 'log.accessFile'], message: 'is combined, which needs a file of its own: set log.accessFile' });
  if (!isLoopback(adminListen) && values['admin.token'] === undefined) {
    const message = `is ${formatListenAddress(adminListen)}, which others can reach: set admin.token, or listen on 127.0.0.1`;
    found.push({ keys: ['admin.listen', 'admin.token'], message });
  }
  return found;
}

/** File by file from top to bottom, then what has no place in a file. */
function byPlace(left: ConfigProblem, right: ConfigProblem): number {
  if (left.place === undefined || right.place === undefined) return Number(left.place === undefined) - Number(right.place === undefined);
  if (left.place.file !== right.place.file) return left.place.file < right.place.file ? -1 : 1;
  return left.place.line - right.place.line || left.place.column - right.place.column;
}

function problemFor(key: OptionKey, given: GivenTexts, message: string): ConfigProblem {
  const text = given.get(key);
  return { source: text?.source ?? 'configuration', place: text?.place, key, message };
}

function listSources(
  given: GivenTexts,
  own: readonly PlacedRule[],
  preset: readonly PlacedRule[],
  presetName: string,
): ReadonlyMap<string, string> {
  const sources = new Map<string, string>();
  for (const [key, { source }] of given) sources.set(key, source);
  for (const { rule, place } of own) sources.set(`rules.${rule.name}`, `${place.file}:${place.line}`);
  for (const { rule } of preset) sources.set(`rules.${rule.name}`, `preset ${presetName}`);
  return sources;
}

function toEdgeConfig(values: OptionValues, rules: readonly PlacedRule[], { services, routes, groups, middlewares }: SitePlan): EdgeConfig {
  const upstream = values['upstream.url'];
  return {
    services,
    routes,
    groups,
    middlewares,
    listen: values.listen,
    expressLane: values.expressLane,
    admin: { listen: values['admin.listen'], token: values['admin.token'] },
    purge: { allow: values['purge.allow'], token: values['purge.token'] },
    upstream: {
      origin: upstream?.origin,
      basePath: upstream?.basePath ?? '',
      connectTimeoutMs: values['upstream.connectTimeout'],
      headTimeoutMs: values['upstream.headTimeout'],
      bodyTimeoutMs: values['upstream.bodyTimeout'],
      connectionsMax: values['upstream.connections'],
      preservesHost: values['upstream.preserveHost'],
    },
    preset: values.preset,
    rules: rules.map(({ rule }) => rule),
    device: {
      paths: must(values['device.path'], 'device.path is required'),
      sizeBytes: values['device.size'],
      formatsBlank: values['device.formatBlank'],
      io: values['device.io'],
      writeBudgetBytes: values['device.writeBudget'],
      compression: values['device.compression'],
      scrubPeriodMs: values['device.scrub'],
      trims: values['device.trim'],
    },
    memory: { arenaBytes: values['memory.arena'] },
    slice: { sizeBytes: values['slice.size'] },
    cache: { staleIfErrorMs: values['cache.staleIfError'] },
    upgrades: values.upgrade,
    limits: {
      variantsMax: values['limits.variants'],
      connectionsMax: values['limits.connections'],
      requestsMax: values['limits.requests'],
      streamsMax: values['limits.streams'],
      clientStallMs: values['limits.clientStall'],
      uploadStallMs: values['limits.uploadStall'],
      tunnelsMax: values['limits.tunnels'],
      tunnelIdleMs: values['limits.tunnelIdle'],
      headerBytesMax: values['limits.headerBytes'],
      headerTimeoutMs: values['limits.headerTimeout'],
      rangesMax: values['limits.ranges'],
      rangeSurplusBytes: values['limits.rangeSurplus'],
      clientSurplusBytes: values['limits.clientSurplus'],
    },
    cacheStatus: { key: values['cacheStatus.key'] },
    log: {
      level: values['log.level'],
      access: values['log.access'],
      accessFormat: values['log.accessFormat'],
      accessFile: values['log.accessFile'],
    },
    requestId: values.requestId,
    reload: { intervalMs: values['reload.interval'] },
    shutdown: { drainMs: values['shutdown.drain'] },
  };
}
