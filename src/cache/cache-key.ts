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

/** What the keys of a site begin with. */
export interface KeyedSite {
  /** Not empty, no `/` and no `@`. */
  readonly name: string;
  /** `host[:port]` of the origin. */
  readonly authority: string;
  /** The origin is sent the client's Host, and so may answer by it: each host has keys of its own. */
  readonly preservesHost: boolean;
}

/** What a key is made of. */
export interface KeyParts {
  /** As keySiteName() gives it: not empty, no `/`. */
  readonly siteName: string;
  /** Normalised, begins with `/`. */
  readonly path: string;
  /** Normalised, undefined without `?`. */
  readonly query: string | undefined;
}

/** A key in both its forms. */
export interface CacheKey {
  /** `site/path?query`, or `site@host/path?query` */
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

/**
 * The site as keys name it.
 *
 * @param host normalised; undefined when a request names none, which is then about the origin's own
 */
export function keySiteName(site: KeyedSite, host: string | undefined): string {
  return site.preservesHost ? `${site.name}@${hostAtOrigin(site, host)}` : site.name;
}

/** The Host that the origin is sent. What it may choose by is in the key, so both are made here. */
export function hostAtOrigin(site: KeyedSite, host: string | undefined): string {
  return (site.preservesHost ? host : undefined) ?? site.authority;
}

/** The host in a key's text; undefined where hosts are not told apart. */
export function hostOfKey(keyText: string): string | undefined {
  const siteName = siteNameOf(keyText);
  const at = siteName.indexOf('@');
  return at < 0 ? undefined : siteName.slice(at + 1);
}

/** The site that a key's text belongs to, with its host where that is part of it. */
export function siteNameOf(keyText: string): string {
  return keyText.slice(0, keyText.indexOf('/'));
}

/** The path in a key's text. */
export function pathOf(keyText: string): string {
  return keyText.slice(keyText.indexOf('/')).replace(/\?.*/s, '');
}

/** The hash of a key's text, for whoever has the text only. */
export function hashKeyText(keyText: string): ObjectHash {
  return hash('sha256', keyText, 'hex').slice(0, OBJECT_HASH_DIGITS) as ObjectHash;
}
