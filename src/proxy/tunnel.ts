/**
 * Side exit *tunnel*: a request for another protocol (Upgrade) goes to the origin, by the group as every other; when a node answers with 101 its connection and
 * the client's are joined until they end. Any other answer is an ordinary one, and passes through. Nothing is stored, and nothing that the client
 * sends behind its request is ever read as another request, whatever the origin answers.
 */
import { unlessGone } from '../base/abort.ts';
import { must } from '../base/assert.ts';
import { EdgeError, toEdgeError } from '../base/errors.ts';
import { BodyReader } from '../fill/body-reader.ts';
import { formatCacheStatus } from '../http/cache-status.ts';
import { endToEndFields, fieldValue } from '../http/header-fields.ts';
import { appendVia } from '../http/via.ts';
import { isHandshakeAnswer, judgeHandshake, WEBSOCKET_VERSION } from '../http/websocket-handshake.ts';
import type { UpgradedConnection, UpgradeWish, UpstreamHead } from '../upstream/upstream-transport.ts';
import { affinityOf } from './affinity.ts';
import { commitHead } from './deliver.ts';
import { passInterim } from './interim.ts';
import { refusal } from './refusal.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';
import { joinStreams } from './tunnel-join.ts';
import type { UpgradeAttempt } from './upgrade-attempt.ts';
import { passedRequestFields, upstreamPath } from './upstream-request.ts';

/** For Cache-Status and the log. */
const REASON = 'upgrade';

/** What the origin answered. */
type Answer =
  | { readonly kind: 'upgraded'; readonly head: UpstreamHead; readonly connection: UpgradedConnection }
  | { readonly kind: 'answer'; readonly head: UpstreamHead; readonly reader: BodyReader };

/** Passes the request on, and tunnels when the origin says so. Resolves when the tunnel is over. */
export async function tunnel(context: RequestContext, services: ProxyServices): Promise<StageOutcome> {
  const attempt = must(context.upgrade, 'a request for another protocol');
  const wish = wishOf(context, attempt, services);
  if (wish.kind !== 'wish') return wish;
  const { load, limits, metrics } = services;
  const refused = load.isDraining ? 'draining' : load.tunnels >= limits.tunnelsMax ? 'limit' : undefined;
  if (refused !== undefined) {
    metrics.add('tunnelsRefused', 1, refused);
    const message =
      refused === 'limit' ? 'The server has reached its limit of tunnels (limits.tunnels)' : 'The server is stopping; ask again';
    return { kind: 'fail', error: new EdgeError('SERVER_BUSY', message) };
  }
  load.tunnels += 1;
  try {
    const answer = await askOrigin(context, services, wish.wish);
    if (answer.kind === 'upgraded') return await run(context, services, { ...answer, attempt });
    context.answer = { ...answer, forward: 'bypass' };
    return { kind: 'bypass', reason: REASON };
  } catch (error) {
    return { kind: 'fail', error: toEdgeError(error) };
  } finally {
    load.tunnels -= 1;
  }
}

/** How the origin is to be asked; an outcome where the client has to be told that it asks wrongly. */
function wishOf(
  { method, fields }: RequestContext,
  attempt: UpgradeAttempt,
  services: ProxyServices,
): { readonly kind: 'wish'; readonly wish: UpgradeWish } | StageOutcome {
  const protocol = must(attempt.protocol, 'a protocol that the route lets through');
  if (protocol !== 'websocket') return { kind: 'wish', wish: { protocol, isAnswer: () => true } };
  const verdict = judgeHandshake(method, fields);
  if (verdict.kind === 'ok') return { kind: 'wish', wish: { protocol, isAnswer: (head) => isHandshakeAnswer(verdict.key, head.fields) } };
  const error = refusal(services, REASON, verdict.kind === 'invalid' ? `The WebSocket handshake is malformed: ${verdict.why}` : undefined);
  if (verdict.kind === 'invalid') return { kind: 'fail', error };
  // RFC 9110 s15.5.22, RFC 6455 s4.4.
  const told = [
    ['connection', 'close, Upgrade'],
    ['upgrade', protocol],
    ['sec-websocket-version', WEBSOCKET_VERSION],
    ['content-length', '0'],
  ] as const;
  return { kind: 'reply', reply: { status: 426, fields: told } };
}

async function askOrigin(context: RequestContext, services: ProxyServices, upgrade: UpgradeWish): Promise<Answer> {
  const { site } = context.need('route');
  const { method, fields, signal } = context;
  const path = context.need('path');
  const answered = Promise.withResolvers<Answer>();
  // Redirects are for the client to follow: a tunnel leads where the route leads.
  const transfer = site.transport.start(
    {
      method,
      path: upstreamPath(site, path, context.query),
      fields: passedRequestFields(context, services),
      upgrade,
      affinity: affinityOf(site.hashOn, { client: context.clientAddress, path, keyText: context.key?.keyText, fields }),
    },
    {
      onFailure: answered.reject,
      onInterim: (head) => passInterim(context, services, head),
      onHead: (head, running) => {
        const reader = new BodyReader(running, services.buffers);
        answered.resolve({ kind: 'answer', head, reader });
        return reader;
      },
      onUpgrade: (head, connection) => {
        // The client may have left just now.
        if (signal.aborted) connection.socket.destroy();
        answered.resolve({ kind: 'upgraded', head, connection });
      },
    },
  );
  try {
    return await unlessGone(answered.promise, signal);
  } catch (error) {
    transfer.abort();
    throw error;
  }
}

async function run(
  context: RequestContext,
  services: ProxyServices,
  { attempt, head, connection }: { readonly attempt: UpgradeAttempt; readonly head: UpstreamHead; readonly connection: UpgradedConnection },
): Promise<StageOutcome> {
  const { clock, limits, metrics } = services;
  const { socket } = attempt;
  const protocol = must(attempt.protocol, 'a protocol that the route lets through');
  const early = { client: attempt.take(), origin: connection.first.length === 0 ? [] : [connection.first] };
  context.bypassReason = REASON;
  context.cacheResult = 'BYPASS';
  context.cacheStatus = formatCacheStatus({ forward: 'bypass', forwardStatus: head.status, detail: REASON });
  const kept = endToEndFields(head.fields).filter(([name]) => name !== 'via');
  const via = appendVia(fieldValue(head.fields, 'via'), '1.1');
  context.head = { status: 101, fields: [...kept, ['via', via], ['connection', 'Upgrade'], ['upgrade', protocol]] };
  metrics.add('tunnels', 1, protocol === 'websocket' ? protocol : 'other');
  commitHead(context, services);
  context.response.end();
  let receivedBytes = 0;
  const end = await joinStreams({
    client: socket,
    origin: connection.socket,
    early,
    idleMs: limits.tunnelIdleMs,
    clock,
    onBytes: (from, count) => {
      metrics.add('tunnelBytes', count, from);
      if (from === 'client') receivedBytes += count;
      else context.sentBytes += count;
    },
  });
  metrics.add('tunnelEnds', 1, end);
  context.tunnel = { protocol, receivedBytes, end };
  return NEXT;
}
