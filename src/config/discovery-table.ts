/** The record `discover` of an upstream group: where its nodes are found. Called by group-table.ts. */
import { isIP } from 'node:net';
import type { ConfigConsulDiscovery, ConfigDiscovery, ConfigSecret } from './edge-config.ts';
import { parseFile } from './file-path.ts';
import { parseNetworks } from './network.ts';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';
import type { RecordReader } from './record-reader.ts';
import { parseBoolean, parseChoice, parseOrigin, parseSecret } from './schema.ts';
import { LABELS, parseFolder, parseHostName, parseNumber, parseTime } from './text-values.ts';

const SERVERS_MAX = 8;
const NETWORKS_MAX = 64;
const TAGS_MAX = 16;
const URLS_MAX = 8;

/** Keys of `discover`. */
export const DISCOVER_KEYS = {
  type: '`dns`, `consul` or `etcd`',
  scheme: '`http` (the default) or `https`, of all nodes',
  path: 'Path that goes before every request path',
  sni: 'Name that TLS asks for and verifies instead of the name that a node was found by',
  verifyCertificate: 'As for `nodes`',
  networks: 'Networks that addresses have to be in; left out: any. Others are not taken, and counted',
  takeEmpty: '`true`: an answer without nodes empties the group; `false` (the default): those of before stay',
  wait: 'Time that a start or reload waits for the first answer (default 3s, at most 1m); then requests are answered with 503 until there is one',
  timeout: 'Time for one question (default 2s)',
  name: '`dns`: name whose addresses are nodes, or whose SRV records name them: targets with weight and port, those of another than the lowest priority as backups',
  record: '`dns`: `address` (A and AAAA, the default), `a`, `aaaa`, or `srv`, which is the default for a name that begins with `_`',
  port: '`dns`: port of addresses; left out: that of the scheme',
  servers: '`dns`: address of a DNS server, with port if unusual, or a list; left out: those of /etc/resolv.conf',
  minTtl: '`dns`: shortest time that an answer is used, whatever its TTL (default 1s)',
  maxTtl: '`dns`: longest time that an answer is used (default 1m)',
  url: '`consul`, `etcd`: URL to ask (default `http://127.0.0.1:8500`, `http://127.0.0.1:2379`), or a list, tried in turn; https is verified',
  ca: '`consul`, `etcd`: PEM file with the authorities that verify the certificate of `url`; left out: the usual ones',
  cert: '`consul`, `etcd`: PEM file with the certificate of this program, with `key`',
  key: '`consul`, `etcd`: PEM file with its private key',
  service: '`consul`: name of the service; instances whose checks all pass are nodes, with their weights',
  tags: '`consul`: tag that an instance has to have, or a list of them',
  datacenter: "`consul`: left out: the agent's own",
  token: '`consul`: ACL token',
  tokenFile: '`consul`: file with the token, read for each question',
  hold: '`consul`: time that it may hold a question until something changes (default 1m, at most 10m)',
  prefix:
    '`etcd`: beginning of the keys under which nodes stand: `host:port`, or JSON with `address` (or `host` and `port`) and if need be `weight`, `backup` and `name`',
  user: '`etcd`: who asks',
  password: '`etcd`: password of `user`',
  passwordFile: '`etcd`: file with it, read each time that it is needed',
} as const;

type DiscoverKey = keyof typeof DISCOVER_KEYS;

const DISCOVER_KIND = { word: 'discovery', keys: DISCOVER_KEYS };
const TYPES = ['dns', 'consul', 'etcd'] as const;
type DiscoveryType = (typeof TYPES)[number];
const API_KEYS = ['url', 'ca', 'cert', 'key'] as const;
/** Keys that do not belong to all types. */
const OWN_KEYS: Readonly<Record<DiscoveryType, readonly DiscoverKey[]>> = {
  dns: ['name', 'record', 'port', 'servers', 'minTtl', 'maxTtl'],
  consul: [...API_KEYS, 'service', 'tags', 'datacenter', 'token', 'tokenFile', 'hold'],
  etcd: [...API_KEYS, 'prefix', 'user', 'password', 'passwordFile'],
};
const RECORD_WORDS = ['address', 'a', 'aaaa', 'srv'] as const;
const PORTS = { http: 80, https: 443 } as const;

type Shared = Pick<ConfigDiscovery, 'scheme' | 'sni' | 'verifiesCertificate' | 'networks' | 'takesEmpty' | 'waitMs' | 'timeoutMs'>;

/** What a group says of its discovery; undefined where it says nothing, or nothing of use. `basePath` undefined: it does not say. */
export function readDiscovery(
  group: RecordReader,
): { readonly discovery: ConfigDiscovery; readonly basePath: string | undefined } | undefined {
  const reader = group.readRecord('discover', DISCOVER_KIND);
  if (reader === undefined) {
    if (group.node('discover')?.kind === 'none') group.report('discover', 'is empty; say where nodes are found, or leave it out');
    return undefined;
  }
  const type = reader.readRequired('type', (text) => parseChoice(text, TYPES))?.value;
  if (type !== undefined) reportForeign(reader, type);
  const basePath = reader.read('path', parseFolder)?.value;
  const shared = readShared(reader);
  const discovery = type === undefined ? undefined : READERS[type](reader, shared);
  return discovery === undefined ? undefined : { discovery, basePath };
}

function reportForeign(reader: RecordReader, type: DiscoveryType): void {
  const own = new Set<string>(OWN_KEYS[type]);
  const owners = new Map<string, readonly string[]>();
  for (const [other, names] of Object.entries(OWN_KEYS)) for (const name of names) owners.set(name, [...(owners.get(name) ?? []), other]);
  for (const [name, types] of owners)
    if (reader.node(name) !== undefined && !own.has(name)) reader.report(name, `is for discovery of type ${types.join(' and ')}`);
}

function readShared(reader: RecordReader): Shared {
  const scheme = reader.read('scheme', (text) => parseChoice(text, ['http', 'https'] as const))?.value ?? 'http';
  for (const name of ['sni', 'verifyCertificate'])
    if (scheme === 'http' && reader.node(name) !== undefined) reader.report(name, 'is about TLS, and the scheme is not https');
  return {
    scheme,
    sni: reader.read('sni', parseHostName)?.value,
    verifiesCertificate: reader.read('verifyCertificate', parseBoolean)?.value ?? true,
    networks: reader.readList('networks', parseNetworks, NETWORKS_MAX)?.flatMap(({ value }) => value),
    takesEmpty: reader.read('takeEmpty', parseBoolean)?.value ?? false,
    waitMs: reader.read('wait', (text) => parseTime(text, { min: '0', max: '1m' }))?.value ?? 3000,
    timeoutMs: reader.read('timeout', (text) => parseTime(text, { min: '10ms', max: '1m' }))?.value ?? 2000,
  };
}

const READERS: Readonly<Record<DiscoveryType, (reader: RecordReader, shared: Shared) => ConfigDiscovery | undefined>> = {
  dns: readDns,
  consul: readConsul,
  etcd: readEtcd,
};

function readDns(reader: RecordReader, shared: Shared): ConfigDiscovery | undefined {
  const name = reader.readRequired('name', parseDnsName)?.value;
  const word =
    reader.read('record', (text) => parseChoice(text, RECORD_WORDS))?.value ?? (name?.startsWith('_') === true ? 'srv' : 'address');
  const port = reader.read('port', (text) => parseNumber(text, { min: 1, max: 65_535 }));
  if (word === 'srv' && port !== undefined) reader.report('port', 'is for addresses; SRV records name the port');
  const ttlMsMin = reader.read('minTtl', (text) => parseTime(text, { min: '100ms', max: '1h' }));
  const ttlMsMax = reader.read('maxTtl', (text) => parseTime(text, { min: '100ms', max: '1d' }));
  const times = {
    ttlMsMin: ttlMsMin?.value ?? Math.min(1000, ttlMsMax?.value ?? 1000),
    ttlMsMax: ttlMsMax?.value ?? Math.max(60_000, ttlMsMin?.value ?? 0),
  };
  if (times.ttlMsMax < times.ttlMsMin) reader.report('maxTtl', 'is shorter than minTtl');
  const servers = reader.readList('servers', parseDnsServer, SERVERS_MAX)?.map(({ value }) => value) ?? [];
  if (name === undefined) return undefined;
  const isService = word === 'srv';
  const usual = PORTS[shared.scheme];
  const own = port?.value ?? usual;
  const host = isService ? name.replace(/^(?:_[^.]+\.)+/, '') : name;
  const families = word === 'a' ? (['A'] as const) : word === 'aaaa' ? (['AAAA'] as const) : (['A', 'AAAA'] as const);
  const authority = isService || own === usual ? host : `${host}:${own}`;
  return { ...shared, ...times, kind: 'dns', authority, name, isService, families, port: own, servers };
}

function readConsul(reader: RecordReader, shared: Shared): ConfigDiscovery | undefined {
  const api = readApi(reader, 'http://127.0.0.1:8500');
  const service = reader.readRequired('service', parseWord)?.value;
  const tags = reader.readList('tags', parseWord, TAGS_MAX)?.map(({ value }) => value) ?? [];
  const datacenter = reader.read('datacenter', parseWord)?.value;
  const token = readSecret(reader, 'token', 'tokenFile');
  const holdMs = reader.read('hold', (text) => parseTime(text, { min: '1s', max: '10m' }))?.value ?? 60_000;
  if (service === undefined) return undefined;
  return {
    ...shared,
    ...api,
    kind: 'consul',
    authority: `${service.toLowerCase()}.service.consul`,
    service,
    tags,
    datacenter,
    token,
    holdMs,
  };
}

function readEtcd(reader: RecordReader, shared: Shared): ConfigDiscovery | undefined {
  const api = readApi(reader, 'http://127.0.0.1:2379');
  const prefix = reader.readRequired('prefix', parsePrefixOfKeys)?.value;
  const name = reader.read('user', parseWord)?.value;
  const password = readSecret(reader, 'password', 'passwordFile');
  const hasPassword = ['password', 'passwordFile'].some((key) => reader.node(key) !== undefined);
  if (reader.node('user') === undefined && hasPassword) reader.report('user', 'is required beside a password');
  if (reader.node('user') !== undefined && !hasPassword) reader.report('user', 'needs a password, or a passwordFile');
  if (prefix === undefined) return undefined;
  // A name for what has none of its own: where one stands for the nodes.
  const words = prefix.toLowerCase().match(/[a-z0-9]+/g) ?? [];
  const authority = [words.join('-').slice(0, 60).replace(/-$/, ''), 'etcd.internal'].filter((part) => part !== '').join('.');
  const user = name === undefined || password === undefined ? undefined : { name, password };
  return { ...shared, ...api, kind: 'etcd', authority, prefix, user };
}

function readApi(reader: RecordReader, usual: string): Pick<ConfigConsulDiscovery, 'urls' | 'caFile' | 'certificate'> {
  const urls = reader.readList('url', parseOrigin, URLS_MAX)?.map(({ value: { origin, basePath } }) => origin + basePath) ?? [usual];
  const caFile = reader.read('ca', parseFile)?.value;
  const certFile = reader.read('cert', parseFile)?.value;
  const keyFile = reader.read('key', parseFile)?.value;
  for (const name of ['ca', 'cert', 'key'])
    if (reader.node(name) !== undefined && !urls.some((url) => url.startsWith('https:')))
      reader.report(name, 'is about TLS, and url is not https');
  const isHalf = (certFile === undefined) !== (keyFile === undefined);
  if (isHalf) reader.report(certFile === undefined ? 'key' : 'cert', 'needs the other of cert and key');
  return { urls, caFile, certificate: certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile } };
}

/** The value never appears in a message. */
function readSecret(reader: RecordReader, name: string, fileName: string): ConfigSecret {
  const text = reader.read(name, parseSecret)?.value;
  const file = reader.read(fileName, parseFile)?.value;
  if (text !== undefined && file !== undefined) reader.report(fileName, `stands beside ${name}; keep one`);
  if (text !== undefined) return { text };
  return file === undefined ? undefined : { file };
}

/** A name in the words of others. */
function parseWord(text: string): Parsed<string> {
  const word = text.trim();
  return /^[\w.-]{1,128}$/.test(word)
    ? parsed(word)
    : invalid(`must be 1 to 128 letters, digits, dots, underscores or hyphens, not ${quoteText(text)}`);
}

function parsePrefixOfKeys(text: string): Parsed<string> {
  return text !== '' && text.length <= 512 ? parsed(text) : invalid('must be 1 to 512 characters, such as /services/web/');
}

/** As a host name; labels that begin with an underscore are common in it. */
function parseDnsName(text: string): Parsed<string> {
  const name = text.trim().toLowerCase().replace(/\.$/, '');
  if (isIP(name) !== 0) return invalid(`is an address, ${quoteText(text)}; an address is a node (nodes, url)`);
  return name.length <= 253 && LABELS.test(name) ? parsed(name) : invalid(`must be a name such as web.internal, not ${quoteText(text)}`);
}

/** An address with or without port, which is 53. */
function parseDnsServer(text: string): Parsed<{ readonly host: string; readonly port: number }> {
  const given = text.trim();
  const [, bracketed, plain, port = '53'] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(given) ?? [];
  const host = bracketed ?? plain ?? given;
  const isRight = bracketed === undefined ? isIP(host) !== 0 : isIP(host) === 6;
  return isRight && Number(port) >= 1 && Number(port) <= 65_535
    ? parsed({ host, port: Number(port) })
    : invalid(`must be the address of a DNS server such as 127.0.0.1, 127.0.0.1:5353 or [::1]:53, not ${quoteText(text)}`);
}
