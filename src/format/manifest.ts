/**
 * The manifest: the record of one object, as every layer above the device knows it. Freshness, revalidation and purge act on it, once per
 * object; slices are only bytes. FORMAT.md says how it lies on disk (manifest-record.ts encodes it).
 */

/** 128 bits of the normalised key's SHA-256, as 32 lower-case hexadecimal digits. */
export type ObjectHash = string & { readonly brand: 'ObjectHash' };

/** One stored header field; `name` is lower-case, `value` has no surrounding white space. Order and repetitions are the origin's. */
export type HeaderField = readonly [name: string, value: string];

/** Everything that a 304 can renew. Times are wall-clock milliseconds since 1970. */
export interface ManifestFreshness {
  /** When the response head that made or renewed this manifest arrived. */
  readonly receivedAtMs: number;
  /** Corrected initial age at that moment, in seconds (RFC 9111 s4.2.3). */
  readonly initialAgeSeconds: number;
  /** Until when it may be served without asking the origin. */
  readonly freshUntilMs: number;
}

/** One version of one object. Immutable: a change of content opens a new generation. */
export interface Manifest extends ManifestFreshness {
  /** Number from the cache's one counter, 1 to 2^48 - 1; part of every slice's key, never used twice. */
  readonly generation: number;
  readonly objectHash: ObjectHash;
  /** The normalised key, at most 3,072 bytes of UTF-8. */
  readonly keyText: string;
  readonly status: number;
  /** End-to-end fields of the stored response, at most 16 KiB in all; Content-Length and Content-Range are not among them. */
  readonly fields: readonly HeaderField[];
  /** Names of groups that it can be purged by, at most TAGS_MAX, in no order. */
  readonly tags: readonly string[];
  /** Bytes of the whole representation; undefined only while the object is growing (never on disk). */
  readonly lengthBytes: number | undefined;
  /** Power of two, 64 KiB to 8 MiB. */
  readonly sliceSizeBytes: number;
}
