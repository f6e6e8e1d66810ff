/**
 * Carries out what the answer to an unsafe method means for the cache (RFC 9111 s4.4, RFC 9875 s3), before its first byte is passed on: who has seen that
 * something was changed is not answered with how it was before. Called by *bypass*.
 */
import { invalidatedGroupTags } from '../cache/cache-groups.ts';
import { cacheKey } from '../cache/cache-key.ts';
import { invalidResources, isSafeMethod } from '../cache/invalidation.ts';
import { fieldValue } from '../http/header-fields.ts';
import { parseRequestTarget } from '../http/request-target.ts';
import type { UpstreamHead } from '../upstream/upstream-transport.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';

export function invalidateAfter(context: RequestContext, services: ProxyServices, head: UpstreamHead): void {
  const { site, purger } = services;
  const { method, request, fields } = context;
  if (isSafeMethod(method)) return;
  const parsed = parseRequestTarget(request.url ?? '/', fieldValue(fields, 'host'));
  const host = parsed.kind === 'ok' ? parsed.host : undefined;
  const target = { path: context.need('path'), query: context.query, host };
  for (const { cause, path, query } of invalidResources({ method, target, status: head.status, fields: head.fields, origin: site })) {
    const key = cacheKey({ siteName: site.name, path, query });
    // What has no key is never stored.
    if (key !== undefined) purger.invalidate({ kind: 'object', objectHash: key.objectHash }, cause);
  }
  // RFC 9875 s3 names no status: an origin that names groups has changed something in them, whatever became of the rest.
  const { tags, excess } = invalidatedGroupTags(head.fields, site.name);
  for (const tag of tags) purger.invalidate({ kind: 'tag', tag }, 'group');
  purger.countExcess(excess);
}
