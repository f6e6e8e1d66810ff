/**
 * The configuration as the program uses it: plain readonly data, sizes in bytes, times in milliseconds, every option present. Made by
 * loadConfig() only; handed down from the composition root piece by piece.
 */
import type { LogLevel } from '../base/log.ts';
import type { AnyOptions } from '../base/module-options.ts';
import type { ListenAddress, ServiceAddress } from './listen-address.ts';
import type { Network } from './network.ts';
import type { ACCESS_FORMATS, BALANCE_WORDS, DEVICE_IO, PresetName, REQUEST_ID_WORDS } from './options.ts';

/** A site rule, in the shape in which the cache layer takes it. */
export interface ConfigRule {
  readonly name: string;
  /** Tested against the normalised path of the request, without query. */
  readonly pattern: RegExp;
  readonly isImmutable: boolean;
  /** Undefined: the origin decides. */
  readonly freshForMs: number | undefined;
  /** Of 404 and 410. Undefined: the origin decides. */
  readonly missingFreshForMs: number | undefined;
  /** Undefined: the origin decides. */
  readonly staleWhileRevalidateMs: number | undefined;
  /** Undefined: the origin decides. */
  readonly staleIfErrorMs: number | undefined;
  /** What becomes of a response with Set-Cookie. */
  readonly setCookie: 'refuse' | 'strip' | 'keep';
  /** Whether content whose type contradicts its extension is kept out. */
  readonly checksContentType: boolean;
  readonly ignoresClientCacheControl: boolean;
  readonly store: 'auto' | 'always' | 'never';
  readonly encodings: 'client' | 'identity';
  /** Undefined: redirects are passed to the client. */
  readonly redirects?: { readonly hopsMax: number; readonly hosts: readonly string[] } | undefined;
}

/** A node. */
export interface ConfigNode {
  /** `http://host[:port]` or https. */
  readonly origin: string;
  readonly weight: number;
  /** Undefined: the host of the origin. */
  readonly sni: string | undefined;
  readonly verifiesCertificate: boolean;
  /** Asked only when no other node is well. */
  readonly isBackup: boolean;
}

/** What requests are balanced by where they are hashed. */
export type ConfigHashSource = { readonly kind: 'client' | 'path' | 'key' } | { readonly kind: 'header'; readonly name: string };

/** How nodes are checked, apart from the requests of clients. */
export interface ConfigHealthCheck {
  readonly kind: 'tcp' | 'http';
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** In a row, for a node that is down to be up again, and the other way round. */
  readonly rise: number;
  readonly fall: number;
  readonly path: string;
  /** Undefined: the host that the node is sent otherwise. */
  readonly host: string | undefined;
  /** Inclusive. */
  readonly statuses: readonly { readonly first: number; readonly last: number }[];
  readonly body: string | undefined;
}

/** When nodes are left alone because of their answers. */
export interface ConfigOutlier {
  readonly failuresMax: number;
  /** 0: not looked at. */
  readonly errorPercent: number;
  /** 0: not looked at. */
  readonly slowFactor: number;
  readonly restMs: number;
  readonly restMsMax: number;
}

/** Protocols of groups. */
export const ORIGIN_PROTOCOLS = ['http/1.1', 'h2'] as const;
/** One of ORIGIN_PROTOCOLS. */
export type OriginProtocol = (typeof ORIGIN_PROTOCOLS)[number];

/** Where nodes are found, whoever is asked. */
interface ConfigDiscoveryBase {
  readonly scheme: 'http' | 'https';
  /** What stands for the nodes where one name is needed: `host[:port]` or the like. */
  readonly authority: string;
  /** Undefined: the name that a node was found by. */
  readonly sni: string | undefined;
  readonly verifiesCertificate: boolean;
  /** That addresses have to be in; undefined: any. */
  readonly networks: readonly Network[] | undefined;
  /** Whether an answer without nodes empties the group. */
  readonly takesEmpty: boolean;
  /** That a start or reload waits for the first answer. */
  readonly waitMs: number;
  /** For one question. */
  readonly timeoutMs: number;
}

/** Nodes by DNS. */
export interface ConfigDnsDiscovery extends ConfigDiscoveryBase {
  readonly kind: 'dns';
  readonly name: string;
  /** SRV records; else addresses. */
  readonly isService: boolean;
  readonly families: readonly ('A' | 'AAAA')[];
  /** Of addresses. */
  readonly port: number;
  /** None: those of the system. */
  readonly servers: readonly { readonly host: string; readonly port: number }[];
  readonly ttlMsMin: number;
  readonly ttlMsMax: number;
}

/** A secret: written out, or in a file that is read each time; undefined: none. */
export type ConfigSecret = { readonly text: string } | { readonly file: string } | undefined;

/** A service over HTTP that knows nodes. */
interface ConfigApi {
  /** At least one; tried in this order. */
  readonly urls: readonly string[];
  /** PEM file with the authorities that its certificate is verified by; undefined: those of Node. */
  readonly caFile: string | undefined;
  /** Of the program itself. */
  readonly certificate: ConfigCertificate | undefined;
}

/** Nodes by Consul. */
export interface ConfigConsulDiscovery extends ConfigDiscoveryBase, ConfigApi {
  readonly kind: 'consul';
  readonly service: string;
  readonly tags: readonly string[];
  readonly datacenter: string | undefined;
  readonly token: ConfigSecret;
  readonly holdMs: number;
}

/** Nodes by etcd. */
export interface ConfigEtcdDiscovery extends ConfigDiscoveryBase, ConfigApi {
  readonly kind: 'etcd';
  readonly prefix: string;
  /** Undefined: nobody in particular. */
  readonly user: { readonly name: string; readonly password: NonNullable<ConfigSecret> } | undefined;
}

/** Where nodes are found. */
export type ConfigDiscovery = ConfigDnsDiscovery | ConfigConsulDiscovery | ConfigEtcdDiscovery;

/** A set of nodes that answer alike. */
export interface ConfigGroup {
  readonly name: string;
  /** Made of `upstream.url`: what is stored is told apart by the origin, not by the name. */
  readonly isNamedByOrigin: boolean;
  /** At least one, unless nodes are found. */
  readonly nodes: readonly ConfigNode[];
  /** Where nodes beside `nodes` are found; undefined: nowhere. */
  readonly discovery: ConfigDiscovery | undefined;
  /** Path before every request path: empty, or `/x/y` without slash at the end. */
  readonly basePath: string;
  readonly balance: (typeof BALANCE_WORDS)[number];
  /** A module that balances instead. */
  readonly balancer: ConfigModule | undefined;
  /** For `ketama` and `rendezvous`. */
  readonly hashOn: ConfigHashSource;
  /** Of the mean load that a node may have, in percent; 0: no bound. */
  readonly boundedLoadPercent: number;
  readonly slowStartMs: number;
  /** Share of the weight that has to be well for health to be regarded. */
  readonly panicPercent: number;
  readonly healthCheck: ConfigHealthCheck | undefined;
  readonly outlier: ConfigOutlier;
  /** Undefined: the host of the node, or the client's. */
  readonly hostHeader: string | undefined;
  /** Spoken with its nodes. */
  readonly protocol: OriginProtocol;
  readonly preservesHost: boolean;
  /** Nodes beside the first that a request is tried at. */
  readonly retriesMax: number;
  /** What of the requests may be retries, in percent. */
  readonly retryBudgetPercent: number;
  readonly connectTimeoutMs: number;
  readonly headTimeoutMs: number;
  readonly bodyTimeoutMs: number;
  /** To each node. */
  readonly connectionsMax: number;
}

/** Which paths a route takes. */
export type PathMatch =
  | { readonly kind: 'any' }
  | { readonly kind: 'prefix' | 'exact'; readonly path: string }
  | { readonly kind: 'pattern'; readonly pattern: RegExp };

/** A match, and what holds for the requests that it takes. */
export interface ConfigRoute {
  readonly name: string;
  /** Made because no routes are configured. */
  readonly isImplicit: boolean;
  /** Lower-case names and `*.suffix`; empty for any. */
  readonly hosts: readonly string[];
  readonly path: PathMatch;
  /** Upper-case; undefined for any. */
  readonly methods: readonly string[] | undefined;
  /** Name of its group. */
  readonly group: string;
  /** Not sent to the origin: empty, or `/x/y` without slash at the end. */
  readonly stripPrefix: string;
  /** Sent before the path: empty, or `/x/y` without slash at the end. */
  readonly addPrefix: string;
  /** The operator's rules, then the preset's; the first that matches decides. Names are unique. */
  readonly rules: readonly ConfigRule[];
  readonly sliceSizeBytes: number;
  /** Protocols that clients may change to, lower-case. */
  readonly upgrades: readonly string[];
  /** Names, in the order in which they are asked. */
  readonly middlewares: readonly string[];
}

/** A module with its options. */
export interface ConfigModule {
  /** A word, or the absolute path of a module. */
  readonly use: string;
  readonly options: AnyOptions;
  /** Its options for people, without secrets. */
  readonly shown: readonly string[];
}

/** A middleware with its options as its module takes them. */
export interface ConfigMiddleware extends ConfigModule {
  readonly name: string;
  /** For a hook that takes time. */
  readonly timeoutMs: number;
  /** Groups that its options name. */
  readonly upstreams: readonly string[];
}

/** Versions of TLS that may be the lowest. */
export const TLS_MIN_VERSIONS = ['1.2', '1.3'] as const;
/** One of TLS_MIN_VERSIONS. */
export type TlsMinVersion = (typeof TLS_MIN_VERSIONS)[number];

/** Fields that trusted proxies may tell clients by; the first is the default. */
export const FORWARDED_FIELDS = ['x-forwarded-for', 'forwarded'] as const;

/** Paths of PEM files. */
export interface ConfigCertificate {
  readonly certFile: string;
  readonly keyFile: string;
}

/** Listeners with their routes. */
export interface ConfigService {
  readonly name: string;
  /** Made because no services are configured. */
  readonly isImplicit: boolean;
  readonly listen: readonly ServiceAddress[];
  /** Names, in the order in which they are tried. */
  readonly routes: readonly string[];
  /** With any, its addresses speak TLS. */
  readonly certificates: readonly ConfigCertificate[];
  readonly tlsMinVersion: TlsMinVersion;
  /** Connections begin with the PROXY protocol. */
  readonly takesProxyProtocol: boolean;
  /** By ALPN where its addresses speak TLS, else with prior knowledge. */
  readonly hasHttp2: boolean;
  /** Whose word about the client of a request counts; undefined: nobody's, and what clients say of it is passed on. */
  readonly trustedProxies: readonly Network[] | undefined;
  /** The one in which it counts. */
  readonly forwardedField: (typeof FORWARDED_FIELDS)[number];
  /** Names, in the order in which they are asked, before those of the route. */
  readonly middlewares: readonly string[];
}

/** One configuration that was found valid. `services`, `routes` and `groups` are what is served; the short form is in them. */
export interface EdgeConfig {
  readonly services: readonly ConfigService[];
  readonly routes: readonly ConfigRoute[];
  readonly groups: readonly ConfigGroup[];
  readonly middlewares: readonly ConfigMiddleware[];
  /** This, `upstream`, `preset` and `rules`: what the options say, to be shown. */
  readonly listen: ServiceAddress;
  /** Whether plain hits are answered from the raw socket. */
  readonly expressLane: boolean;
  readonly admin: { readonly listen: ListenAddress; readonly token: string | undefined };
  /** Who may purge through the port of the clients; undefined: does not restrict, and nobody may where both are. */
  readonly purge: { readonly allow: readonly Network[] | undefined; readonly token: string | undefined };
  readonly upstream: {
    /** `http://host[:port]` or https, without path; undefined where there are only groups. */
    readonly origin: string | undefined;
    /** Path before every request path: empty, or `/x/y` without slash at the end. */
    readonly basePath: string;
    readonly connectTimeoutMs: number;
    readonly headTimeoutMs: number;
    readonly bodyTimeoutMs: number;
    readonly connectionsMax: number;
    readonly preservesHost: boolean;
  };
  readonly preset: PresetName;
  /** The operator's rules, then the preset's; the first that matches decides. Names are unique. */
  readonly rules: readonly ConfigRule[];
  readonly device: {
    /** At least one, each once. */
    readonly paths: readonly string[];
    readonly sizeBytes: number;
    readonly formatsBlank: boolean;
    readonly io: (typeof DEVICE_IO)[number];
    /** Bytes a day that a full device may be written; undefined: no limit. */
    readonly writeBudgetBytes: number | undefined;
    readonly compression: 'auto' | 'off';
    /** 0: not scrubbed. */
    readonly scrubPeriodMs: number;
    /** Whether devices are told of free room. */
    readonly trims: boolean;
  };
  readonly memory: { readonly arenaBytes: number };
  readonly slice: { readonly sizeBytes: number };
  /** `staleIfErrorMs`: past freshness, where neither origin nor rule says. */
  readonly cache: { readonly staleIfErrorMs: number };
  /** Protocols that clients may change to where a route does not say, lower-case. */
  readonly upgrades: readonly string[];
  readonly limits: {
    /** Per resource. */
    readonly variantsMax: number;
    readonly connectionsMax: number;
    readonly requestsMax: number;
    /** Of one connection of HTTP/2. */
    readonly streamsMax: number;
    readonly clientStallMs: number;
    readonly uploadStallMs: number;
    readonly tunnelsMax: number;
    readonly tunnelIdleMs: number;
    readonly headerBytesMax: number;
    readonly headerTimeoutMs: number;
    readonly rangesMax: number;
    readonly rangeSurplusBytes: number;
    /** A minute. */
    readonly clientSurplusBytes: number;
  };
  /** Whether Cache-Status names the key. */
  readonly cacheStatus: { readonly key: boolean };
  readonly log: {
    readonly level: LogLevel;
    readonly access: boolean;
    readonly accessFormat: (typeof ACCESS_FORMATS)[number];
    /** Undefined: into the program's log. */
    readonly accessFile: string | undefined;
  };
  /** Who is told the id of a request, beside the log. */
  readonly requestId: (typeof REQUEST_ID_WORDS)[number];
  /** How often the file is looked at; 0: never. */
  readonly reload: { readonly intervalMs: number };
  readonly shutdown: { readonly drainMs: number };
}
