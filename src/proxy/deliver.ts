/** Stage *deliver*: commits the head with the first bytes, then sends the slices as they come, paced by the client. */
import { type EdgeError, toEdgeError } from '../base/errors.ts';
import type { LiveObject } from '../fill/live-object.ts';
import { PartsSource } from '../fill/parts-source.ts';
import type { Piece, PieceTier } from '../fill/piece.ts';
import { SliceSource } from '../fill/slice-source.ts';
import { ClientWriter } from './client-writer.ts';
import type { PlannedBody, RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

/** Where the bytes of a response come from. */
type BodySource = Pick<SliceSource, 'next' | 'letGo' | 'close'>;

export async function deliver(context: RequestContext, services: ProxyServices): Promise<StageOutcome> {
  const { object, attached } = context.need('resolution');
  const body = context.need('body');
  if (context.method === 'HEAD' || body.end === body.start) {
    commitHead(context, services);
    context.response.end();
    return NEXT;
  }
  const source = openSource(object, body, context.signal);
  attached();
  const writer = createWriter(context, services, () => source.letGo());
  try {
    await sendAll(context, services, source, writer);
    return NEXT;
  } catch (cause) {
    const error = toEdgeError(cause);
    const isUntouched = !context.response.headersSent;
    if (isUntouched && error.code === 'UPSTREAM_CHANGED') return { kind: 'again' };
    // What fills slices has no credentials; the client's own request gets whatever the origin has to say to it.
    if (isUntouched && isRefusal(error)) return { kind: 'bypass', reason: 'refused' };
    // What is right of a response that breaks off reaches the client before the break, so that it can go on from there.
    if (error.source === 'upstream') await writer.flush();
    return { kind: 'fail', error };
  } finally {
    writer.returnPin();
    source.close();
  }
}

function openSource(object: LiveObject, body: PlannedBody, signal: AbortSignal): BodySource {
  const { start, end, multipart, isExact = false } = body;
  if (multipart !== undefined) return new PartsSource(object, multipart, { isExact, signal });
  return new SliceSource(object, { start, end, isExact }, signal);
}

async function sendAll(context: RequestContext, services: ProxyServices, source: BodySource, writer: ClientWriter): Promise<void> {
  for (;;) {
    const piece = await source.next(writer.nextLimitBytes());
    if (!context.response.headersSent) commitWith(piece, context, services);
    if (piece === undefined) break;
    countPiece(context, services, piece.tier, piece.bytes.length);
    await writer.write(piece);
  }
  await writer.finish();
}

/** Sends the head before a piece, which is let go of when that cannot be. */
function commitWith(piece: Piece | undefined, context: RequestContext, services: ProxyServices): void {
  try {
    commitHead(context, services);
  } catch (error) {
    piece?.lease?.end();
    piece?.buffer?.end();
    throw error;
  }
}

/** Sends status and fields that `respond` decided, as middlewares change them. @throws EdgeError MIDDLEWARE_FAILED, once for each of them */
export function commitHead(context: RequestContext, services: ProxyServices): void {
  const decided = context.need('head');
  const { status, fields } = context.exchange?.changedHead(decided, context.error !== undefined) ?? decided;
  const { response } = context;
  context.firstByteMs = services.clock.monotonicMs() - context.startedMs;
  response.sendDate = !fields.some(([name]) => name === 'date');
  if (services.load.isDraining) response.shouldKeepAlive = false;
  response.writeHead(status, fields.flat());
}

/** A writer for the context's response. @param onSlow see ClientWriterOptions */
export function createWriter(context: RequestContext, services: ProxyServices, onSlow: () => void): ClientWriter {
  const { pins, copies, clock, metrics, limits } = services;
  return new ClientWriter({ response: context.response, pins, copies, clock, metrics, stallMs: limits.clientStallMs, onSlow });
}

/** Accounts for bytes on their way to the client. */
export function countPiece(context: RequestContext, services: ProxyServices, tier: PieceTier, bytes: number): void {
  services.metrics.add('bodyBytes', bytes, tier);
  context.sentBytes += bytes;
  if (tier === 'ram' || tier === 'device') context.cachedBytes += bytes;
}

/** Whether the origin wants to know who asks for missing slices. */
function isRefusal({ context }: EdgeError): boolean {
  return context.status === 401;
}
