/**
 * Carries out what the answer to an unsafe method means for the cache (RFC 9111 s4.4, RFC 9875 s3), before its first byte is
 * passed on: who has seen that something was changed is not answered with how it was before, crash or no crash. Called by *bypass*.
 */
import { invalidatedGroupTags } from '../cache/cache-groups.ts';
import { cacheKey, keySiteName } from '../cache/cache-key.ts';
import { invalidResources, isSafeMethod } from '../cache/invalidation.ts';
import { fieldValue } from '../http/header-fields.ts';
import { parseRequestTarget } from '../http/request-target.ts';
import type { UpstreamHead } from '../upstream/upstream-transport.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices, ServedRoute, Site } from './services.ts';

/** How long an answer waits until what it invalidates is on the device; one that hangs does not hold it up for longer. */
const DURABLE_WAIT_MS = 1000;

/** Invalidates in the same turn; resolves when that holds over a crash too, or after a second. At once where nothing is stored. */
export async function invalidateAfter(context: RequestContext, services: ProxyServices, head: UpstreamHead): Promise<void> {
  if (isSafeMethod(context.method)) return;
  const writes = invalidateAll(context, services, head);
  if (writes.length === 0) return;
  const wait = new AbortController();
  await Promise.race([Promise.all(writes), services.clock.sleep(DURABLE_WAIT_MS, wait.signal)]);
  wait.abort();
}

function invalidateAll(context: RequestContext, { purger, service }: ProxyServices, head: UpstreamHead): readonly Promise<void>[] {
  const { method, request, fields } = context;
  const { site } = context.need('route');
  const parsed = parseRequestTarget(request.url ?? '/', fieldValue(fields, 'host'));
  const host = parsed.kind === 'ok' ? parsed.host : undefined;
  const target = { path: context.need('path'), query: context.query, host };
  const siteName = keySiteName(site, context.host);
  const writes: (Promise<void> | undefined)[] = [];
  for (const { cause, path, query } of invalidResources({ method, target, status: head.status, fields: head.fields, origin: site })) {
    // What is named beside the target may be another route's of this host.
    const verdict = cause === 'target' ? undefined : service.router.find({ host, path, method: 'GET' });
    const others = verdict?.kind === 'route' ? sitesOf(verdict.route) : sitesOf(context.need('route'));
    for (const name of new Set([siteName, ...others.map((other) => keySiteName(other, context.host))])) {
      const key = cacheKey({ siteName: name, path, query });
      // What has no key is never stored.
      if (key !== undefined) writes.push(purger.invalidate({ kind: 'object', objectHash: key.objectHash }, cause));
    }
  }
  // RFC 9875 s3 names no status: an origin that names groups has changed something in them, whatever became of the rest.
  const { tags, excess } = invalidatedGroupTags(head.fields, siteName);
  for (const tag of tags) writes.push(purger.invalidate({ kind: 'tag', tag }, 'group'));
  purger.countExcess(excess);
  return writes.filter((write) => write !== undefined);
}

/** All that may answer for a route: whatever a middleware chose, the resource is one. */
function sitesOf(route: ServedRoute): readonly Site[] {
  return [route.site, ...[...route.alternatives.values()].map(({ site }) => site)];
}
