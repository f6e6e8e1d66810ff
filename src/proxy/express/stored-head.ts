/**
 * Response heads as bytes, kept with the objects that they were made of: what proxy/respond says, in the form in which node:http would write it.
 * What changes from one response to the next (Age, the ttl in Cache-Status, and for parts Content-Length and Content-Range) is a hole in the
 * text. A manifest that was renewed or replaced is another object, and gets other heads.
 */
import { STATUS_CODES } from 'node:http';
import { assert } from '../../base/assert.ts';
import { currentAgeSeconds } from '../../cache/freshness.ts';
import { isSliced } from '../../cache/status-policy.ts';
import { strongValidator } from '../../cache/validators.ts';
import type { Manifest } from '../../format/manifest.ts';
import type { FieldList } from '../../http/header-fields.ts';
import { formatHttpDate } from '../../http/http-date.ts';
import { formatContentRange } from '../../http/range.ts';
import type { AnswerShelf, ShelvedAnswer } from '../answer-shelf.ts';
import { notModifiedFields, unsatisfiedFields } from '../plan.ts';
import { REQUEST_ID_CHARACTERS, REQUEST_ID_FIELD } from '../request-id.ts';
import { answerFields, type CacheStory, cacheStory, tellStory, ttlSeconds } from '../respond.ts';

/** What node:http writes behind the fields of a response. */
export interface ConnectionTails {
  readonly keepAlive: string;
  readonly close: string;
  /** Behind the status line: a field with room for a request's id; empty where clients are not told. */
  readonly idField: string;
}

const NO_BYTES = Buffer.alloc(0);

/** What goes into a hole. */
type Hole = 'age' | 'ttl' | 'length' | 'range' | 'date';

interface HoleValues {
  readonly age: number;
  readonly ttl: number;
  readonly nowMs: number;
  readonly start: number;
  readonly end: number;
}

/** One head of one object. */
export class StoredHead {
  readonly status: number;
  /** Where the id of the request goes; undefined where there is none. */
  readonly idOffset: number | undefined;
  readonly #manifest: Manifest;
  readonly #tails: ConnectionTails;
  /** One more than holes. */
  readonly #texts: readonly string[];
  readonly #holes: readonly Hole[];
  readonly #isFixed: boolean;
  #bytes: Buffer = NO_BYTES;
  /** When `#bytes` holds, on the wall clock; exclusive of the end. */
  #sinceMs = 0;
  #untilMs = 0;
  /** It was asked for once more while `#bytes` held. */
  #isRepeated = false;
  #answer: ShelvedAnswer | undefined;
  #isAnswerWritten = false;

  constructor(manifest: Manifest, head: { readonly status: number; readonly fields: FieldList }, tails: ConnectionTails) {
    this.status = head.status;
    this.#manifest = manifest;
    this.#tails = tails;
    const { texts, holes } = cutHead(head, tails.idField);
    const isTold = tails.idField !== '';
    this.idOffset = isTold ? (texts[0] ?? '').indexOf('\r\n') + tails.idField.length - REQUEST_ID_CHARACTERS : undefined;
    this.#texts = texts;
    this.#holes = holes;
    this.#isFixed = holes.every((hole) => hole === 'age' || hole === 'ttl');
  }

  /**
   * Writes the head.
   *
   * @param part.start of the body, `part.end` exclusive; looked at where the head is that of a part
   * @returns valid until the next call; for longer after `lend`
   */
  render(nowMs: number, part: { readonly start: number; readonly end: number }, isLast: boolean): Buffer {
    const isKept = this.#isFixed && !isLast;
    if (isKept && this.#holdsAt(nowMs)) {
      this.#isRepeated = true;
      return this.#bytes;
    }
    const age = currentAgeSeconds(this.#manifest, nowMs);
    const ttl = ttlSeconds(this.#manifest, nowMs);
    const bytes = Buffer.from(this.#text({ age, ttl, nowMs, start: part.start, end: part.end }, isLast), 'latin1');
    if (!isKept) return bytes;
    const { receivedAtMs, initialAgeSeconds, freshUntilMs } = this.#manifest;
    this.#bytes = bytes;
    this.#sinceMs = nowMs;
    this.#untilMs = Math.min(receivedAtMs + (age + 1 - initialAgeSeconds) * 1000, freshUntilMs - ttl * 1000 + 1);
    this.#isRepeated = false;
    this.#isAnswerWritten = false;
    return bytes;
  }

  /** The bytes that `render` gave are being sent, and must not be written into. */
  lend(): void {
    this.#untilMs = 0;
  }

  /** The whole answer as it is to be sent now; undefined when it has to be made. Only of heads of whole objects. */
  answerAt(nowMs: number): ShelvedAnswer | undefined {
    if (!this.#isAnswerWritten || !this.#holdsAt(nowMs)) return undefined;
    // When the clock has gone back, it may have given way after the time for which it was written.
    return this.#answer?.isShelved === true ? this.#answer : undefined;
  }

  /** Makes the whole answer, if it is asked for often enough. @param head as just rendered, not for the last response of a connection */
  tryMakeAnswer(body: Buffer, { shelf, nowMs }: { readonly shelf: AnswerShelf; readonly nowMs: number }): ShelvedAnswer | undefined {
    if (!this.#isRepeated && this.#answer === undefined) return undefined;
    const head = this.#bytes;
    const lengthBytes = head.length + body.length;
    if (this.#answer?.isWritable !== true || this.#answer.lengthBytes !== lengthBytes) {
      this.dropAnswer(shelf);
      this.#answer = shelf.tryAdd(lengthBytes, nowMs);
    }
    const answer = this.#answer;
    if (answer === undefined) return undefined;
    answer.writtenMs = nowMs;
    answer.bytes.set(head);
    // Not set(): from the memory that threads share that goes word by word.
    body.copy(answer.bytes, head.length);
    this.#isAnswerWritten = true;
    return answer;
  }

  /** What it is made of is not at hand any more. */
  dropAnswer(shelf: AnswerShelf): void {
    if (this.#answer !== undefined) shelf.remove(this.#answer);
    this.#answer = undefined;
    this.#isAnswerWritten = false;
  }

  #holdsAt(nowMs: number): boolean {
    return nowMs < this.#untilMs && nowMs >= this.#sinceMs;
  }

  #text(values: HoleValues, isLast: boolean): string {
    let text = this.#texts[0] ?? '';
    for (let index = 0; index < this.#holes.length; index += 1) {
      text += this.#valueOf(this.#holes[index] ?? 'age', values) + (this.#texts[index + 1] ?? '');
    }
    return text + (isLast ? this.#tails.close : this.#tails.keepAlive);
  }

  #valueOf(hole: Hole, { age, ttl, nowMs, start, end }: HoleValues): string {
    switch (hole) {
      case 'age':
        return String(age);
      case 'ttl':
        return String(ttl);
      case 'date':
        return formatHttpDate(nowMs);
      case 'length':
        return String(end - start);
      case 'range':
        return formatContentRange(start, end, this.#manifest.lengthBytes);
    }
  }
}

/** The heads of one manifest's answers, each made when it is needed. */
export class ObjectHeads {
  readonly manifest: Manifest;
  readonly lengthBytes: number;
  /** Ranges and parts are answered from it (RFC 9110 s14.2). */
  readonly isSliced: boolean;
  /** What is missing of it could be had from the origin. */
  readonly isRefetchable: boolean;
  readonly #keyText: string | undefined;
  readonly #tails: ConnectionTails;
  #whole: StoredHead | undefined;
  #part: StoredHead | undefined;
  #notModified: StoredHead | undefined;
  #unsatisfied: StoredHead | undefined;

  /** @param options.keyText where Cache-Status is to name the key */
  constructor(manifest: Manifest, options: { readonly keyText: string | undefined; readonly tails: ConnectionTails }) {
    assert(manifest.lengthBytes !== undefined, 'a stored head is that of an object of known length');
    this.manifest = manifest;
    this.lengthBytes = manifest.lengthBytes;
    this.isSliced = isSliced(manifest.status);
    this.isRefetchable = this.isSliced && strongValidator(manifest.fields) !== undefined;
    this.#keyText = options.keyText;
    this.#tails = options.tails;
  }

  get whole(): StoredHead {
    const { manifest, lengthBytes } = this;
    this.#whole ??= this.#make(manifest.status, this.#fieldsOf({ status: manifest.status, start: 0, end: lengthBytes }));
    return this.#whole;
  }

  get part(): StoredHead {
    this.#part ??= this.#make(206, this.#fieldsOf({ status: 206, start: 0, end: this.lengthBytes }));
    return this.#part;
  }

  get notModified(): StoredHead {
    this.#notModified ??= this.#make(304, notModifiedFields(this.manifest.fields));
    return this.#notModified;
  }

  get unsatisfied(): StoredHead {
    this.#unsatisfied ??= this.#make(416, unsatisfiedFields(this.lengthBytes));
    return this.#unsatisfied;
  }

  /** Another manifest has taken the place of this one: nobody asks for what stands ready of it. */
  dropAnswers(shelf: AnswerShelf): void {
    this.#whole?.dropAnswer(shelf);
  }

  #fieldsOf(body: { readonly status: number; readonly start: number; readonly end: number }): FieldList {
    return answerFields({ manifest: this.manifest, body: { ...body, ...NO_SLICES }, hasIfRange: false });
  }

  /** What Cache-Status says at a time. */
  cacheStatusAt(nowMs: number): string {
    return this.#story(nowMs).cacheStatus;
  }

  #make(status: number, fields: FieldList): StoredHead {
    const { manifest } = this;
    // Any time will do: what depends on it stands in holes.
    const nowMs = manifest.receivedAtMs;
    return new StoredHead(manifest, { status, fields: [...fields, ...tellStory(manifest, this.#story(nowMs), nowMs)] }, this.#tails);
  }

  #story(nowMs: number): CacheStory {
    return cacheStory({
      manifest: this.manifest,
      state: 'fresh',
      forward: undefined,
      forwardStatus: undefined,
      isCollapsed: false,
      isStored: true,
      keyText: this.#keyText,
      slices: NO_SLICES,
      nowMs,
    });
  }
}

/** What is answered here is there whole. */
const NO_SLICES = { hitSlices: 0, plannedSlices: 0 };

/** What Cache-Status says before the number. */
const TTL_MARK = '; ttl=';

function cutHead(
  { status, fields }: { readonly status: number; readonly fields: FieldList },
  idField: string,
): { texts: string[]; holes: Hole[] } {
  const ageAt = fields.findLastIndex(([name]) => name === 'age');
  const storyAt = fields.findLastIndex(([name]) => name === 'cache-status');
  const texts: string[] = [];
  const holes: Hole[] = [];
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'unknown'}\r\n${idField}`;
  const cut = (hole: Hole, before: string, after: string): void => {
    texts.push(text + before);
    holes.push(hole);
    text = `${after}\r\n`;
  };
  for (const [index, [name, value]] of fields.entries()) {
    // What the origin said there was of another request.
    if (idField !== '' && name === REQUEST_ID_FIELD) continue;
    const ttlAt = index === storyAt ? value.indexOf(TTL_MARK) + TTL_MARK.length : 0;
    if (index === ageAt) cut('age', `${name}: `, '');
    else if (index === storyAt) cut('ttl', `${name}: ${value.slice(0, ttlAt)}`, value.slice(ttlAt).replace(/^-?\d+/, ''));
    else if (status === 206 && name === 'content-length') cut('length', `${name}: `, '');
    else if (status === 206 && name === 'content-range') cut('range', `${name}: `, '');
    else text += `${name}: ${value}\r\n`;
  }
  // An answer that is none of the origin's has the time at which it is made, where node:http writes that (RFC 9110 s6.6.1).
  if (!fields.some(([name]) => name === 'date')) cut('date', 'Date: ', '');
  texts.push(text);
  return { texts, holes };
}
