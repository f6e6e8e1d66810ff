/** Stage *route*: the target in its normal form, the route of the service that takes it, and the rule of its path there. */
import { EdgeError } from '../base/errors.ts';
import { findSiteRule } from '../cache/site-rule.ts';
import { fieldValue } from '../http/header-fields.ts';
import { parseRequestTarget } from '../http/request-target.ts';
import { refusal } from './refusal.ts';
import type { RequestContext } from './request-context.ts';
import { type RouteVerdict, withoutPrefix } from './router.ts';
import type { ProxyServices, ServedRoute } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

export function route(context: RequestContext, services: ProxyServices): StageOutcome {
  const target = parseRequestTarget(context.request.url ?? '/', fieldValue(context.fields, 'host'));
  if (target.kind === 'invalid') {
    if (target.why === 'too-long') return { kind: 'fail', error: refusal(services, 'target-length') };
    const kind = target.why === 'host' ? 'host' : 'target';
    return { kind: 'fail', error: refusal(services, kind, `The request target is malformed (${target.why})`) };
  }
  const { path, query, host } = target;
  context.path = path;
  context.query = query;
  context.host = host;
  const verdict = services.service.router.find({ host, path, method: context.method });
  if (verdict.kind === 'absent') {
    services.metrics.add('unrouted', 1, verdict.why);
    return { kind: 'fail', error: unrouted(verdict) };
  }
  const { site } = verdict.route;
  context.route = verdict.route;
  context.rule = findSiteRule(site.rules, withoutPrefix(path, site.stripPrefix));
  return NEXT;
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
