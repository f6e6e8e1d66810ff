/** Stage *route*: the target in its normal form, the route of the service that takes it, and the rule of its path there. */
import { EdgeError } from '../base/errors.ts';
import { findSiteRule, type SiteRule } from '../cache/site-rule.ts';
import { fieldValue } from '../http/header-fields.ts';
import { parseRequestTarget, type RequestTarget } from '../http/request-target.ts';
import { refusal } from './refusal.ts';
import type { RequestContext } from './request-context.ts';
import { type Router, type RouteVerdict, withoutPrefix } from './router.ts';
import type { ProxyServices, ServedRoute } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

export function route(context: RequestContext, services: ProxyServices): StageOutcome {
  const found = findRoute(
    { url: context.request.url ?? '/', hostHeader: fieldValue(context.fields, 'host'), method: context.method },
    services.service.router,
  );
  if (found.kind === 'invalid') {
    if (found.why === 'too-long') return { kind: 'fail', error: refusal(services, 'target-length') };
    const kind = found.why === 'host' ? 'host' : 'target';
    return { kind: 'fail', error: refusal(services, kind, `The request target is malformed (${found.why})`) };
  }
  context.path = found.path;
  context.query = found.query;
  context.host = found.host;
  const verdict = forPreflight(context, found, services) ?? found.verdict;
  if (verdict.kind === 'absent') {
    services.metrics.add('unrouted', 1, verdict.why);
    return { kind: 'fail', error: unrouted(verdict) };
  }
  context.route = verdict.route;
  context.rule = ruleOf(verdict.route, found.path);
  return NEXT;
}

/**
 * A CORS preflight asks about another request: the route that takes that one answers, if its middlewares do. It comes as OPTIONS, which routes need not
 * take for it.
 */
function forPreflight(
  context: RequestContext,
  { host, path, verdict }: Extract<FoundRoute, { kind: 'ok' }>,
  { service }: ProxyServices,
): RouteVerdict<ServedRoute> | undefined {
  if (verdict.kind !== 'absent' || verdict.why !== 'method' || context.method !== 'OPTIONS') return undefined;
  const method = fieldValue(context.fields, 'access-control-request-method');
  const other = method === undefined ? undefined : service.router.find({ host, path, method });
  if (other?.kind !== 'route' || other.route.chain?.some(({ answersPreflights }) => answersPreflights) !== true) return undefined;
  context.preflightMethods = verdict.methods;
  return other;
}

/** A request as far as routes look at it, as it was received. */
export interface ReceivedTarget {
  readonly url: string;
  /** Undefined when absent. */
  readonly hostHeader: string | undefined;
  readonly method: string;
}

/** A target in its normal form with what routes say of it, or what is wrong with it. */
export type FoundRoute =
  | (Extract<RequestTarget, { readonly kind: 'ok' }> & { readonly verdict: RouteVerdict<ServedRoute> })
  | Extract<RequestTarget, { readonly kind: 'invalid' }>;

/** Where a request leads; the same for both lanes. */
export function findRoute({ url, hostHeader, method }: ReceivedTarget, router: Router<ServedRoute>): FoundRoute {
  const target = parseRequestTarget(url, hostHeader);
  if (target.kind === 'invalid') return target;
  const { host, path } = target;
  return { ...target, verdict: router.find({ host, path, method }) };
}

/** The rule of a path on a route. */
export function ruleOf({ site }: ServedRoute, path: string): SiteRule {
  return findSiteRule(site.rules, withoutPrefix(path, site.stripPrefix));
}

/** An unknown host is misdirected here (RFC 9110 s15.5.20): this is a gateway, which answers for its own hosts only. */
function unrouted(verdict: Extract<RouteVerdict<ServedRoute>, { kind: 'absent' }>): EdgeError {
  switch (verdict.why) {
    case 'host':
      return new EdgeError('HOST_UNKNOWN');
    case 'path':
      return new EdgeError('ROUTE_ABSENT');
    case 'method':
      return new EdgeError('METHOD_NOT_ALLOWED', undefined, { context: { allow: verdict.methods.join(', ') } });
  }
}
