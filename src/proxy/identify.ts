/** Stage *identify*: the cache key, whether the cache may answer at all, and how the origin is asked for what is stored for everybody. */

import { EdgeError } from '../base/errors.ts';
import { cacheKey } from '../cache/cache-key.ts';
import { judgeRequest } from '../cache/request-policy.ts';
import { fieldValue } from '../http/header-fields.ts';
import { parseRangeHeader, type RangeSpec } from '../http/range.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';
import { sharedRequestFields, upstreamPath } from './upstream-request.ts';

export function identify(context: RequestContext, services: ProxyServices): StageOutcome {
  const { site } = services;
  const path = context.need('path');
  const rule = context.need('rule');
  context.key = cacheKey({ siteName: site.name, path, query: context.query });
  const verdict = judgeRequest({ method: context.method, fields: context.fields, rule });
  if (verdict.kind === 'bypass') {
    return verdict.onlyIfCached ? notCached() : { kind: 'bypass', reason: verdict.reason };
  }
  context.lookup = verdict;
  if (context.key === undefined) return verdict.onlyIfCached ? notCached() : { kind: 'bypass', reason: 'key-too-long' };
  services.store.noteRequest(context.key.objectHash, startBytes(context));
  context.target = {
    ...context.key,
    rule,
    transport: site.transport,
    upstreamPath: upstreamPath(site, path, context.query),
    fields: sharedRequestFields(context, services),
  };
  return NEXT;
}

/** Where the request begins in the object; the last so many bytes are a place of their own. */
export function startBytes(context: RequestContext): number {
  const range = wantedRange(context);
  if (range === undefined) return 0;
  return 'suffix' in range ? Number.MAX_SAFE_INTEGER : range.first;
}

/** RFC 9111 s5.2.1.7. */
export function notCached(): StageOutcome {
  return { kind: 'fail', error: new EdgeError('NOT_CACHED') };
}

/** The one range of a GET; several are answered with everything for now, as RFC 9110 s14.2 allows. */
export function wantedRange(context: RequestContext): RangeSpec | undefined {
  if (context.method !== 'GET') return undefined;
  const ranges = parseRangeHeader(fieldValue(context.fields, 'range'));
  return ranges?.length === 1 ? ranges[0] : undefined;
}
