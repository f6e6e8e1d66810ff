/** Purging what an operator names: from the text to the key, prefix or tag, through the store and the fills in progress. */
import type { NamedPurge, PurgeReport } from '../admin/admin-server.ts';
import { EdgeError } from '../base/errors.ts';
import { type CacheKey, cacheKey } from '../cache/cache-key.ts';
import { parseRequestTarget, type TargetFault } from '../http/request-target.ts';
import type { ProxyServices } from '../proxy/services.ts';
import type { PurgeTarget } from '../store/slice-store.ts';

/**
 * Forgets for good, or makes stale: when this resolves, no request that comes later is answered with what is covered before the origin was
 * asked, crash or no crash.
 *
 * @throws EdgeError REQUEST_INVALID, STORE_UNAVAILABLE
 */
export async function purgeNamed(named: NamedPurge, isSoft: boolean, services: ProxyServices): Promise<PurgeReport> {
  const { target, key } = targetOf(named, services.site.name);
  services.resolver.forget(target, isSoft);
  const purging = services.store.purge(target, { isSoft });
  // Also what was given out in the same moment, and what a full table of purges made wait.
  const { knownObjects, isWalkNeeded } = await purging.finally(() => services.resolver.forget(target, isSoft));
  return { kind: named.kind, key, isSoft, knownObjects, isWalkNeeded };
}

function targetOf(named: NamedPurge, siteName: string): { readonly target: PurgeTarget; readonly key: string } {
  switch (named.kind) {
    case 'url': {
      const { keyText, objectHash } = keyOf(named.url, siteName);
      return { target: { kind: 'object', objectHash }, key: keyText };
    }
    case 'prefix': {
      // Normalised, it would be the folder above: more than is named.
      if (/\/\.{1,2}$/.test(named.prefix)) throw new EdgeError('REQUEST_INVALID', 'A prefix that ends in a dot segment is not clear');
      const { keyText } = keyOf(named.prefix, siteName);
      return { target: { kind: 'prefix', keyPrefix: keyText }, key: keyText };
    }
    case 'tag': {
      if (named.tag === '' || /[\s,]/.test(named.tag)) throw new EdgeError('REQUEST_INVALID', 'A tag is one word without commas');
      // Header fields are bytes, which the program keeps one by one in a string.
      return { target: { kind: 'tag', tag: Buffer.from(named.tag, 'utf8').toString('latin1') }, key: named.tag };
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

function keyOf(url: string, siteName: string): CacheKey {
  const target = parseRequestTarget(url, undefined);
  if (target.kind === 'invalid')
    throw new EdgeError('REQUEST_INVALID', `${JSON.stringify(url)} is no URL or path that could be cached; ${TARGET_WORDS[target.why]}`);
  const key = cacheKey({ siteName, path: target.path, query: target.query });
  if (key === undefined) throw new EdgeError('REQUEST_INVALID', 'The URL is too long to be cached');
  return key;
}
