/**
 * The table of options: every key of the configuration with its form, its bounds, its default and what it means. The schema's defaults and
 * bounds, the reference in the README and `config check --print-effective` are made from it. Rules are not in it, being a list:
 * site-rules.ts describes them.
 */
import { LOG_LEVELS } from '../base/log.ts';

/** Words for `preset`; each has a file in config/presets. */
export const PRESET_NAMES = ['generic', 'debian', 'ubuntu', 'fedora', 'arch', 'alpine', 'pypi', 'npm', 'iso'] as const;
/** One of PRESET_NAMES. */
export type PresetName = (typeof PRESET_NAMES)[number];

/** Words for `device.io`. */
export const DEVICE_IO = ['auto', 'threads', 'pool'] as const;

/** Words for `device.compression`. */
export const COMPRESSION_WORDS = ['auto', 'off'] as const;

/** Words for `log.accessFormat`. */
export const ACCESS_FORMATS = ['json', 'combined'] as const;

/** Words for `requestId`. */
export const REQUEST_ID_WORDS = ['off', 'origin', 'client'] as const;

/** Words for `balance`. */
export const BALANCE_WORDS = ['round-robin', 'random', 'two-choices', 'least-connections', 'ketama', 'rendezvous'] as const;

/** Text form of an option's value. */
export type OptionKind =
  | 'address'
  | 'url'
  | 'duration'
  | 'size'
  | 'count'
  | 'boolean'
  | 'choice'
  | 'paths'
  | 'networks'
  | 'protocols'
  | 'file'
  | 'secret';

/** One row. `default`, `min` and `max` are in the text form of the kind. Without a default an option is unset unless it is required. */
export interface OptionRow {
  readonly kind: OptionKind;
  readonly default?: string | undefined;
  readonly isRequired?: true | undefined;
  readonly min?: string | undefined;
  readonly max?: string | undefined;
  readonly choices?: readonly string[] | undefined;
  readonly description: string;
}

/** Every option by its dotted key. */
export const OPTIONS = {
  listen: {
    kind: 'address',
    default: '127.0.0.1:8080',
    description:
      'Address that clients connect to; `0.0.0.0:8080` or `[::]:8080` for every interface, `unix:/path/of.sock` for a Unix socket (its mode is 660 unless `;mode=666` or the like says otherwise). Not beside `services`',
  },
  expressLane: {
    kind: 'boolean',
    default: 'true',
    description:
      'Answer plain GET and HEAD requests for what is stored and fresh from the raw socket; connections that ask for anything else go to the general HTTP server with that request. `false` sends all of them there, as do TLS, `proxyProtocol` and `trustedProxies`',
  },
  'admin.listen': {
    kind: 'address',
    default: '127.0.0.1:8081',
    description: 'Address of health, metrics and purge; any but a loopback address needs `admin.token`',
  },
  'admin.token': { kind: 'secret', description: 'Secret that admin requests must carry as a bearer token (8 to 256 visible characters)' },
  'purge.allow': {
    kind: 'networks',
    description:
      'Clients that may purge with the method PURGE: networks such as 192.0.2.0/24 or single addresses; a list in YAML, commas between them elsewhere. With `purge.token` too, both must hold; with neither, nobody may',
  },
  'purge.token': {
    kind: 'secret',
    description: 'Secret that a PURGE must carry as a bearer token (8 to 256 visible characters)',
  },
  'upstream.url': {
    kind: 'url',
    isRequired: true,
    description:
      'The origin: http or https, host, port if unusual, and a path that goes before every request path. May be left out beside `upstreams`; with them it is one more group, `default`',
  },
  'upstream.connectTimeout': {
    kind: 'duration',
    default: '5s',
    min: '1ms',
    max: '10m',
    description: 'Time for a connection to the origin to open',
  },
  'upstream.headTimeout': {
    kind: 'duration',
    default: '30s',
    min: '1ms',
    max: '1h',
    description: "Time from sending a request to the end of the response's header fields; may be noticed half a second late",
  },
  'upstream.bodyTimeout': {
    kind: 'duration',
    default: '30s',
    min: '1ms',
    max: '1h',
    description: 'Time without a byte within a response body; may be noticed half a second late',
  },
  'upstream.connections': {
    kind: 'count',
    default: '64',
    min: '1',
    max: '4096',
    description: 'Connections to the origin at a time; requests with content have as many of their own',
  },
  'upstream.preserveHost': {
    kind: 'boolean',
    default: 'false',
    description:
      "Send the client's Host field to the origin instead of the host of `upstream.url`, and keep what is stored apart by host. Anybody can send any Host, so the origin must refuse hosts that it does not know",
  },
  upgrade: {
    kind: 'protocols',
    default: 'websocket',
    description:
      'Protocols that clients may change their connection to (Upgrade) where the origin does: `websocket` and others by name, a list in YAML, commas between them elsewhere; `none` for none. What is not named is answered as if it had not been asked for; HTTP/2 and TLS (`h2c`) cannot be',
  },
  preset: {
    kind: 'choice',
    default: 'generic',
    choices: PRESET_NAMES,
    description: 'Rules for a kind of mirror, tried after those in `rules`',
  },
  'device.path': {
    kind: 'paths',
    isRequired: true,
    description:
      'Block device or regular file that holds the cache; several are one cache: a list in YAML, commas between them elsewhere (so a path has none). A relative path starts at the current directory',
  },
  'device.size': {
    kind: 'size',
    default: '10GiB',
    min: '64MiB',
    max: '1024TiB',
    description:
      'Size of the regular file when it is created, unless set at most half of what is free; a block device and a file that exists keep theirs',
  },
  'device.formatBlank': {
    kind: 'boolean',
    default: 'false',
    description: 'Format a blank device (or a new file) at the start instead of stopping; anything that is not blank is never formatted',
  },
  'device.writeBudget': {
    kind: 'size',
    min: '1MiB',
    max: '1024TiB',
    description:
      'Bytes a day that may be written to each device once it is full, counted before compression; more is not kept, unless a rule says `store: always`. Unset: no limit',
  },
  'device.io': {
    kind: 'choice',
    default: 'auto',
    choices: DEVICE_IO,
    description:
      "Who reads and writes the device: `threads` of its own, so that nothing else waits for a slow disk nor it for them; libuv's `pool`, for less memory; `auto` is threads",
  },
  'device.compression': {
    kind: 'choice',
    default: 'auto',
    choices: COMPRESSION_WORDS,
    description: 'Compress slices on the device (LZ4) where that saves an eighth and there is time for it; `off` writes them as they came',
  },
  'device.scrub': {
    kind: 'duration',
    default: '30d',
    min: '0',
    max: '365d',
    description:
      'Time in which everything on a device is read and verified once, beside other work and at 64MiB a second at most, so that sectors that rot are found and fetched anew; 0 for never',
  },
  'device.trim': {
    kind: 'boolean',
    default: 'false',
    description:
      'Tell the device of room that stays free for a minute or more, while it has nothing else to do: TRIM of a block device, holes in a file',
  },
  'memory.arena': {
    kind: 'size',
    default: '256MiB',
    min: '4MiB',
    max: '4GiB',
    description: 'Memory for body bytes: transfers and the RAM tier; a multiple of 64KiB and at least 8 slices',
  },
  'slice.size': {
    kind: 'size',
    default: '1MiB',
    min: '64KiB',
    max: '8MiB',
    description: 'Bytes of one slice, a power of two; objects stored already keep theirs',
  },
  'limits.variants': {
    kind: 'count',
    default: '16',
    min: '1',
    max: '64',
    description:
      'Selections (values of the request fields that Vary names) of one resource that are kept apart; another one takes the place of what was asked for least',
  },
  'cache.staleIfError': {
    kind: 'duration',
    default: '1d',
    min: '0',
    max: '365d',
    description:
      'How long past its freshness a response is served while the origin fails, where neither the origin (`stale-if-error`) nor a rule says; never where the origin forbids it (`must-revalidate`, `proxy-revalidate`, `no-cache`, `s-maxage`)',
  },
  'limits.connections': {
    kind: 'count',
    default: '16384',
    min: '1',
    max: '1000000',
    description: 'Connections of clients at a time; more are closed at once',
  },
  'limits.requests': {
    kind: 'count',
    default: '10000',
    min: '1',
    max: '1000000',
    description: 'Requests in progress at a time; more get 503',
  },
  'limits.streams': {
    kind: 'count',
    default: '128',
    min: '1',
    max: '10000',
    description: 'Requests in progress at a time on one connection of HTTP/2; the client is told, and more are refused',
  },
  'limits.clientStall': {
    kind: 'duration',
    default: '60s',
    min: '1s',
    max: '1d',
    description:
      'Time in which a client must take what is on its way to it, 64 KiB or so; up to four times as long where more is. Then it is disconnected',
  },
  'limits.uploadStall': {
    kind: 'duration',
    default: '60s',
    min: '1s',
    max: '1d',
    description: "Time without a byte of a request's content, while the origin would take one, after which the client is disconnected",
  },
  'limits.tunnels': {
    kind: 'count',
    default: '1024',
    min: '0',
    max: '1000000',
    description:
      'Connections at a time that have changed their protocol (`upgrade`), beside `limits.requests`, in which they count too; more get 503',
  },
  'limits.tunnelIdle': {
    kind: 'duration',
    default: '10m',
    min: '1s',
    max: '7d',
    description: 'Time without a byte in either direction after which such a connection is cut',
  },
  'limits.headerBytes': {
    kind: 'size',
    default: '16KiB',
    min: '1KiB',
    max: '1MiB',
    description: "Bytes of a request's line and header fields",
  },
  'limits.headerTimeout': {
    kind: 'duration',
    default: '10s',
    min: '100ms',
    max: '10m',
    description: "Time for a request's line and header fields to arrive",
  },
  'limits.ranges': {
    kind: 'count',
    default: '256',
    min: '1',
    max: '1000',
    description: 'Ranges of one request; one that asks for more is answered with everything',
  },
  'limits.rangeSurplus': {
    kind: 'size',
    default: '128MiB',
    min: '64KiB',
    max: '1TiB',
    description:
      'Bytes around the ranges of one request that are fetched with them, to fill slices; where it would be more, what is missing is fetched as asked and not stored',
  },
  'limits.clientSurplus': {
    kind: 'size',
    default: '1GiB',
    min: '64KiB',
    max: '1TiB',
    description:
      'The same for each client (address, or /64 of IPv6) and minute; past it, requests with ranges for what is not stored go to the origin as they came. To be raised where all clients have one address',
  },
  'cacheStatus.key': {
    kind: 'boolean',
    default: 'false',
    description: "Name the object's key in Cache-Status",
  },
  'log.level': { kind: 'choice', default: 'info', choices: LOG_LEVELS, description: 'Lowest level that is logged' },
  requestId: {
    kind: 'choice',
    default: 'origin',
    choices: REQUEST_ID_WORDS,
    description:
      'Give each request an id (`X-Request-ID`), which is in its line of the log: `origin` is told it, or `client` too, with every response; `off` for none. That of a request from `trustedProxies` is kept if it is well-formed',
  },
  'log.access': { kind: 'boolean', default: 'true', description: 'One line for each request' },
  'log.accessFormat': {
    kind: 'choice',
    default: 'json',
    choices: ACCESS_FORMATS,
    description: 'Form of these lines; `combined` is that of Apache and nginx, which GoAccess reads, and needs `log.accessFile`',
  },
  'log.accessFile': {
    kind: 'file',
    description:
      "File that these lines are appended to instead of going into the program's log on standard output; opened again by each reload (SIGHUP), for logrotate. A relative path starts at the current directory",
  },
  'reload.interval': {
    kind: 'duration',
    default: '2s',
    min: '0',
    max: '1h',
    description:
      'How often the configuration file is looked at; one that has changed and stood still for as long is loaded while the program runs. 0 for never: then SIGHUP or `POST /reload` does it',
  },
  'shutdown.drain': {
    kind: 'duration',
    default: '30s',
    min: '0',
    max: '1h',
    description: 'Time for requests in progress to end after a signal to stop',
  },
} as const satisfies Record<string, OptionRow>;

/** Dotted key of an option. */
export type OptionKey = keyof typeof OPTIONS;

/** Rows with their keys, in the table's order. */
export function listOptions(): readonly (readonly [OptionKey, OptionRow])[] {
  return OPTION_KEYS.map((key) => [key, OPTIONS[key]]);
}

/** Whether `key` is a dotted key of the table. */
export function isOptionKey(key: string): key is OptionKey {
  return Object.hasOwn(OPTIONS, key);
}

/** Every dotted key, in the table's order. */
export const OPTION_KEYS: readonly OptionKey[] = Object.keys(OPTIONS).filter(isOptionKey);
