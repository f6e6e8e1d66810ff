/**
 * The request fields that the express lane knows: those that it reads, and those that change nothing about an answer from the cache. A request
 * with any other field is for node:http. Names are found by a hash of their bytes and then compared, so that no string is made of them.
 */

/** What becomes of a field. `ignored`: it changes nothing about a hit. */
export type FieldUse =
  | 'host'
  | 'connection'
  | 'range'
  | 'if-none-match'
  | 'cache-control'
  | 'pragma'
  | 'cdn-loop'
  | 'user-agent'
  | 'referer'
  | 'traceparent'
  | 'ignored';

/** A known name. */
export interface KnownField {
  /** Lower-case, as bytes. */
  readonly bytes: Uint8Array;
  readonly use: FieldUse;
}

const READ: readonly Exclude<FieldUse, 'ignored'>[] = [
  'host',
  'connection',
  'range',
  'if-none-match',
  'cache-control',
  'pragma',
  'cdn-loop',
  'user-agent',
  'referer',
  'traceparent',
];

/** Fields that describe the client, its page or its way here. Whatever a variant may depend on is harmless too: what varies is not answered here. */
const IGNORED: readonly string[] = [
  'accept',
  'accept-charset',
  'accept-encoding',
  'accept-language',
  'device-memory',
  'dnt',
  'downlink',
  'dpr',
  'ect',
  'forwarded',
  'from',
  'keep-alive',
  'origin',
  'priority',
  'purpose',
  'rtt',
  'save-data',
  'sec-ch-prefers-color-scheme',
  'sec-ch-ua',
  'sec-ch-ua-arch',
  'sec-ch-ua-bitness',
  'sec-ch-ua-full-version-list',
  'sec-ch-ua-mobile',
  'sec-ch-ua-model',
  'sec-ch-ua-platform',
  'sec-ch-ua-platform-version',
  'sec-fetch-dest',
  'sec-fetch-mode',
  'sec-fetch-site',
  'sec-fetch-storage-access',
  'sec-fetch-user',
  'sec-gpc',
  'sec-purpose',
  'tracestate',
  'upgrade-insecure-requests',
  'via',
  'viewport-width',
  'width',
  'x-correlation-id',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-real-ip',
  'x-request-id',
  'x-requested-with',
];

/** Tokens' characters (RFC 9110 s5.6.2) as lower-case bytes; 0 for every other byte. */
export const NAME_BYTES: Uint8Array = tokenBytes();

/** The next value of a name's hash, which begins with 0. */
export function hashName(hash: number, lowerByte: number): number {
  return (Math.imul(hash, 31) + lowerByte) & 0x7fffffff;
}

/** The table. */
export class KnownFields {
  readonly #byHash = new Map<number, KnownField>();

  constructor() {
    for (const name of READ) this.#add(name, name);
    for (const name of IGNORED) this.#add(name, 'ignored');
  }

  /** The known field whose name stands at [start, end) of `bytes`, in any case. @param hash of it, by hashName() */
  find(hash: number, bytes: Uint8Array, start: number, end: number): KnownField | undefined {
    const known = this.#byHash.get(hash);
    if (known === undefined || known.bytes.length !== end - start) return undefined;
    for (let index = 0; index < known.bytes.length; index += 1) {
      if (known.bytes[index] !== NAME_BYTES[bytes[start + index] ?? 0]) return undefined;
    }
    return known;
  }

  #add(name: string, use: FieldUse): void {
    const bytes = Buffer.from(name, 'latin1');
    let hash = 0;
    for (const byte of bytes) hash = hashName(hash, byte);
    // Of two names with one hash the later is handed over, which is slower and right.
    if (!this.#byHash.has(hash)) this.#byHash.set(hash, { bytes, use });
  }
}

function tokenBytes(): Uint8Array {
  const table = new Uint8Array(256);
  for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") table[character.charCodeAt(0)] = character.charCodeAt(0);
  for (let byte = 0x41; byte <= 0x5a; byte += 1) table[byte] = byte + 0x20;
  return table;
}
