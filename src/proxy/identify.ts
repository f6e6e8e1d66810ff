/** Stage *identify*: the cache key, whether the cache may answer at all, and how the origin is asked for what is stored for everybody. */

import { EdgeError } from '../base/errors.ts';
import { type CacheKey, cacheKey, keySiteName } from '../cache/cache-key.ts';
import { openingRange } from '../cache/range-plan.ts';
import { judgeRequest } from '../cache/request-policy.ts';
import type { SiteRule } from '../cache/site-rule.ts';
import type { FillTarget } from '../fill/fill-context.ts';
import { fieldValue } from '../http/header-fields.ts';
import { parseRangeHeader } from '../http/range.ts';
import { placeOf } from '../upstream/origin-abilities.ts';
import { affinityOf } from './affinity.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices, Site } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';
import { sharedRequestFields, transportFor, upstreamPath } from './upstream-request.ts';

export function identify(context: RequestContext, services: ProxyServices): StageOutcome {
  const { site } = context.need('route');
  const path = context.need('path');
  const rule = context.need('rule');
  context.key = cacheKey({ siteName: keySiteName(site, context.host), path, query: context.query });
  if (context.upgrade !== undefined) return { kind: 'tunnel' };
  const verdict = judgeRequest({ method: context.method, fields: context.fields, rule });
  if (verdict.kind === 'bypass') {
    return verdict.onlyIfCached ? notCached() : { kind: 'bypass', reason: verdict.reason };
  }
  context.lookup = verdict;
  if (context.key === undefined) return verdict.onlyIfCached ? notCached() : { kind: 'bypass', reason: 'key-too-long' };
  context.ranges = wantedRanges(context, services);
  services.store.noteRequest(context.key.objectHash, startBytes(context));
  context.target = fillTarget(context, services, { site, key: context.key, path, rule });
  return NEXT;
}

/** How the origin is asked for what is stored for everybody under the key. */
export function fillTarget(
  request: Pick<RequestContext, 'host' | 'query' | 'fields'> & { readonly clientAddress?: string | undefined },
  services: ProxyServices,
  place: { readonly site: Site; readonly key: CacheKey; readonly path: string; readonly rule: SiteRule },
): FillTarget {
  const { site, key, path, rule } = place;
  const targetPath = upstreamPath(site, path, request.query);
  return {
    ...key,
    rule,
    transport: transportFor(rule, site),
    upstreamPath: targetPath,
    place: placeOf(site.placeName, targetPath),
    sliceSizeBytes: site.sliceSizeBytes,
    affinity: affinityOf(site.hashOn, { client: request.clientAddress, path, keyText: key.keyText, fields: request.fields }),
    fields: sharedRequestFields(request, site, services),
  };
}

/** Where the request begins in the object; the last so many bytes are a place of their own. */
export function startBytes(context: Pick<RequestContext, 'ranges'>): number {
  const range = openingRange(context.ranges ?? []);
  if (range === undefined) return 0;
  return 'suffix' in range ? Number.MAX_SAFE_INTEGER : range.first;
}

/** RFC 9111 s5.2.1.7. */
export function notCached(): StageOutcome {
  return { kind: 'fail', error: new EdgeError('NOT_CACHED') };
}

/** What the Range field asks for; undefined when there is none that counts (RFC 9110 s14.2: only GET has ranges, too many are ignored). */
function wantedRanges(context: RequestContext, services: ProxyServices): RequestContext['ranges'] {
  const ranges = context.method === 'GET' ? parseRangeHeader(fieldValue(context.fields, 'range')) : undefined;
  if (ranges === undefined || ranges.length <= services.limits.rangesMax) return ranges;
  services.metrics.add('rangeLimits', 1, 'count');
  return undefined;
}
