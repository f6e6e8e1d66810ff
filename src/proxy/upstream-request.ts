/**
 * What is sent to the origin. A request that fills carries nothing of the client's but what selects a variant, because its answer is stored
 * for everybody who selects alike; one that passes through carries the client's own end-to-end fields.
 */
import { hostAtOrigin } from '../cache/cache-key.ts';
import type { SiteRule } from '../cache/site-rule.ts';
import { endToEndFields, type FieldList, fieldValue } from '../http/header-fields.ts';
import { appendCdnLoop, appendVia } from '../http/via.ts';
import type { UpstreamTransport } from '../upstream/upstream-transport.ts';
import type { RequestContext } from './request-context.ts';
import { REQUEST_ID_FIELD } from './request-id.ts';
import { withoutPrefix } from './router.ts';
import type { ProxyServices, Site } from './services.ts';
import { expectsContinue } from './upload.ts';

/** The way to the origin under a rule. */
export function transportFor(rule: SiteRule | undefined, site: Site): UpstreamTransport {
  return rule?.redirects === undefined ? site.transport : site.follow(rule.redirects);
}

/** Path and query at the origin. */
export function upstreamPath(site: Site, path: string, query: string | undefined): string {
  const own = site.basePath + withoutPrefix(path, site.stripPrefix);
  return query === undefined ? own : `${own}?${query}`;
}

/** Fields of a request whose answer is stored for everybody. */
export function sharedRequestFields(
  context: Pick<RequestContext, 'host' | 'fields'> & Partial<Pick<RequestContext, 'requestId'>>,
  site: Site,
  services: ProxyServices,
): FieldList {
  const isOwn = context.requestId !== undefined && services.requestIds.isOwn(context.requestId);
  const fields: FieldList = [
    ['host', hostAtOrigin(site, context.host)],
    ['user-agent', 'rawslice'],
    ['accept', '*/*'],
    // Ranges address the bytes of one representation; an encoding chosen on the way would make another one of it (RFC 9110 s8.4).
    ['accept-encoding', 'identity'],
    // The version that this client spoke would be something of the client's.
    ['via', appendVia(undefined, '1.1')],
    ['cdn-loop', appendCdnLoop(fieldValue(context.fields, 'cdn-loop'), services.loopId)],
    // The first client's, if it was made here: what another proxy says may be a client's word.
    ...(isOwn ? [[REQUEST_ID_FIELD, context.requestId ?? ''] as const] : []),
  ];
  return withOriginFields(fields, site);
}

/** What middlewares of the route say is said instead of whatever is there. */
function withOriginFields(fields: FieldList, { originFields }: Site): FieldList {
  if (originFields.length === 0) return fields;
  return [...fields.filter(([name]) => !originFields.some(([own]) => own === name)), ...originFields];
}

/** The client's fields as far as an origin may choose by them; what it is sent of them is what it names in Vary. */
export function selectingFields(context: RequestContext): FieldList {
  const { site } = context.need('route');
  const replaced: [string, string][] = [['host', hostAtOrigin(site, context.host)]];
  if (context.need('rule').encodings === 'identity') replaced.push(['accept-encoding', 'identity']);
  return withOriginFields(
    [...endToEndFields(context.fields).filter(([name]) => !replaced.some(([other]) => other === name)), ...replaced],
    site,
  );
}

/** Fields that this proxy writes itself. */
const REPLACED = new Set(['host', 'via', 'cdn-loop', 'expect', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto']);

/** Ranges are for GET; an origin that does not know would answer a HEAD with 206 or 416 (RFC 9110 s14.2). */
const RANGE_FIELDS = new Set(['range', 'if-range']);

/** The client's own fields, for a request that passes through. */
export function passedRequestFields(context: RequestContext, services: ProxyServices): FieldList {
  const { fields, request } = context;
  const hops = forwardsLeft(context);
  const isLeftOut = (name: string): boolean =>
    REPLACED.has(name) ||
    (name === REQUEST_ID_FIELD && context.requestId !== undefined) ||
    (name === 'forwarded' && !context.isFieldBelieved('forwarded')) ||
    (name === 'max-forwards' && hops !== undefined) ||
    (context.method === 'HEAD' && RANGE_FIELDS.has(name));
  const { site } = context.need('route');
  const kept = withOriginFields(
    endToEndFields(fields).filter(([name]) => !isLeftOut(name)),
    site,
  );
  const host = fieldValue(fields, 'host');
  const forwardedFor = addressesBefore(context);
  return [
    ['host', hostAtOrigin(site, context.host)],
    ...kept,
    ['via', appendVia(fieldValue(fields, 'via'), request.httpVersion)],
    ['cdn-loop', appendCdnLoop(fieldValue(fields, 'cdn-loop'), services.loopId)],
    ...(forwardedFor === '' ? [] : [['x-forwarded-for', forwardedFor] as const]),
    ...(host === undefined ? [] : [['x-forwarded-host', host] as const]),
    ['x-forwarded-proto', context.isSecure ? 'https' : 'http'],
    ...(context.requestId === undefined ? [] : [[REQUEST_ID_FIELD, context.requestId] as const]),
    ...(hops === undefined ? [] : [['max-forwards', String(hops - 1)] as const]),
    // RFC 9110 s10.1.1: whether the content is wanted is for the origin to say.
    ...(expectsContinue(context) ? [['expect', '100-continue'] as const] : []),
  ];
}

/** The chain as it is believed, and the peer behind it. What proxies say in `Forwarded` is told by the client that it makes known. */
function addressesBefore(context: RequestContext): string {
  const { peer, clientAddress, fields } = context;
  const known = clientAddress === peer.address ? undefined : clientAddress;
  const before = context.isFieldBelieved('x-forwarded-for') ? fieldValue(fields, 'x-forwarded-for') : known;
  return [before, peer.address].filter((part) => part !== undefined && part !== '').join(', ');
}

/** How many proxies may yet pass an OPTIONS on (RFC 9110 s7.6.2); undefined when the client did not say, or the method has no limit. */
export function forwardsLeft({ method, fields }: RequestContext): number | undefined {
  const text = fieldValue(fields, 'max-forwards');
  return method === 'OPTIONS' && text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}
