/** Purging a URL as clients ask for it: from the text to the key, through the store and the fills in progress. */
import { EdgeError } from '../base/errors.ts';
import { cacheKey } from '../cache/cache-key.ts';
import { parseRequestTarget } from '../http/request-target.ts';
import type { ProxyServices } from '../proxy/services.ts';

/** What a purge did. */
export interface PurgeReport {
  /** Whether something was stored. */
  readonly wasStored: boolean;
  readonly key: string;
}

/**
 * Forgets one object for good: when this resolves, no request that comes later is answered with it, crash or no crash.
 *
 * @param url absolute (host and scheme are not looked at), or a path with query
 * @throws EdgeError REQUEST_INVALID, STORE_UNAVAILABLE
 */
export async function purgeUrl(url: string, services: ProxyServices): Promise<PurgeReport> {
  const target = parseRequestTarget(url, undefined);
  if (target.kind === 'invalid')
    throw new EdgeError('REQUEST_INVALID', `${JSON.stringify(url)} is no URL or path that could be cached (${target.why})`);
  const key = cacheKey({ siteName: services.site.name, path: target.path, query: target.query });
  if (key === undefined) throw new EdgeError('REQUEST_INVALID', 'The URL is too long to be cached');
  services.resolver.forget(key.objectHash);
  const { knownObjects } = await services.store.purge({ kind: 'object', objectHash: key.objectHash });
  services.resolver.forget(key.objectHash);
  return { wasStored: knownObjects > 0, key: key.keyText };
}
