/**
 * Side exit *bypass*: the client's own request goes to the origin and the answer comes back unchanged but for the fields of this connection.
 * Nothing is stored; bytes go through a private buffer with back-pressure both ways.
 */
import { unlessGone } from '../base/abort.ts';
import { toEdgeError } from '../base/errors.ts';
import { BodyReader } from '../fill/body-reader.ts';
import { type ForwardReason, formatCacheStatus } from '../http/cache-status.ts';
import { endToEndFields, type FieldList, fieldLines, fieldValue, splitList } from '../http/header-fields.ts';
import { BODILESS_STATUSES } from '../http/response-head.ts';
import { appendVia } from '../http/via.ts';
import type { UpstreamHead } from '../upstream/upstream-transport.ts';
import { affinityOf } from './affinity.ts';
import { commitHead, countPiece, createWriter } from './deliver.ts';
import { passInterim, UNWRITABLE } from './interim.ts';
import { invalidateAfter } from './invalidate.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';
import { hasContent, Upload } from './upload.ts';
import { passedRequestFields, transportFor, upstreamPath } from './upstream-request.ts';

/** How long a head waits for the first bytes of its body. */
const HEAD_WAIT_MS = 20;
/** What only a head may say: framing, routing, authority, and what content means (RFC 9110 s6.5.1). */
const NEVER_TRAILERS = new Set([
  'age',
  'authorization',
  'cache-control',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'date',
  'expires',
  'host',
  'location',
  'set-cookie',
  'vary',
]);

/** Passes the request through. @param reason for Cache-Status and the log */
export async function bypass(context: RequestContext, services: ProxyServices, reason: string): Promise<StageOutcome> {
  context.bypassReason = reason;
  context.cacheResult = reason === 'not-storable' ? 'MISS' : 'BYPASS';
  try {
    const { head, reader } = context.answer ?? (await askOrigin(context, services));
    await invalidateAfter(context, services, head);
    context.cacheStatus = formatCacheStatus({
      forward: context.forward ?? forwardReason(reason),
      forwardStatus: head.status,
      key: services.showsCacheKey ? context.key?.keyText : undefined,
      detail: reason,
    });
    context.head = { status: head.status, fields: passedResponseFields(context, head) };
    await sendBody(context, services, reader, hasBody(context, head));
    return NEXT;
  } catch (error) {
    return { kind: 'fail', error: toEdgeError(error) };
  }
}

/** RFC 9211 s2.2. A HEAD of what is not stored, and an object that changes too fast, miss. */
function forwardReason(reason: string): ForwardReason {
  if (reason === 'method') return 'method';
  return reason === 'head' || reason === 'changing' ? 'miss' : 'bypass';
}

async function askOrigin(context: RequestContext, services: ProxyServices): Promise<{ head: UpstreamHead; reader: BodyReader }> {
  const { site } = context.need('route');
  const { fields, method, signal } = context;
  context.upload = hasContent(fields) ? new Upload(context, services) : undefined;
  const answered = Promise.withResolvers<{ head: UpstreamHead; reader: BodyReader }>();
  const transfer = transportFor(context.rule, site).start(
    {
      method,
      path: upstreamPath(site, context.need('path'), context.query),
      fields: passedRequestFields(context, services),
      body: context.upload,
      watch: context.trail,
      affinity: affinityOf(site.hashOn, {
        client: context.clientAddress,
        path: context.need('path'),
        keyText: context.key?.keyText,
        fields,
      }),
    },
    {
      onFailure: answered.reject,
      onInterim: (head) => passInterim(context, services, head),
      onHead: (head, running) => {
        const reader = new BodyReader(running, services.buffers);
        answered.resolve({ head, reader });
        return reader;
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

async function sendBody(context: RequestContext, services: ProxyServices, reader: BodyReader, isExpected: boolean): Promise<void> {
  const { signal } = context;
  const writer = createWriter(context, services, () => undefined);
  const abort = (): void => reader.abort();
  signal.addEventListener('abort', abort);
  if (signal.aborted) abort();
  try {
    const first = reader.next();
    await commitInTime(context, services, first).catch((error: unknown) => {
      void first.then(
        (piece) => piece?.buffer?.end(),
        () => undefined,
      );
      throw error;
    });
    for (let piece = await first; piece !== undefined; piece = await reader.next()) {
      if (isExpected) {
        countPiece(context, services, 'private', piece.bytes.length);
        await writer.write(piece);
      } else piece.buffer?.end();
    }
    await context.upload?.close();
    passTrailers(context, reader.trailers);
    await writer.finish();
  } finally {
    signal.removeEventListener('abort', abort);
    reader.abort();
  }
}

/**
 * Sends the head with the first bytes of the body, so that an origin that breaks off before them is an error and no empty answer; on its own when they
 * take a moment: events may be minutes apart.
 *
 * @throws EdgeError when the body breaks off first
 */
async function commitInTime(context: RequestContext, services: ProxyServices, first: Promise<unknown>): Promise<void> {
  const wait = new AbortController();
  const late = services.clock.sleep(HEAD_WAIT_MS, wait.signal).then(() => true);
  const isLate = await Promise.race([first.then(() => false), late]).finally(() => wait.abort());
  commitHead(context, services);
  if (isLate) context.response.flushHeaders();
}

/** Trailers go on as trailers, to who asks for them, or not at all (RFC 9110 s6.5.1, s6.5.2). */
function passTrailers({ fields, response }: RequestContext, trailers: FieldList): void {
  const isAsked = splitList((fieldValue(fields, 'te') ?? '').toLowerCase()).some((word) => word.split(';', 1)[0]?.trim() === 'trailers');
  if (!isAsked || !response.chunkedEncoding) return;
  const passed = endToEndFields(trailers).filter(([name, value]) => !NEVER_TRAILERS.has(name) && !UNWRITABLE.test(value));
  response.addTrailers(passed.map(([name, value]): [string, string] => [name, value]));
}

function passedResponseFields(context: RequestContext, head: UpstreamHead): (readonly [string, string])[] {
  const kept = endToEndFields(head.fields).filter(([name]) => name !== 'via' && name !== 'content-length');
  return [
    ...kept,
    ...lengthFields(head),
    ['via', appendVia(fieldValue(head.fields, 'via'), '1.1')],
    ['cache-status', context.cacheStatus ?? ''],
    ['x-cache', context.cacheResult],
  ];
}

/** One length, however often the origin has said it (RFC 9110 s8.6); a 204 has none, and a 205 none but 0. What contradicts itself came no further than its head. */
function lengthFields({ fields, status }: UpstreamHead): (readonly [string, string])[] {
  if (status === 205) return [['content-length', '0']];
  const [length] = fieldLines(fields, 'content-length').flatMap(splitList);
  return length === undefined || status === 204 ? [] : [['content-length', length]];
}

/** RFC 9110 s6.4.1. An origin may have sent content with a 205 all the same: it is read, and dropped. */
function hasBody(context: RequestContext, head: UpstreamHead): boolean {
  return context.method !== 'HEAD' && !BODILESS_STATUSES.has(head.status);
}
