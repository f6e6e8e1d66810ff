/**
 * The content of a client's request on its way to the origin: taken piece by piece as the origin takes it, and given up when the client sends nothing
 * for too long. bypass.ts makes one for each request with content that is passed on; what is answered before its content has come is dropped here, too.
 */
import { EdgeError } from '../base/errors.ts';
import { MIB, SECOND_MS } from '../base/units.ts';
import { isGrpc } from '../http/grpc.ts';
import { type FieldList, fieldValue, hasField } from '../http/header-fields.ts';
import type { ClientRequest } from './exchange.ts';
import { refusal } from './refusal.ts';
import type { RequestContext, UploadedContent } from './request-context.ts';
import type { ProxyServices } from './services.ts';

/** What is read and dropped of content that the origin did not want, so that the answer reaches a client that is still sending (RFC 9112 s9.6). */
const DROPPED_BYTES_MAX = MIB;
/** As good as for ever: timers of node hold no more than 2^31 ms. */
const PATIENT_MS = 24 * 3600 * SECOND_MS;
/** How long that may take. */
const DROP_MS = 2000;

/** Whether a request has content. */
export function hasContent(fields: FieldList): boolean {
  return hasField(fields, 'transfer-encoding') || Number(fieldValue(fields, 'content-length') ?? 0) > 0;
}

/** Whether the client waits for a 100 before it sends its content (RFC 9110 s10.1.1); admit has refused other expectations. */
export function expectsContinue({ request, fields }: RequestContext): boolean {
  return request.httpVersion !== '1.0' && hasContent(fields) && hasField(fields, 'expect');
}

/** Content as it comes. */
export class Upload implements UploadedContent {
  readonly #context: RequestContext;
  readonly #services: ProxyServices;
  #isClosed = false;
  #wake: (() => void) | undefined;

  constructor(context: RequestContext, services: ProxyServices) {
    this.#context = context;
    this.#services = services;
    const { request } = context;
    for (const event of ['readable', 'end', 'close', 'error']) request.on(event, () => this.#wake?.());
  }

  /** @throws EdgeError CLIENT_GONE, UPLOAD_STALLED, or what the request was refused for */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    const { request } = this.#context;
    while (!this.#isClosed) {
      const piece = takeFrom(request);
      if (piece !== undefined) {
        yield piece;
        continue;
      }
      if (request.readableEnded) return;
      // Before anything else is asked: a parser that gave up leaves the request as it is.
      if (this.#context.refusal !== undefined) throw this.#context.refusal;
      if (request.destroyed) throw new EdgeError('CLIENT_GONE');
      // Messages of gRPC may be hours apart; whether the client is there is asked by PING (http2-connection.ts).
      const isPatient = request.isHttp2 === true && isGrpc(this.#context.fields);
      await this.#wait(isPatient ? PATIENT_MS : this.#services.limits.uploadStallMs, () => {
        const error = refusal(this.#services, 'upload-stall');
        this.#context.refuse(error);
        this.#isClosed = true;
        return error;
      });
    }
  }

  /** Stops; what is still coming of a request that was answered early is dropped, within limits, or the connection ends. Never throws. */
  async close(): Promise<void> {
    const { request, response } = this.#context;
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#wake?.();
    // Nothing comes: the client waits, and node:http ends the connection with the answer.
    if (expectsContinue(this.#context) && !this.#context.isContinued) return response.refuseRest?.();
    let droppedBytes = 0;
    let isLate = false;
    while (!request.readableEnded && !request.destroyed && this.#context.refusal === undefined && !isLate) {
      const piece = takeFrom(request);
      droppedBytes += piece?.length ?? 0;
      if (droppedBytes > DROPPED_BYTES_MAX) break;
      // Only a read that finds nothing makes the stream tell of more.
      if (piece === undefined && !request.readableEnded)
        await this.#wait(DROP_MS, () => {
          isLate = true;
          return undefined;
        });
    }
    const { socket } = response;
    if (request.readableEnded || socket === null) return;
    if (response.refuseRest !== undefined) return response.refuseRest();
    if (response.writableFinished) socket.destroySoon();
    else response.once('finish', () => socket.destroySoon());
  }

  /** Until something happens to the request. @param onLate decides what is thrown when nothing does */
  async #wait(delayMs: number, onLate: () => EdgeError | undefined): Promise<void> {
    const event = Promise.withResolvers<void>();
    this.#wake = event.resolve;
    const timer = this.#services.clock.startTimer(delayMs, () => {
      const error = onLate();
      if (error === undefined) event.resolve();
      else event.reject(error);
    });
    try {
      await event.promise;
    } finally {
      timer.stop();
      // Another wait may have begun: close() does not wait for the one that it ended.
      if (this.#wake === event.resolve) this.#wake = undefined;
    }
  }
}

function takeFrom(request: ClientRequest): Buffer | undefined {
  const piece: unknown = request.read();
  return Buffer.isBuffer(piece) ? piece : undefined;
}
