/**
 * A request's journey, top to bottom: the stages in their order, and every branch between them. Each stage is a file of its name.
 *
 *   admit -> purge -> route -> middlewares -> identify -> resolve -> plan -> respond -> deliver -> finish
 *      |       |        |         |              |          ^  |       |                 |  |
 *      |       |- reply |         |- reply       |          |  |       `- reply          |  `- fail: broken off, or an answer when nothing was sent
 *      |       |        |         |              |- tunnel  |  |                         |
 *      |       |        |         |              `- bypass  |  `- bypass                 |
 *      `-------`--------`---------`- fail                   `------------ again ---------'
 */
import { toEdgeError } from '../base/errors.ts';
import { admit } from './admit.ts';
import { bypass } from './bypass.ts';
import { commitHead, deliver } from './deliver.ts';
import { fail } from './fail.ts';
import { finish } from './finish.ts';
import { identify } from './identify.ts';
import { middlewares } from './middlewares.ts';
import { plan } from './plan.ts';
import { purge } from './purge.ts';
import type { RequestContext } from './request-context.ts';
import { resolve } from './resolve.ts';
import { respond } from './respond.ts';
import { route } from './route.ts';
import type { ProxyServices } from './services.ts';
import type { Reply, Stage, StageOutcome } from './stage.ts';
import { tunnel } from './tunnel.ts';
import { Upload } from './upload.ts';

const BEFORE_RESOLVE: readonly Stage[] = [admit, purge, route, middlewares, identify];
const FROM_RESOLVE: readonly Stage[] = [resolve, plan, respond, deliver];
/** How often a request whose object changed under it is resolved anew before it goes to the origin by itself. */
const TURNS_MAX = 3;

/** Handles one request from its head to its end; never throws. */
export async function handleRequest(context: RequestContext, services: ProxyServices): Promise<void> {
  services.load.requests += 1;
  if (services.requestIdAudience !== 'off') {
    const isTrusted = context.isPeerBelieved && services.service.transport.trust !== undefined;
    context.requestId = services.requestIds.idOf(context.fields, isTrusted);
  }
  context.trail.span = services.tracing?.begin({
    method: context.method,
    target: context.request.url ?? '/',
    isSecure: context.isSecure,
    clientAddress: context.clientAddress,
    httpVersion: context.request.isHttp2 === true ? '2' : context.request.httpVersion,
    fields: context.fields,
  });
  try {
    await settle(await runAll(context, services), context, services);
  } catch (error) {
    fail(context, services, toEdgeError(error));
  } finally {
    services.load.requests -= 1;
    context.resolution?.release();
    if (!context.request.complete) void (context.upload ?? new Upload(context, services)).close();
    finish(context, services);
  }
}

async function runAll(context: RequestContext, services: ProxyServices): Promise<StageOutcome> {
  const first = await runStages(BEFORE_RESOLVE, context, services);
  if (first.kind !== 'next') return first;
  for (let turn = 0; turn < TURNS_MAX; turn += 1) {
    const outcome = await runStages(FROM_RESOLVE, context, services);
    if (outcome.kind !== 'again') return outcome;
    context.resolution?.release();
    context.resolution = undefined;
  }
  return { kind: 'bypass', reason: 'changing' };
}

async function runStages(stages: readonly Stage[], context: RequestContext, services: ProxyServices): Promise<StageOutcome> {
  let outcome: StageOutcome = { kind: 'next' };
  for (const stage of stages) {
    outcome = await stage(context, services);
    if (outcome.kind !== 'next') break;
  }
  return outcome;
}

/** Brings an outcome to its end. */
async function settle(outcome: StageOutcome, context: RequestContext, services: ProxyServices): Promise<void> {
  switch (outcome.kind) {
    case 'next':
      return;
    case 'reply':
      return reply(outcome.reply, context, services);
    case 'bypass':
      return settle(await bypass(context, services, outcome.reason), context, services);
    case 'tunnel':
      return settle(await tunnel(context, services), context, services);
    case 'again':
      return settle({ kind: 'bypass', reason: 'changing' }, context, services);
    case 'fail':
      return fail(context, services, outcome.error);
  }
}

function reply(answer: Reply, context: RequestContext, services: ProxyServices): void {
  context.head = answer;
  commitHead(context, services);
  context.response.end(answer.text);
}
