/**
 * What an operator names when something is to be purged, from the text to what the store understands. Pure. Used for both ports and, to
 * refuse what is malformed before anything is sent, by the command line.
 */
import { EdgeError } from '../base/errors.ts';
import { parseRequestTarget, type TargetFault } from '../http/request-target.ts';
import type { PurgeTarget } from '../store/slice-store.ts';
import { type CacheKey, cacheKey, type KeyedSite, keySiteName } from './cache-key.ts';

/** Words for what is purged. */
export const PURGE_SCOPES = ['url', 'prefix', 'tag', 'host', 'everything'] as const;
/** One of PURGE_SCOPES. */
export type PurgeScopeName = (typeof PURGE_SCOPES)[number];

/**
 * A URL or a beginning of URLs (absolute, or a path with query), a tag, a host, all. Schemes are not looked at. Hosts are where the site keeps
 * them apart; `host` is then the one that a path is about. Elsewhere a host means everything of the site.
 */
export type NamedPurge =
  | { readonly kind: 'url'; readonly url: string; readonly host?: string | undefined }
  | { readonly kind: 'prefix'; readonly prefix: string; readonly host?: string | undefined }
  | { readonly kind: 'tag'; readonly tag: string }
  | { readonly kind: 'host'; readonly host: string }
  | { readonly kind: 'everything' };

/** A purge for the store, and the key, the beginning of keys or the tag to name it by; empty for everything. */
export interface ResolvedPurge {
  readonly target: PurgeTarget;
  readonly key: string;
}

/** The sites that answer for a host or a path; all of them for what is undefined. */
export interface SiteDirectory {
  find(about: { readonly host: string | undefined; readonly path: string | undefined }): readonly KeyedSite[];
}

/**
 * A purge for each site that may hold what is named.
 *
 * @param within the sites that it may reach, where that may not be all
 * @returns at least one
 * @throws EdgeError REQUEST_INVALID when nothing that is stored could be meant
 */
export function resolvePurges(named: NamedPurge, sites: SiteDirectory, within: SiteDirectory = sites): readonly ResolvedPurge[] {
  if (named.kind === 'tag' || named.kind === 'everything') {
    const { target, key } = resolvePurge(named, ANY_SITE);
    const reached = within === sites ? undefined : someOf(within, sites);
    return reached === undefined ? [{ target, key }] : reached.map((site) => limited(target, site));
  }
  const place = placeOf(named);
  const found = within.find(place);
  if (found.length === 0) {
    const what = place.host === undefined ? `the path ${place.path ?? '/'}` : `${place.host}${place.path ?? ''}`;
    throw invalid(`No route answers for ${what}, so nothing of it is stored`);
  }
  return found.map((site) => resolvePurge(named, site));
}

/** The sites of one directory; undefined when they are all that there are. */
function someOf(within: SiteDirectory, sites: SiteDirectory): readonly KeyedSite[] | undefined {
  const every = { host: undefined, path: undefined };
  const reached = within.find(every);
  const names = new Set(reached.map(({ name }) => name));
  return sites.find(every).every(({ name }) => names.has(name)) ? undefined : reached;
}

/** A purge by tag or of everything, of one site. */
function limited(target: PurgeTarget, site: KeyedSite): ResolvedPurge {
  // What ends the site's name, so that no other site's begins alike (cache-key.ts).
  const keyPrefix = `${site.name}${site.preservesHost ? '@' : '/'}`;
  return target.kind === 'tag'
    ? { target: { ...target, keyPrefix }, key: `${keyPrefix}:${target.tag}` }
    : { target: { kind: 'prefix', keyPrefix }, key: keyPrefix };
}

/** For what is not about a site. */
const ANY_SITE: KeyedSite = { name: 'any', authority: 'any', preservesHost: false };

/** What routes are looked for by. A prefix may lead to routes of any path below it, or above. */
function placeOf(named: Extract<NamedPurge, { kind: 'url' | 'prefix' | 'host' }>): { host: string | undefined; path: string | undefined } {
  if (named.kind === 'host') {
    const target = parseRequestTarget('/', named.host);
    return { host: target.kind === 'ok' ? target.host : undefined, path: undefined };
  }
  const target = parseRequestTarget(named.kind === 'url' ? named.url : named.prefix, named.host);
  if (target.kind === 'invalid') return { host: undefined, path: undefined };
  return { host: target.host, path: named.kind === 'url' ? target.path : undefined };
}

/** @throws EdgeError REQUEST_INVALID when nothing that is stored could be meant */
export function resolvePurge(named: NamedPurge, site: KeyedSite): ResolvedPurge {
  switch (named.kind) {
    case 'url': {
      const { keyText, objectHash } = keyOf(named.url, named.host, site);
      return { target: { kind: 'object', objectHash }, key: keyText };
    }
    case 'prefix': {
      // Normalised, it would be the folder above: more than is named.
      if (/\/\.{1,2}$/.test(named.prefix)) throw invalid('A prefix that ends in a dot segment is not clear');
      const { keyText } = keyOf(named.prefix, named.host, site);
      return { target: { kind: 'prefix', keyPrefix: keyText }, key: keyText };
    }
    case 'tag': {
      if (named.tag === '' || /[\s,]/.test(named.tag)) throw invalid('A tag is one word without commas');
      // Header fields are bytes, which the program keeps one by one in a string.
      return { target: { kind: 'tag', tag: Buffer.from(named.tag, 'utf8').toString('latin1') }, key: named.tag };
    }
    case 'host': {
      const target = parseRequestTarget('/', named.host);
      if (target.kind === 'invalid' || target.host === '')
        throw invalid(`${JSON.stringify(named.host)} is no host, such as mirror.example:8080`);
      // The slash ends the site's name, so that no other site's begins alike.
      const keyPrefix = `${keySiteName(site, target.host)}/`;
      return { target: { kind: 'prefix', keyPrefix }, key: keyPrefix };
    }
    case 'everything':
      return { target: { kind: 'everything' }, key: '' };
  }
}

/** What is wrong with a target, for whoever typed it. */
const TARGET_WORDS: Readonly<Record<TargetFault, string>> = {
  'too-long': 'it is too long',
  form: 'a path begins with /, a URL with http:// or https://',
  character: 'spaces, # and what is not ASCII are written with %',
  'percent-encoding': 'two hexadecimal digits follow every %',
  host: 'its host is none',
};

function keyOf(url: string, host: string | undefined, site: KeyedSite): CacheKey {
  const target = parseRequestTarget(url, host);
  if (target.kind === 'invalid')
    throw invalid(`${JSON.stringify(url)} is no URL or path that could be cached; ${TARGET_WORDS[target.why]}`);
  // Of some host, but of which? What was meant would stay.
  if (site.preservesHost && target.host === undefined)
    throw invalid(`${JSON.stringify(url)} needs its host (http://HOST/PATH): hosts are kept apart (upstream.preserveHost)`);
  const key = cacheKey({ siteName: keySiteName(site, target.host), path: target.path, query: target.query });
  if (key === undefined) throw invalid('The URL is too long to be cached');
  return key;
}

function invalid(message: string): EdgeError {
  return new EdgeError('REQUEST_INVALID', message);
}
