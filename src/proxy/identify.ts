/** Stage *identify*: the cache key, whether the cache may answer at all, and how the origin is asked for what is stored for everybody. */

import { EdgeError } from '../base/errors.ts';
import { cacheKey } from '../cache/cache-key.ts';
import { judgeRequest } from '../cache/request-policy.ts';
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
  context.target = {
    ...context.key,
    rule,
    transport: site.transport,
    upstreamPath: upstreamPath(site, path, context.query),
    fields: sharedRequestFields(context, services),
  };
  return NEXT;
}

/** RFC 9111 s5.2.1.7. */
export function notCached(): StageOutcome {
  return { kind: 'fail', error: new EdgeError('NOT_CACHED') };
}
