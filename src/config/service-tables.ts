/**
 * The lists `services`, `routes` and `middlewares` of a file, read record by record: what each says, with its place, nothing joined yet. `upstreams` is read by
 * group-table.ts; site-plan.ts resolves their references and fills in what they leave out.
 */
import { type ConfigCertificate, FORWARDED_FIELDS, type PathMatch, TLS_MIN_VERSIONS, type TlsMinVersion } from './edge-config.ts';
import { parseFile } from './file-path.ts';
import { type GivenModule, readOptionMap } from './given-module.ts';
import type { GivenGroup } from './group-table.ts';
import { parseServiceAddress, type ServiceAddress } from './listen-address.ts';
import { type Network, parseNetworks } from './network.ts';
import { PRESET_NAMES, type PresetName } from './options.ts';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';
import type { ConfigProblem } from './problem.ts';
import { type Placed, parseName, type RecordKind, type RecordReader, readRecords } from './record-reader.ts';
import { parseBoolean, parseChoice, parseOption, parseProtocols } from './schema.ts';
import { type PlacedRule, parsePattern, readRules } from './site-rules.ts';
import { LABELS, parseFolder, parsePlainPath, parseTime } from './text-values.ts';
import type { YamlNode } from './yaml-tree.ts';

const ADDRESSES_MAX = 16;
const HOSTS_MAX = 256;
const METHODS_MAX = 16;
const NETWORKS_MAX = 64;
const PROTOCOLS_MAX = 8;
const ROUTES_MAX = 256;
/** Of one service or route. */
const MIDDLEWARES_MAX = 16;
const HOOK_MS_DEFAULT = 2000;

/** Keys of a service. */
export const SERVICE_KEYS = {
  name: 'Name for logs and metrics, unique; letters, digits, dot, underscore and hyphen',
  listen: 'Address that clients connect to, or a list of addresses; as `listen` of the configuration',
  routes: 'Names of the routes that this service has, tried in the order of `routes`; left out: all of them',
  certificates:
    'List of certificates, each with `cert` and `key` (PEM files, a relative path from where the program runs); with them the service speaks TLS. A client gets the one for the name that it asks for, else the first',
  tlsMinVersion: 'Lowest version of TLS: `1.2` (the default) or `1.3`',
  proxyProtocol:
    '`true`: every connection begins with the PROXY protocol (version 1 or 2) of a balancer, whose word about the client counts; others are refused',
  http2:
    '`true`: HTTP/2 beside HTTP/1.1, by ALPN where the service speaks TLS (where `true` is the default), else with clients that begin with it (prior knowledge, h2c); `false`: HTTP/1.1 only',
  trustedProxies:
    'Networks whose `forwardedField` tells who the client is, in logs, limits and `purge.allow`; what others say there is not passed on',
  forwardedField:
    'The field that all of `trustedProxies` write: `x-forwarded-for` (the default, with `X-Forwarded-Proto`), or `forwarded` (RFC 7239). The other one passes them as the client sent it, so it is neither believed nor passed on',
  middlewares: 'Name or list of names of middlewares that hold for all routes of this service, in their order, before those of the route',
} as const;

/** Keys of a route. A request takes the first one of its service that matches in all that it names. */
export const ROUTE_KEYS = {
  name: 'Name for logs and metrics, unique; part of the key of what is stored, so another name is an empty cache',
  host: 'Host of the request without port: a name or address, `*.suffix` for all names below one, or a list of these; left out: any',
  prefix: 'Beginning of the path in whole segments: `/api` is `/api` and `/api/x`, and not `/apix`',
  path: 'The whole path, instead of `prefix`',
  match: 'Regular expression on the path, instead of `prefix` (case matters; not anchored unless it says `^` or `$`)',
  methods: 'Method or list of methods; left out: any. `GET` is `HEAD` too',
  upstream: 'Name of the upstream group; may be left out where there is only one',
  stripPrefix: 'Beginning of `prefix` or `path`, in whole segments, that the origin is not sent',
  addPrefix: 'Path that goes before what the origin is sent',
  preset: 'Rules for a kind of mirror, tried after `rules`; left out: the `preset` of the configuration',
  rules: 'Rules of this route, tried on the path without `stripPrefix`; left out: the `rules` of the configuration',
  sliceSize: 'Bytes of one slice of new objects, a power of two; left out: `slice.size`',
  upgrade:
    'Protocols that clients may change their connection to, such as `websocket`, or a list, or `none`; left out: `upgrade` of the configuration',
  middlewares: 'Name or list of names of middlewares that hold for this route, in their order',
} as const;

/** Keys of a middleware. */
export const MIDDLEWARE_KEYS = {
  name: 'Name for services, routes, logs and metrics, unique',
  use: 'What it is: a word of the table below, or the path of a module (`./file.ts`; a relative path begins at the folder of the configuration)',
  timeout: 'Time in which it has to decide about a request, where that takes time; then the answer is a 500 (1ms to 1m, default 2s)',
  options: 'Its options',
} as const;

/** Keys of a certificate. */
export const CERTIFICATE_KEYS = { cert: 'PEM file with the certificate and its chain', key: 'PEM file with its private key' } as const;

const MIDDLEWARE_KIND: RecordKind = { word: 'a middleware', keys: MIDDLEWARE_KEYS, countMax: 64 };
const CERTIFICATE_KIND: RecordKind = { word: 'a certificate', keys: CERTIFICATE_KEYS, countMax: 64 };
const SERVICE_KIND: RecordKind = { word: 'a service', keys: SERVICE_KEYS, countMax: 32 };
const ROUTE_KIND: RecordKind = { word: 'a route', keys: ROUTE_KEYS, countMax: ROUTES_MAX };

/** A service as it is written. */
export interface GivenService {
  readonly name: Placed<string>;
  readonly listen: readonly Placed<ServiceAddress>[];
  readonly routes: readonly Placed<string>[] | undefined;
  readonly certificates: readonly ConfigCertificate[];
  readonly tlsMinVersion: TlsMinVersion;
  readonly takesProxyProtocol: boolean;
  readonly hasHttp2: boolean;
  readonly trustedProxies: readonly Network[] | undefined;
  readonly forwardedField: (typeof FORWARDED_FIELDS)[number];
  readonly middlewares: readonly Placed<string>[];
}

/** A route as it is written. */
export interface GivenRoute {
  readonly name: Placed<string>;
  /** Lower-case; empty for any. */
  readonly hosts: readonly string[];
  readonly path: PathMatch;
  /** Upper-case; undefined for any. */
  readonly methods: readonly string[] | undefined;
  readonly upstream: Placed<string> | undefined;
  /** Without slash at the end; empty for none. */
  readonly stripPrefix: string;
  readonly addPrefix: string;
  readonly preset: PresetName | undefined;
  readonly rules: readonly PlacedRule[] | undefined;
  readonly sliceSize: Placed<number> | undefined;
  readonly middlewares: readonly Placed<string>[];
  readonly upgrades: readonly string[] | undefined;
}

/** A middleware as it is written. */
export interface GivenMiddleware extends GivenModule {
  readonly name: Placed<string>;
  readonly timeoutMs: number;
  /** Dotted key of the record. */
  readonly key: string;
}

/** The lists of a file; undefined where a list is not given. */
export interface ServiceTables {
  readonly services: readonly GivenService[] | undefined;
  readonly routes: readonly GivenRoute[] | undefined;
  readonly groups: readonly GivenGroup[] | undefined;
  readonly middlewares: readonly GivenMiddleware[] | undefined;
}

/** Names of the lists. */
export const TABLE_KEYS = ['services', 'routes', 'upstreams', 'middlewares'] as const;
/** One of TABLE_KEYS. */
export type TableKey = (typeof TABLE_KEYS)[number];

/** Whether a key of a file names one of the lists. */
export function isTableKey(key: string): key is TableKey {
  return TABLE_KEYS.some((known) => known === key);
}

/** Reads `services`. */
export function readServices(node: YamlNode, problems: ConfigProblem[]): readonly GivenService[] {
  return readRecords(node, { key: 'services', kind: SERVICE_KIND, problems }, (reader, key) => {
    const name = reader.readRequired('name', parseName);
    const listen = reader.readList('listen', parseServiceAddress, ADDRESSES_MAX);
    const routes = reader.readList('routes', parseName, ROUTES_MAX);
    if (listen === undefined) reader.report('listen', 'is required');
    const certificates = readCertificates(reader, key, problems);
    const minVersion = reader.read('tlsMinVersion', (text) => parseChoice(text, TLS_MIN_VERSIONS));
    const trustedProxies = reader.readList('trustedProxies', parseNetworks, NETWORKS_MAX)?.flatMap(({ value }) => value);
    const forwardedField = reader.read('forwardedField', (text) => parseChoice(text, FORWARDED_FIELDS));
    if (forwardedField !== undefined && trustedProxies === undefined)
      reader.report('forwardedField', 'is about trustedProxies, and there are none');
    if (minVersion !== undefined && certificates.length === 0)
      reader.report('tlsMinVersion', 'is about TLS, and there are no certificates');
    const service = {
      certificates,
      tlsMinVersion: minVersion?.value ?? TLS_MIN_VERSIONS[0],
      takesProxyProtocol: reader.read('proxyProtocol', parseBoolean)?.value ?? false,
      hasHttp2: reader.read('http2', parseBoolean)?.value ?? certificates.length > 0,
      trustedProxies,
      forwardedField: forwardedField?.value ?? FORWARDED_FIELDS[0],
      middlewares: reader.readList('middlewares', parseName, MIDDLEWARES_MAX) ?? [],
    };
    return name === undefined ? undefined : { name, listen: listen ?? [], routes, ...service };
  });
}

function readCertificates(service: RecordReader, key: string, problems: ConfigProblem[]): readonly ConfigCertificate[] {
  const list = service.node('certificates');
  if (list === undefined) return [];
  if (list.kind === 'none') service.report('certificates', 'is empty; add a certificate, or leave it out');
  return readRecords(list, { key: `${key}.certificates`, kind: CERTIFICATE_KIND, problems }, (reader) => {
    const certFile = reader.readRequired('cert', parseFile)?.value;
    const keyFile = reader.readRequired('key', parseFile)?.value;
    return certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile };
  });
}

/** Reads `routes`. */
export function readRoutes(node: YamlNode, problems: ConfigProblem[]): readonly GivenRoute[] {
  return readRecords(node, { key: 'routes', kind: ROUTE_KIND, problems }, (reader) => {
    const name = reader.readRequired('name', parseName);
    const hosts = reader.readList('host', parseHostPattern, HOSTS_MAX) ?? [];
    const route = {
      hosts: hosts.map(({ value }) => value),
      path: readPath(reader),
      methods: reader.readList('methods', parseMethod, METHODS_MAX)?.map(({ value }) => value),
      upstream: reader.read('upstream', parseName),
      stripPrefix: readStripped(reader),
      addPrefix: reader.read('addPrefix', parseFolder)?.value ?? '',
      preset: reader.read('preset', (text) => parseChoice(text, PRESET_NAMES))?.value,
      rules: readOwnRules(reader, problems),
      sliceSize: reader.read('sliceSize', (text) => parseOption('slice.size', text)),
      middlewares: reader.readList('middlewares', parseName, MIDDLEWARES_MAX) ?? [],
      upgrades: readUpgrades(reader),
    };
    return name === undefined ? undefined : { name, ...route };
  });
}

/** Reads `middlewares`; what their options mean is for middleware-plan.ts. */
export function readMiddlewares(node: YamlNode, problems: ConfigProblem[]): readonly GivenMiddleware[] {
  return readRecords(node, { key: 'middlewares', kind: MIDDLEWARE_KIND, problems }, (reader, key) => {
    const name = reader.readRequired('name', parseName);
    const use = reader.readRequired('use', parseFile);
    const timeoutMs = reader.read('timeout', (text) => parseTime(text, { min: '1ms', max: '1m' }))?.value ?? HOOK_MS_DEFAULT;
    const options = readOptionMap(reader, 'options');
    if (name === undefined || use === undefined) return undefined;
    return { name, use, timeoutMs, options, key, useKey: `${key}.use`, optionsKey: `${key}.options`, place: reader.place };
  });
}

function readPath(reader: RecordReader): PathMatch {
  const given = (['prefix', 'path', 'match'] as const).filter((name) => reader.node(name) !== undefined);
  if (given.length > 1) reader.report(given[1], `stands beside ${given[0]}; keep one of prefix, path and match`);
  const prefix = reader.read('prefix', parsePlainPath)?.value;
  const exact = reader.read('path', parsePlainPath)?.value;
  const pattern = reader.read('match', parsePattern)?.value;
  if (prefix !== undefined) return { kind: 'prefix', path: prefix };
  if (exact !== undefined) return { kind: 'exact', path: exact };
  return pattern === undefined ? { kind: 'any' } : { kind: 'pattern', pattern };
}

function readStripped(reader: RecordReader): string {
  const stripped = reader.read('stripPrefix', parseFolder)?.value ?? '';
  if (stripped === '') return '';
  const node = reader.node('prefix') ?? reader.node('path');
  const path = node?.kind === 'text' ? node.text.trim() : undefined;
  if (path === undefined) reader.report('stripPrefix', 'needs a prefix or path that begins with it');
  else if (path !== stripped && !path.startsWith(`${stripped}/`)) reader.report('stripPrefix', `is not how ${quoteText(path)} begins`);
  return stripped;
}

function readUpgrades(reader: RecordReader): readonly string[] | undefined {
  const lists = reader.readList('upgrade', parseProtocols, PROTOCOLS_MAX)?.map(({ value }) => value);
  if (lists !== undefined && lists.length > 1 && lists.some((list) => list.length === 0))
    reader.report('upgrade', 'has none beside others');
  return lists?.flat();
}

function readOwnRules(reader: RecordReader, problems: ConfigProblem[]): readonly PlacedRule[] | undefined {
  const node = reader.node('rules');
  if (node === undefined) return undefined;
  const read = readRules(node);
  problems.push(...read.problems);
  return read.rules;
}

function parseMethod(text: string): Parsed<string> {
  const method = text.trim();
  return /^[A-Z][A-Z-]{0,31}$/.test(method) ? parsed(method) : invalid(`must be a method such as GET or POST, not ${quoteText(text)}`);
}

function parseHostPattern(text: string): Parsed<string> {
  const host = text.trim().toLowerCase();
  const name = host.startsWith('*.') ? host.slice(2) : host;
  if (host.length <= 255 && (LABELS.test(name) || (name === host && /^\[[0-9a-f:.]{2,45}\]$/.test(host)))) return parsed(host);
  const isWithPort = /:\d+$/.test(host) && !host.startsWith('[');
  return invalid(`must be a host such as mirror.example or *.example${isWithPort ? ', without port' : ''}, not ${quoteText(text)}`);
}
