/**
 * The key of an object: the text that says which resource it is, and the hash under which the store knows it. The parts come normalised
 * from http/request-target, and no two different triples give one text.
 */
import { hash } from 'node:crypto';
import { assert } from '../base/assert.ts';
import type { ObjectHash } from '../format/manifest.ts';

/** The manifest's record has room for this much key, in bytes of UTF-8. */
export const MAX_KEY_BYTES = 3072;
/** Hexadecimal digits of 128 bits. */
const OBJECT_HASH_DIGITS = 32;

/** What a key is made of. */
export interface KeyParts {
  /** The site's name in the configuration; not empty, no `/`. */
  readonly siteName: string;
  /** Normalised, begins with `/`. */
  readonly path: string;
  /** Normalised, undefined without `?`. */
  readonly query: string | undefined;
}

/** A key in both its forms. */
export interface CacheKey {
  /** `site/path?query` */
  readonly keyText: string;
  /** The first 128 bits of the text's SHA-256. */
  readonly objectHash: ObjectHash;
}

/** @returns undefined when the text is longer than MAX_KEY_BYTES: the request passes through */
export function cacheKey({ siteName, path, query }: KeyParts): CacheKey | undefined {
  // The first `/` ends the site's name and the first `?` ends the path, so the text can be taken apart in one way only.
  assert(!siteName.includes('/'), 'cacheKey: site name contains /');
  assert(path.startsWith('/') && !path.includes('?'), 'cacheKey: path is not normalised');
  const keyText = query === undefined ? siteName + path : `${siteName}${path}?${query}`;
  if (Buffer.byteLength(keyText) > MAX_KEY_BYTES) return undefined;
  return { keyText, objectHash: hashKeyText(keyText) };
}

/** The name of the site that a key's text belongs to. */
export function siteNameOf(keyText: string): string {
  return keyText.slice(0, keyText.indexOf('/'));
}

/** The hash of a key's text, for whoever has the text only. */
export function hashKeyText(keyText: string): ObjectHash {
  return hash('sha256', keyText, 'hex').slice(0, OBJECT_HASH_DIGITS) as ObjectHash;
}
