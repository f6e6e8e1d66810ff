/** Stage *route*: the target in its normal form, and the rule of its path. One site per listener. */
import { findSiteRule, type SiteRule } from '../cache/site-rule.ts';
import { fieldValue } from '../http/header-fields.ts';
import { parseRequestTarget, type RequestTarget } from '../http/request-target.ts';
import { refusal } from './refusal.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices, Site } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

export function route(context: RequestContext, services: ProxyServices): StageOutcome {
  const found = findRoute(context.request.url ?? '/', fieldValue(context.fields, 'host'), services.site);
  if (found.kind === 'invalid') {
    if (found.why === 'too-long') return { kind: 'fail', error: refusal(services, 'target-length') };
    const kind = found.why === 'host' ? 'host' : 'target';
    return { kind: 'fail', error: refusal(services, kind, `The request target is malformed (${found.why})`) };
  }
  context.path = found.path;
  context.query = found.query;
  context.host = found.host;
  context.rule = found.rule;
  return NEXT;
}

/** A target in its normal form with its rule, or what is wrong with it. */
export type RouteVerdict =
  | (Extract<RequestTarget, { readonly kind: 'ok' }> & { readonly rule: SiteRule })
  | Extract<RequestTarget, { readonly kind: 'invalid' }>;

/** Where a request leads; the same for both lanes. @param hostHeader undefined when absent */
export function findRoute(url: string, hostHeader: string | undefined, site: Site): RouteVerdict {
  const target = parseRequestTarget(url, hostHeader);
  return target.kind === 'invalid' ? target : { ...target, rule: findSiteRule(site.rules, target.path) };
}
