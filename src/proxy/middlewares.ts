/**
 * Stage *middlewares*: the modules of the route and its service are asked, before the cache is: what they refuse is refused for what is stored, too. The
 * stage *purge* asks those that guard purges.
 */
import { EdgeError, toEdgeError } from '../base/errors.ts';
import { formatCacheStatus } from '../http/cache-status.ts';
import { grpcAnswer, isGrpc } from '../http/grpc.ts';
import { type FieldList, hasField } from '../http/header-fields.ts';
import { formatProxyStatus } from '../http/proxy-status.ts';
import { parseRequestTarget } from '../http/request-target.ts';
import { BODILESS_STATUSES } from '../http/response-head.ts';
import { appendVia } from '../http/via.ts';
import type { EarlyAnswer } from '../middleware/middleware.ts';
import type { MiddlewareInstance } from '../middleware/middleware-instance.ts';
import { ContextClient, ContextExchange } from './context-exchange.ts';
import type { RequestContext } from './request-context.ts';
import { matchesPath } from './router.ts';
import type { ProxyServices, ServedRoute } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

export function middlewares(context: RequestContext, services: ProxyServices): StageOutcome | Promise<StageOutcome> {
  const { chain } = context.need('route');
  return chain === undefined ? NEXT : askAll(chain, context, services);
}

async function askAll(chain: readonly MiddlewareInstance[], context: RequestContext, services: ProxyServices): Promise<StageOutcome> {
  const exchange = new ContextExchange(context, services.service.name, chain);
  context.exchange = exchange;
  try {
    const answer = await exchange.ask();
    if (answer !== undefined) return { kind: 'reply', reply: replyOf(context, answer) };
  } catch (error) {
    return { kind: 'fail', error: toEdgeError(error) };
  }
  const { preflightMethods } = context;
  return preflightMethods === undefined
    ? NEXT
    : { kind: 'fail', error: new EdgeError('METHOD_NOT_ALLOWED', undefined, { context: { allow: preflightMethods.join(', ') } }) };
}

/**
 * Whether a purge may be carried out, by those middlewares that guard purges: of every route that the target names, of all routes where it names none.
 *
 * @param path of the target where it names one URL, normalised
 */
export function purgeRefusal(context: RequestContext, services: ProxyServices): StageOutcome | undefined {
  const guards = new Set(guardedRoutes(context, services).flatMap(({ chain = [] }) => chain.filter((instance) => instance.guardsPurges)));
  if (guards.size === 0) return undefined;
  const client = new ContextClient(context);
  try {
    for (const guard of guards) {
      const answer = guard.askForPurge(client);
      if (answer !== undefined) return { kind: 'reply', reply: replyOf(context, answer) };
    }
  } catch (error) {
    return { kind: 'fail', error: toEdgeError(error) };
  }
  return undefined;
}

/** A purge of one URL is about the routes that take it, any other may be about all. */
function guardedRoutes({ request, fields }: RequestContext, { service }: ProxyServices): readonly ServedRoute[] {
  const { router } = service;
  const isOfUrl = !fields.some(
    ([name]) => name === 'x-purge-method' || name === 'surrogate-key' || name === 'cache-tag' || name === 'xkey',
  );
  const host = fields.find(([name]) => name === 'host')?.[1];
  const target = isOfUrl ? parseRequestTarget(request.url ?? '', host) : undefined;
  if (target?.kind !== 'ok') return router.routes;
  const named = router.routes.filter(({ match }) => matchesPath(match.path, target.path));
  // Nothing here answers for it: only who may ask here hears of that.
  return named.length === 0 ? router.routes : named;
}

/** With what every answer of this program has; in terms of gRPC for its clients, which take any status of HTTP but 200 for a fault of the way. */
function replyOf(
  context: RequestContext,
  { status, fields = [], text }: EarlyAnswer,
): { status: number; fields: FieldList; text?: string | undefined } {
  context.cacheStatus = formatCacheStatus({ forward: undefined, detail: 'middleware' });
  const content = BODILESS_STATUSES.has(status) ? undefined : text;
  const answer: { status: number; fields: FieldList; text?: string | undefined } = {
    status,
    fields: [
      ...fields.map(([name, value]) => [name.toLowerCase(), value] as const),
      ...(status === 204 || status === 304 ? [] : [['content-length', String(Buffer.byteLength(content ?? ''))] as const]),
      ...(content !== undefined && !hasField(fields, 'content-type') ? [['content-type', 'text/plain; charset=utf-8'] as const] : []),
      ...(hasField(fields, 'cache-control') ? [] : [['cache-control', 'no-store'] as const]),
      ['via', appendVia(undefined, '1.1')],
      ['cache-status', context.cacheStatus],
      ...(status >= 400 ? [['proxy-status', formatProxyStatus({ error: 'http_request_denied' })] as const] : []),
      ['x-cache', context.cacheResult],
    ],
    text: context.method === 'HEAD' ? undefined : content,
  };
  return context.request.isHttp2 === true && isGrpc(context.fields) ? grpcAnswer(answer) : answer;
}
