/** Stage *route*: the target in its normal form, and the rule of its path. One site per listener. */
import { findSiteRule } from '../cache/site-rule.ts';
import { fieldValue } from '../http/header-fields.ts';
import { parseRequestTarget } from '../http/request-target.ts';
import { refusal } from './refusal.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

export function route(context: RequestContext, services: ProxyServices): StageOutcome {
  const target = parseRequestTarget(context.request.url ?? '/', fieldValue(context.fields, 'host'));
  if (target.kind === 'invalid') {
    if (target.why === 'too-long') return { kind: 'fail', error: refusal(services, 'target-length') };
    const kind = target.why === 'host' ? 'host' : 'target';
    return { kind: 'fail', error: refusal(services, kind, `The request target is malformed (${target.why})`) };
  }
  context.path = target.path;
  context.query = target.query;
  context.host = target.host;
  context.rule = findSiteRule(services.site.rules, target.path);
  return NEXT;
}
