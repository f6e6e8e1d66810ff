/**
 * How the express lane sends the hit that was found: a head alone; head and body as they stand ready; what is in memory as a copy, or its slot
 * itself for a client that has proved itself. What is more than one slice, or not in memory, it leaves to lane-stream.ts. One per
 * connection and configuration.
 */
import type { Socket } from 'node:net';
import { KIB } from '../../base/units.ts';
import { ANSWER_BODY_BYTES_MAX } from '../answer-shelf.ts';
import { COPY_BYTES, LARGE_COPY_BYTES } from '../copy-pool.ts';
import type { ProxyServices } from '../services.ts';
import type { HeadParser } from './head-parser.ts';
import type { HitFinder } from './hit-finder.ts';
import { LaneWrite, type RenderedHead, type ResidentBytes } from './lane-write.ts';

/** A proven client is sent a slot instead of a copy from here on; below, copying costs less than a second piece in the write. */
const PINNED_BYTES_MIN = 32 * KIB;

const NO_BYTES = Buffer.alloc(0);

/** When a response is made, and whether it is the last of its connection. */
export interface Sending {
  /** Of the wall. */
  readonly nowMs: number;
  readonly isLast: boolean;
}

/** `sent`: it was written, and the kernel may have taken it. `stream`: it is there, but not in memory as one piece. `partial`: it is not there. */
export type SendVerdict = 'sent' | 'stream' | 'partial';

/** See the file's head. */
export class LaneSender {
  readonly write: LaneWrite;
  readonly #services: ProxyServices;
  readonly #request: HeadParser;
  readonly #hit: HitFinder;

  /** @param connection.onTaken called when the kernel has taken what it did not take at once */
  constructor(
    services: ProxyServices,
    connection: { readonly socket: Socket; readonly request: HeadParser; readonly hit: HitFinder; readonly onTaken: () => void },
  ) {
    this.#services = services;
    this.#request = connection.request;
    this.#hit = connection.hit;
    this.write = new LaneWrite(connection.socket, services, connection.onTaken);
  }

  /** Sends it if it goes in one write; nothing must be under way. */
  trySend(sending: Sending): SendVerdict {
    const { start, end, head } = this.#hit;
    if (end === start) return this.#sendHead(sending);
    const answer = sending.isLast ? undefined : head?.answerAt(sending.nowMs);
    // An id is written into it, and somebody may be being sent the one before.
    if (answer === undefined || (head?.idOffset !== undefined && !answer.isWritable)) return this.#sendResident(sending);
    this.write.begin(this.#request, this.#hit, sending.nowMs);
    this.#stampId(answer.bytes);
    this.write.sendAnswer(answer, end - start);
    return 'sent';
  }

  /** @returns valid until the next one is made */
  renderHead({ nowMs, isLast }: Sending): RenderedHead {
    const { head } = this.#hit;
    const bytes = head?.render(nowMs, this.#hit, isLast) ?? NO_BYTES;
    this.#stampId(bytes);
    return { head, bytes };
  }

  /** The store is told what is asked for. What stands ready was told of twice in its second, and more often changes nothing there. */
  noteRequest(): void {
    const { target, noteBytes } = this.#hit;
    if (target !== undefined) this.#services.store.noteRequest(target.fill.objectHash, noteBytes);
  }

  #sendHead(sending: Sending): 'sent' {
    this.write.begin(this.#request, this.#hit, sending.nowMs);
    this.noteRequest();
    this.write.sendHead(this.renderHead(sending));
    return 'sent';
  }

  #sendResident(sending: Sending): SendVerdict {
    const { pins, store, answers } = this.#services;
    const { start, end, heads, onlySlice } = this.#hit;
    if (heads === undefined) return 'partial';
    const bodyBytes = end - start;
    const isPinned = bodyBytes >= PINNED_BYTES_MIN && this.write.pace.isProven && onlySlice !== undefined && pins.tryTake();
    const rendered = this.renderHead(sending);
    const isSmall = isPinned || bodyBytes <= COPY_BYTES || rendered.bytes.length + bodyBytes <= this.#copyBytesMax;
    const resident = onlySlice !== undefined && isSmall ? this.#findResident(onlySlice) : undefined;
    if (resident !== undefined) return this.#sendFound(resident, rendered, { ...sending, isPinned });
    if (isPinned) pins.giveBack();
    rendered.head?.dropAnswer(answers);
    return onlySlice !== undefined && !store.hasSlice(heads.manifest.generation, onlySlice) ? 'partial' : 'stream';
  }

  get #copyBytesMax(): number {
    return this.write.pace.isQuick && this.#services.copies.hasLarge ? LARGE_COPY_BYTES : COPY_BYTES;
  }

  #findResident(sliceNumber: number): ResidentBytes | undefined {
    const { start, end, heads, target } = this.#hit;
    if (heads === undefined || target === undefined) return undefined;
    const { generation, sliceSizeBytes } = heads.manifest;
    const sliceStart = sliceNumber * sliceSizeBytes;
    return this.#services.store.tryReadResident({
      objectHash: target.fill.objectHash,
      generation,
      sliceNumber,
      startBytes: start - sliceStart,
      endBytes: end - sliceStart,
    });
  }

  #sendFound(
    resident: ResidentBytes,
    rendered: RenderedHead,
    { nowMs, isLast, isPinned }: Sending & { readonly isPinned: boolean },
  ): 'sent' {
    const { answers, pins } = this.#services;
    const bodyBytes = resident.bytes.length;
    const isForAnswer = !isLast && bodyBytes <= ANSWER_BODY_BYTES_MAX;
    const answer = isForAnswer ? rendered.head?.tryMakeAnswer(resident.bytes, { shelf: answers, nowMs }) : undefined;
    this.write.begin(this.#request, this.#hit, nowMs);
    this.noteRequest();
    if (answer !== undefined) {
      resident.lease.end();
      if (isPinned) pins.giveBack();
      this.write.sendAnswer(answer, bodyBytes);
    } else if (isPinned) this.write.sendPinned(rendered, resident);
    else this.write.sendCopy(rendered, resident);
    return 'sent';
  }

  /** Where clients are told of it, each response has an id of its own. */
  #stampId(bytes: Buffer): void {
    const idOffset = this.#hit.head?.idOffset;
    const { account } = this.write;
    account.requestId = idOffset === undefined ? undefined : this.#services.requestIds.next();
    if (idOffset !== undefined && account.requestId !== undefined) bytes.write(account.requestId, idOffset, 'latin1');
  }
}
