/**
 * The lists `services`, `routes` and `upstreams` of a file, read record by record: what each says, with its place, nothing joined yet.
 * site-plan.ts resolves their references and fills in what they leave out.
 */
import { readDiscovery } from './discovery-table.ts';
import {
  type ConfigCertificate,
  type ConfigDiscovery,
  type ConfigHashSource,
  type ConfigHealthCheck,
  type ConfigNode,
  type ConfigOutlier,
  FORWARDED_FIELDS,
  ORIGIN_PROTOCOLS,
  type OriginProtocol,
  type PathMatch,
  TLS_MIN_VERSIONS,
  type TlsMinVersion,
} from './edge-config.ts';
import { parseFile } from './file-path.ts';
import { parseServiceAddress, type ServiceAddress } from './listen-address.ts';
import { type Network, parseNetworks } from './network.ts';
import { BALANCE_WORDS, PRESET_NAMES, type PresetName } from './options.ts';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';
import type { ConfigProblem, SourcePlace } from './problem.ts';
import { type Placed, parseName, type RecordKind, type RecordReader, readRecords } from './record-reader.ts';
import { type OriginUrl, parseBoolean, parseChoice, parseOption, parseOrigin, parseProtocols } from './schema.ts';
import { type PlacedRule, parsePattern, parsePrefix, readRules } from './site-rules.ts';
import { LABELS, parseAuthority, parseFolder, parseHostName, parseNumber, parsePlainPath, parseTime } from './text-values.ts';
import type { YamlNode } from './yaml-tree.ts';

const ADDRESSES_MAX = 16;
const HOSTS_MAX = 256;
const METHODS_MAX = 16;
const STATUSES_MAX = 32;
const WEIGHT_MAX = 1000;
const RETRIES_MAX = 10;
const RETRY_BUDGET_MAX = 1000;
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

/** Keys of an upstream group. */
export const GROUP_KEYS = {
  name: 'Name for routes, logs and metrics, unique; part of the key of what is stored: a group that serves other content needs another name',
  nodes: 'List of nodes: servers that answer alike',
  discover: 'Where nodes are found, instead of `nodes` or beside them; they come and go without a reload',
  balance:
    '`round-robin` (the default): in turn, by weight; `random`; `two-choices`: the less busy of two drawn by weight; `least-connections`; `ketama`, `rendezvous`: by a hash of `hashOn`, so that what belongs together reaches the same node; or the path of a module (`./file.ts`)',
  balanceOptions: 'Options of the module that `balance` names',
  hashOn:
    'What is hashed: `path` (the default), `key` (site, path and query, as what is stored is known by), `client` (address), or `header NAME`',
  boundedLoad:
    'For hashes: percent of the mean number of requests in progress that a node may have before the next in its order is asked, 101 to 1000; left out: no bound',
  slowStart: 'Time in which a node that came, or came back, gets its full share, beginning with a tenth (default 0)',
  panicThreshold:
    'Percent of the weight that has to be well, 0 to 100; below it health is disregarded, since the rest could not bear the load (default 0: only when no node is well)',
  healthCheck: 'How nodes are checked, apart from the requests of clients',
  outlier: 'When nodes are left alone because of their answers',
  protocol:
    '`http/1.1` (the default), or `h2`: HTTP/2 and nothing else, by ALPN with nodes of https, with prior knowledge (h2c) with those of http; for gRPC, and origins that speak it alone',
  hostHeader: "Host that the origin is sent instead of the node's own",
  preserveHost: "As `upstream.preserveHost`: send the client's Host, and keep what is stored apart by host",
  retries: 'Other nodes that a request is tried at, 0 to 10, when one fails before its first byte (default 2)',
  retryBudget:
    'Retries in a hundred requests of the group, 0 to 1000 (default 20), beside a hundred that are saved up: a group that fails as a whole is not asked several times as much',
  connectTimeout: 'As `upstream.connectTimeout`, which is its default',
  headTimeout: 'As `upstream.headTimeout`, which is its default',
  bodyTimeout: 'As `upstream.bodyTimeout`, which is its default',
  connections: 'Connections to each node at a time, kept ones included; `upstream.connections` is its default',
} as const;

/** Keys of `healthCheck`. */
export const CHECK_KEYS = {
  type: '`http` (the default) or `tcp`, which only connects',
  path: 'Path of the request (default `/`)',
  host: 'Host of the request; left out: what the node is sent otherwise',
  status: 'Statuses that pass, such as `200` or `200-399` (the default), or a list',
  body: 'Text that has to stand in the first 64 KiB of the answer',
  interval: 'Time between checks (default 5s)',
  timeout: 'Time for one check (default 2s)',
  rise: 'Checks in a row that a node which is down has to pass (default 2)',
  fall: 'Checks in a row that a node has to fail to be down (default 3)',
} as const;

/** Keys of `outlier`. */
export const OUTLIER_KEYS = {
  failures:
    'Failures in a row after which a node rests, 1 to 100 (default 1): no connection, no answer in time, one that breaks off or is none, 502, 503 or 504',
  errorRate:
    'Percent of failures among its last 50 requests after which a node rests, where `failures` is higher; 0 (the default): not looked at',
  slowFactor:
    'How many times the median of the other nodes the time to the head may be, 2 to 100; left out: not looked at. Two others have to be known',
  rest: 'Time of the first rest, doubled with each that follows (default 1s)',
  restMax: 'The longest rest (default 30s)',
} as const;

/** Keys of a node. */
export const NODE_KEYS = {
  url: 'http or https, host, port if unusual, and a path that goes before every request path; the same path for all nodes of a group',
  weight: 'Share of the requests in relation to the other nodes, 1 to 1000 (default 1)',
  backup: 'Whether it is asked only when no other node is well: `true` or `false` (the default)',
  sni: 'Name that TLS asks for and verifies instead of the host of `url`',
  verifyCertificate: 'Whether the certificate must be valid for the name: `true` (the default) or `false`',
} as const;

/** Keys of a certificate. */
export const CERTIFICATE_KEYS = { cert: 'PEM file with the certificate and its chain', key: 'PEM file with its private key' } as const;

const MIDDLEWARE_KIND: RecordKind = { word: 'a middleware', keys: MIDDLEWARE_KEYS, countMax: 64 };
const CERTIFICATE_KIND: RecordKind = { word: 'a certificate', keys: CERTIFICATE_KEYS, countMax: 64 };
const SERVICE_KIND: RecordKind = { word: 'a service', keys: SERVICE_KEYS, countMax: 32 };
const ROUTE_KIND: RecordKind = { word: 'a route', keys: ROUTE_KEYS, countMax: ROUTES_MAX };
const GROUP_KIND: RecordKind = { word: 'an upstream group', keys: GROUP_KEYS, countMax: 128 };
const CHECK_KIND = { word: 'a health check', keys: CHECK_KEYS };
const OUTLIER_KIND = { word: 'limits', keys: OUTLIER_KEYS };
const NODE_KIND: RecordKind = { word: 'a node', keys: NODE_KEYS, countMax: 64 };

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

/** A module with its options as they are written. */
export interface GivenModule {
  readonly use: Placed<string>;
  /** Dotted key of what names it. */
  readonly useKey: string;
  /** Undefined where there are none. */
  readonly options: Extract<YamlNode, { kind: 'map' }> | undefined;
  /** Dotted key of the options. */
  readonly optionsKey: string;
  /** Of the record. */
  readonly place: SourcePlace;
}

/** A middleware as it is written. */
export interface GivenMiddleware extends GivenModule {
  readonly name: Placed<string>;
  readonly timeoutMs: number;
  /** Dotted key of the record. */
  readonly key: string;
}

/** A group as it is written. */
export interface GivenGroup {
  readonly name: Placed<string>;
  readonly nodes: readonly ConfigNode[];
  readonly discovery: ConfigDiscovery | undefined;
  readonly basePath: string;
  readonly balance: (typeof BALANCE_WORDS)[number] | undefined;
  /** A module instead of a word. */
  readonly balancer: GivenModule | undefined;
  readonly hashOn: ConfigHashSource | undefined;
  readonly boundedLoadPercent: number | undefined;
  readonly slowStartMs: number | undefined;
  readonly panicPercent: number | undefined;
  readonly healthCheck: ConfigHealthCheck | undefined;
  readonly outlier: ConfigOutlier | undefined;
  readonly protocol: OriginProtocol | undefined;
  readonly hostHeader: string | undefined;
  readonly preservesHost: boolean | undefined;
  readonly retriesMax: number | undefined;
  readonly retryBudgetPercent: number | undefined;
  readonly connectTimeoutMs: number | undefined;
  readonly headTimeoutMs: number | undefined;
  readonly bodyTimeoutMs: number | undefined;
  readonly connectionsMax: number | undefined;
}

/** The lists of a file; undefined where a list is not given. */
export interface ServiceTables {
  readonly services: readonly GivenService[] | undefined;
  readonly routes: readonly GivenRoute[] | undefined;
  readonly groups: readonly GivenGroup[] | undefined;
  readonly middlewares: readonly GivenMiddleware[] | undefined;
}

/** What holds where a group says nothing: another node is always better than one that has just failed, and a wrong suspicion costs a second. */
export const DEFAULT_OUTLIER: ConfigOutlier = { failuresMax: 1, errorPercent: 0, slowFactor: 0, restMs: 1000, restMsMax: 30_000 };

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

function readOptionMap(reader: RecordReader, name: string): GivenModule['options'] {
  const node = reader.node(name);
  if (node === undefined || node.kind === 'none' || node.kind === 'map') return node?.kind === 'map' ? node : undefined;
  reader.report(name, 'must be a map of options');
  return undefined;
}

/** A word, or the path of a module with its options. */
function readBalance(reader: RecordReader, key: string): Pick<GivenGroup, 'balance' | 'balancer'> {
  const node = reader.node('balance');
  const isModule = node?.kind === 'text' && node.text.includes('/');
  const options = readOptionMap(reader, 'balanceOptions');
  if (options !== undefined && !isModule) reader.report('balanceOptions', 'is for a module that balance names');
  if (!isModule) return { balance: reader.read('balance', (text) => parseChoice(text, BALANCE_WORDS))?.value, balancer: undefined };
  const use = reader.read('balance', parseFile);
  const keys = { useKey: `${key}.balance`, optionsKey: `${key}.balanceOptions` };
  return { balance: undefined, balancer: use && { use, options, ...keys, place: reader.place } };
}

/** Reads `upstreams`. */
export function readGroups(node: YamlNode, problems: ConfigProblem[]): readonly GivenGroup[] {
  return readRecords(node, { key: 'upstreams', kind: GROUP_KIND, problems }, (reader, key) => {
    const name = reader.readRequired('name', parseName);
    const group = {
      ...readServers(reader, key, problems),
      ...readBalance(reader, key),
      hashOn: reader.read('hashOn', parseHashSource)?.value,
      boundedLoadPercent: reader.read('boundedLoad', (text) => parseNumber(text, { min: 101, max: 1000 }))?.value,
      slowStartMs: reader.read('slowStart', (text) => parseTime(text, { min: '0', max: '1h' }))?.value,
      panicPercent: reader.read('panicThreshold', (text) => parseNumber(text, { min: 0, max: 100 }))?.value,
      healthCheck: readCheck(reader),
      outlier: readOutlier(reader),
      protocol: reader.read('protocol', (text) => parseChoice(text, ORIGIN_PROTOCOLS))?.value,
      hostHeader: reader.read('hostHeader', parseAuthority)?.value,
      preservesHost: reader.read('preserveHost', parseBoolean)?.value,
      retriesMax: reader.read('retries', (text) => parseNumber(text, { min: 0, max: RETRIES_MAX }))?.value,
      retryBudgetPercent: reader.read('retryBudget', (text) => parseNumber(text, { min: 0, max: RETRY_BUDGET_MAX }))?.value,
      connectTimeoutMs: reader.read('connectTimeout', (text) => parseOption('upstream.connectTimeout', text))?.value,
      headTimeoutMs: reader.read('headTimeout', (text) => parseOption('upstream.headTimeout', text))?.value,
      bodyTimeoutMs: reader.read('bodyTimeout', (text) => parseOption('upstream.bodyTimeout', text))?.value,
      connectionsMax: reader.read('connections', (text) => parseOption('upstream.connections', text))?.value,
    };
    const isHashed = group.balance === 'ketama' || group.balance === 'rendezvous';
    for (const hashKey of ['hashOn', 'boundedLoad'])
      if (reader.node(hashKey) !== undefined && !isHashed && (hashKey !== 'hashOn' || group.balancer === undefined))
        reader.report(hashKey, 'is for balance ketama and rendezvous');
    if (group.hostHeader !== undefined && group.preservesHost === true)
      reader.report('hostHeader', "contradicts preserveHost, which sends the client's; keep one");
    return name === undefined ? undefined : { name, ...group };
  });
}

function readCheck(group: RecordReader): ConfigHealthCheck | undefined {
  const reader = group.readRecord('healthCheck', CHECK_KIND);
  if (reader === undefined) return undefined;
  const kind = reader.read('type', (text) => parseChoice(text, ['http', 'tcp'] as const))?.value ?? 'http';
  const statuses = reader.readList('status', parseStatuses, STATUSES_MAX)?.map(({ value }) => value);
  if (kind === 'tcp')
    for (const name of ['path', 'host', 'status', 'body'])
      if (reader.node(name) !== undefined) reader.report(name, 'is for checks of type http');
  const check = {
    kind,
    path: reader.read('path', parsePrefix)?.value ?? '/',
    host: reader.read('host', parseAuthority)?.value,
    statuses: statuses ?? [{ first: 200, last: 399 }],
    body: reader.read('body', parseBodyText)?.value,
    intervalMs: reader.read('interval', (text) => parseTime(text, { min: '10ms', max: '1h' }))?.value ?? 5000,
    timeoutMs: reader.read('timeout', (text) => parseTime(text, { min: '1ms', max: '10m' }))?.value ?? 2000,
    rise: reader.read('rise', (text) => parseNumber(text, { min: 1, max: 100 }))?.value ?? 2,
    fall: reader.read('fall', (text) => parseNumber(text, { min: 1, max: 100 }))?.value ?? 3,
  };
  return check;
}

function readOutlier(group: RecordReader): ConfigOutlier | undefined {
  const reader = group.readRecord('outlier', OUTLIER_KIND);
  if (reader === undefined) return undefined;
  const outlier = {
    failuresMax: reader.read('failures', (text) => parseNumber(text, { min: 1, max: 100 }))?.value ?? DEFAULT_OUTLIER.failuresMax,
    errorPercent: reader.read('errorRate', (text) => parseNumber(text, { min: 0, max: 100 }))?.value ?? DEFAULT_OUTLIER.errorPercent,
    slowFactor: reader.read('slowFactor', (text) => parseNumber(text, { min: 2, max: 100 }))?.value ?? DEFAULT_OUTLIER.slowFactor,
    restMs: reader.read('rest', (text) => parseTime(text, { min: '10ms', max: '1h' }))?.value ?? DEFAULT_OUTLIER.restMs,
    restMsMax: reader.read('restMax', (text) => parseTime(text, { min: '10ms', max: '1d' }))?.value ?? DEFAULT_OUTLIER.restMsMax,
  };
  if (outlier.restMsMax < outlier.restMs) reader.report('restMax', 'is shorter than rest');
  return outlier;
}

/** The nodes that are listed, and where others are found. */
function readServers(reader: RecordReader, key: string, problems: ConfigProblem[]): Pick<GivenGroup, 'nodes' | 'discovery' | 'basePath'> {
  const found = readDiscovery(reader);
  const { nodes, basePath } = readNodes(reader, key, problems);
  if (nodes.length > 0 && found?.basePath !== undefined && found.basePath !== basePath)
    reader.report('discover', `has another path than the first node (${basePath || '/'}); nodes of a group answer alike`);
  return { nodes, discovery: found?.discovery, basePath: nodes.length > 0 ? basePath : (found?.basePath ?? '') };
}

interface ReadNode {
  readonly node: ConfigNode;
  readonly url: Placed<OriginUrl>;
}

function readNodes(
  group: RecordReader,
  key: string,
  problems: ConfigProblem[],
): { readonly nodes: readonly ConfigNode[]; readonly basePath: string } {
  const list = group.node('nodes');
  const isFound = group.node('discover') !== undefined;
  if (list === undefined && !isFound)
    group.report(undefined, 'needs nodes: a list of servers, each with its url; or discover, which finds them');
  const nodes = list === undefined ? [] : readRecords(list, { key: `${key}.nodes`, kind: NODE_KIND, problems }, readNode);
  if (list?.kind === 'none') group.report('nodes', 'is empty; add a node');
  const [first] = nodes;
  for (const [index, { url }] of nodes.entries()) {
    const report = (message: string): void => {
      problems.push({ source: url.place.file, place: url.place, key: `${key}.nodes.${index}.url`, message });
    };
    if (first !== undefined && url.value.basePath !== first.url.value.basePath)
      report(`has another path than the first node (${first.url.value.basePath || '/'}); nodes of a group answer alike`);
    if (nodes.findIndex((other) => other.url.value.origin === url.value.origin) < index)
      report('is a node of this group already; use weight');
  }
  if (!isFound && nodes.length > 0 && nodes.every(({ node }) => node.isBackup))
    group.report('nodes', 'are all backups; one at least has to be none');
  return { nodes: nodes.map(({ node }) => node), basePath: first?.url.value.basePath ?? '' };
}

function readNode(reader: RecordReader): ReadNode | undefined {
  const url = reader.readRequired('url', parseOrigin);
  const weight = reader.read('weight', (text) => parseNumber(text, { min: 1, max: WEIGHT_MAX }));
  const sni = reader.read('sni', parseHostName);
  const verifies = reader.read('verifyCertificate', parseBoolean);
  const backup = reader.read('backup', parseBoolean);
  if (url === undefined) return undefined;
  const { origin } = url.value;
  for (const [name, given] of [
    ['sni', sni],
    ['verifyCertificate', verifies],
  ] as const)
    if (given !== undefined && !origin.startsWith('https:')) reader.report(name, 'is about TLS, and the url is not https');
  return {
    url,
    node: {
      origin,
      weight: weight?.value ?? 1,
      sni: sni?.value,
      verifiesCertificate: verifies?.value ?? true,
      isBackup: backup?.value ?? false,
    },
  };
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

function parseStatuses(text: string): Parsed<{ readonly first: number; readonly last: number }> {
  const [, first, last] = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(text.trim()) ?? [];
  if (first === undefined || Number(last ?? first) < Number(first))
    return invalid(`must be a status or several, such as 200 or 200-399, not ${quoteText(text)}`);
  return parsed({ first: Number(first), last: Number(last ?? first) });
}

function parseBodyText(text: string): Parsed<string> {
  return text !== '' && text.length <= 256 ? parsed(text) : invalid('must be 1 to 256 characters');
}

function parseHashSource(text: string): Parsed<ConfigHashSource> {
  const word = text.trim();
  if (word === 'client' || word === 'path' || word === 'key') return parsed({ kind: word });
  const name = /^header\s+([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64})$/.exec(word)?.[1];
  if (name !== undefined) return parsed({ kind: 'header', name: name.toLowerCase() });
  return invalid(`must be client, path, key or header NAME, not ${quoteText(text)}`);
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
