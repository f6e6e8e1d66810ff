/**
 * The configuration as the program uses it: plain readonly data, sizes in bytes, times in milliseconds, every option present. Made by
 * loadConfig() only; handed down from the composition root piece by piece.
 */
import type { LogLevel } from '../base/log.ts';
import type { ListenAddress } from './listen-address.ts';
import type { Network } from './network.ts';
import type { DEVICE_IO, PresetName } from './options.ts';

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

/** One configuration that was found valid. */
export interface EdgeConfig {
  readonly listen: ListenAddress;
  /** Whether plain hits are answered from the raw socket. */
  readonly expressLane: boolean;
  readonly admin: { readonly listen: ListenAddress; readonly token: string | undefined };
  /** Who may purge through the port of the clients; undefined: does not restrict, and nobody may where both are. */
  readonly purge: { readonly allow: readonly Network[] | undefined; readonly token: string | undefined };
  readonly upstream: {
    /** `http://host[:port]` or https, without path. */
    readonly origin: string;
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
  readonly limits: {
    /** Per resource. */
    readonly variantsMax: number;
    readonly connectionsMax: number;
    readonly requestsMax: number;
    readonly clientStallMs: number;
    readonly uploadStallMs: number;
    readonly headerBytesMax: number;
    readonly headerTimeoutMs: number;
    readonly rangesMax: number;
    readonly rangeSurplusBytes: number;
    /** A minute. */
    readonly clientSurplusBytes: number;
  };
  /** Whether Cache-Status names the key. */
  readonly cacheStatus: { readonly key: boolean };
  readonly log: { readonly level: LogLevel; readonly access: boolean };
  readonly shutdown: { readonly drainMs: number };
}
