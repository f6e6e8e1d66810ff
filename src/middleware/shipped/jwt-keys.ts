/**
 * Where the keys of `jwt` come from: a secret, a file with a key set (RFC 7517), or a URL of one, which is fetched ahead of need, again from time to time, and
 * when a token names a key that is not known; no more often than every half minute, and what is known stays while it cannot be fetched.
 */
import type { JSONWebKeySet } from 'jose';
import type { MiddlewareServices } from '../middleware.ts';
import { WatchedFile } from './watched-file.ts';

/** Keys as they are now; undefined while there are none. */
export interface KeySource {
  readonly keys: Uint8Array | JSONWebKeySet | undefined;
  /** A token names a key that is not among them. Resolves to whether others are there now. */
  refresh(): Promise<boolean>;
}

const KEYS_MAX = 64;
const SET_BYTES_MAX = 256 * 1024;
const FETCH_MS = 5000;
const COOLDOWN_MS = 30_000;
/** While no keys are known at all. */
const FIRST_COOLDOWN_MS = 1000;

/** The one secret. */
export function secretKeys(secret: string): KeySource {
  return { keys: new TextEncoder().encode(secret), refresh: async () => false };
}

/** A file. @throws Error when it cannot be read or used */
export function fileKeys(file: string, services: MiddlewareServices): KeySource {
  const watched = new WatchedFile(file, parseKeySet, services);
  return {
    get keys() {
      return watched.content;
    },
    refresh: async () => false,
  };
}

/** A URL. */
export class UrlKeys implements KeySource {
  readonly #url: string;
  readonly #services: MiddlewareServices<'fetched' | 'fetch-failed'>;
  #keys: JSONWebKeySet | undefined;
  #triedMs = Number.NEGATIVE_INFINITY;
  #running: Promise<boolean> | undefined;

  constructor(url: string, refreshMs: number, services: MiddlewareServices<'fetched' | 'fetch-failed'>) {
    this.#url = url;
    this.#services = services;
    services.every(refreshMs, () => void this.#fetch());
    void this.#fetch();
  }

  get keys(): JSONWebKeySet | undefined {
    return this.#keys;
  }

  async refresh(): Promise<boolean> {
    if (this.#running !== undefined) return this.#running;
    const cooldownMs = this.#keys === undefined ? FIRST_COOLDOWN_MS : COOLDOWN_MS;
    if (this.#services.monotonicMs() - this.#triedMs < cooldownMs) return false;
    return this.#fetch();
  }

  #fetch(): Promise<boolean> {
    this.#running ??= this.#fetchNow().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #fetchNow(): Promise<boolean> {
    const { monotonicMs, fetchText, count, log } = this.#services;
    this.#triedMs = monotonicMs();
    try {
      this.#keys = parseKeySet(await fetchText(this.#url, { bytesMax: SET_BYTES_MAX, timeoutMs: FETCH_MS }));
      count('fetched');
      return true;
    } catch (error) {
      count('fetch-failed');
      log('warn', 'keys could not be fetched', { url: this.#url, err: error });
      return false;
    }
  }
}

/** @throws Error */
function parseKeySet(text: string): JSONWebKeySet {
  const set: unknown = JSON.parse(text);
  if (!isKeySet(set)) throw new Error('this is no key set: an object with a list `keys` (RFC 7517)');
  if (set.keys.length === 0 || set.keys.length > KEYS_MAX)
    throw new Error(`the set has ${set.keys.length} keys; 1 to ${KEYS_MAX} are possible`);
  return set;
}

function isKeySet(set: unknown): set is JSONWebKeySet {
  return (
    typeof set === 'object' &&
    set !== null &&
    'keys' in set &&
    Array.isArray(set.keys) &&
    set.keys.every((key) => typeof key === 'object' && key !== null && 'kty' in key && typeof key.kty === 'string')
  );
}
