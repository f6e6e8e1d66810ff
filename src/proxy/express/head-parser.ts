/**
 * The express lane's reader of request heads: GET and HEAD with an origin-form target, HTTP/1.1, CRLF at every line's end, and fields that
 * known-fields.ts lists, each that is read at most once. It understands less than node's parser and never anything else: whatever it is not
 * sure about is `foreign`, at the first byte that shows it, and goes to node:http as it came. Test: a differential fuzzer.
 *
 * No string is made but of the target and of fields that are read. Bytes that came in pieces are read again from the line in hand.
 */
import type { HandoverReason } from '../proxy-metrics.ts';
import { type FieldUse, hashName, type KnownFields, NAME_BYTES } from './known-fields.ts';

/** Lines of fields; browsers send about 20. */
const FIELDS_MAX = 64;

const CR = 13;
const LF = 10;
const SP = 32;
const HTAB = 9;
const COLON = 58;
const SLASH = 47;
const QUESTION = 63;

const GET = Buffer.from('GET ');
const HEAD = Buffer.from('HEAD ');
const VERSION = Buffer.from('HTTP/1.1\r\n');
/** What may stand in a target (RFC 3986): unreserved, sub-delims, `:`, `@`, `/`, `%`. What it means is for http/request-target.ts. */
const TARGET_BYTES = bytesOf("-._~!$&'()*+,;=:@/%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

/** `incomplete`: more bytes are needed. `foreign`: not for this lane; `reason` says why. */
export type HeadVerdict = 'complete' | 'incomplete' | 'foreign';

/** Reads one head after another of one connection; the fields are those of the last that was complete. */
export class HeadParser {
  isHead = false;
  target = '';
  host = '';
  /** Target and host are those of the request before. */
  isSameTarget = false;
  range: string | undefined;
  ifNoneMatch: string | undefined;
  cacheControl: string | undefined;
  pragma: string | undefined;
  cdnLoop: string | undefined;
  userAgent: string | undefined;
  referer: string | undefined;
  traceparent: string | undefined;
  /** The client wants no more than this response. */
  isLast = false;
  /** Offset behind the head. */
  endOffset = 0;
  reason: HandoverReason = 'syntax';
  /** Whether somebody wants to know it, the page that led here, and the trace. */
  readsUserAgent: boolean;
  readonly #known: KnownFields;
  readonly #bytesMax: number;
  /** Where the line in hand begins, from the head's start; 0 is the request line. */
  #lineStart = 0;
  #fields = 0;
  #hasHost = false;
  #hasConnection = false;
  /** The last target and host, since the next request often has the same. */
  readonly #lastTarget = new LastBytes();
  readonly #lastHost = new LastBytes();

  /** @param options.bytesMax of a head, at least 16 */
  constructor(options: { readonly known: KnownFields; readonly bytesMax: number; readonly readsUserAgent: boolean }) {
    this.#known = options.known;
    this.#bytesMax = options.bytesMax;
    this.readsUserAgent = options.readsUserAgent;
  }

  /**
   * Reads the head that begins at `start`. After `incomplete` it is called again with the same bytes and more behind them; the head may lie
   * elsewhere then.
   */
  parse(bytes: Buffer, start: number): HeadVerdict {
    if (this.#lineStart === 0) {
      this.#reset();
      const lineEnd = this.#readRequestLine(bytes, start);
      if (lineEnd < 0) return this.#unfinished(bytes, start, lineEnd);
      this.#lineStart = lineEnd - start;
    }
    for (;;) {
      const at = start + this.#lineStart;
      if (bytes[at] === CR) {
        if (at + 1 >= bytes.length) return this.#unfinished(bytes, start, INCOMPLETE);
        if (bytes[at + 1] !== LF) return this.#foreign('syntax');
        return this.#finish(at + 2, start);
      }
      const lineEnd = this.#readField(bytes, at);
      if (lineEnd < 0) return this.#unfinished(bytes, start, lineEnd);
      this.#lineStart = lineEnd - start;
    }
  }

  #reset(): void {
    this.range = undefined;
    this.ifNoneMatch = undefined;
    this.cacheControl = undefined;
    this.pragma = undefined;
    this.cdnLoop = undefined;
    this.userAgent = undefined;
    this.referer = undefined;
    this.traceparent = undefined;
    this.isLast = false;
    this.#fields = 0;
    this.#hasHost = false;
    this.#hasConnection = false;
  }

  #finish(endOffset: number, start: number): HeadVerdict {
    this.#lineStart = 0;
    if (!this.#hasHost) return this.#foreign('syntax');
    if (endOffset - start > this.#bytesMax) return this.#foreign('size');
    this.endOffset = endOffset;
    return 'complete';
  }

  #unfinished(bytes: Buffer, start: number, code: number): HeadVerdict {
    if (code === FOREIGN) return this.#foreign(this.reason);
    return bytes.length - start > this.#bytesMax ? this.#foreign('size') : 'incomplete';
  }

  #foreign(reason: HandoverReason): HeadVerdict {
    this.reason = reason;
    this.#lineStart = 0;
    return 'foreign';
  }

  /** @returns the offset behind the line, INCOMPLETE or FOREIGN */
  #readRequestLine(bytes: Buffer, start: number): number {
    this.reason = 'method';
    this.isHead = bytes[start] === HEAD[0];
    const targetStart = readText(bytes, start, this.isHead ? HEAD : GET);
    if (targetStart < 0) return targetStart;
    if (targetStart >= bytes.length) return INCOMPLETE;
    this.reason = 'target';
    if (bytes[targetStart] !== SLASH) return FOREIGN;
    let at = targetStart + 1;
    let hasQuery = false;
    for (; at < bytes.length; at += 1) {
      const byte = bytes[at] ?? 0;
      if (TARGET_BYTES[byte] === 1) continue;
      if (byte !== QUESTION || hasQuery) break;
      hasQuery = true;
    }
    if (at >= bytes.length) return INCOMPLETE;
    if (bytes[at] !== SP) return FOREIGN;
    this.reason = 'version';
    const lineEnd = readText(bytes, at + 1, VERSION);
    if (lineEnd >= 0) this.#takeTarget(bytes, targetStart, at);
    return lineEnd;
  }

  /** @returns the offset behind the line, INCOMPLETE or FOREIGN */
  #readField(bytes: Buffer, nameStart: number): number {
    let at = nameStart;
    let hash = 0;
    for (; at < bytes.length; at += 1) {
      const lower = NAME_BYTES[bytes[at] ?? 0] ?? 0;
      if (lower === 0) break;
      hash = hashName(hash, lower);
    }
    this.reason = 'syntax';
    if (at >= bytes.length) return INCOMPLETE;
    if (bytes[at] !== COLON || at === nameStart) return FOREIGN;
    this.reason = 'field';
    const known = this.#known.find(hash, bytes, nameStart, at);
    if (known === undefined) return FOREIGN;
    this.reason = 'syntax';
    at += 1;
    while (at < bytes.length && isSpace(bytes[at])) at += 1;
    const valueStart = at;
    // VCHAR, SP, HTAB (RFC 9110 s5.5); other bytes are legal there, and nobody needs them.
    for (; at < bytes.length; at += 1) {
      const byte = bytes[at] ?? 0;
      if (byte < SP ? byte !== HTAB : byte > 126) break;
    }
    if (at + 1 >= bytes.length) return at < bytes.length && bytes[at] !== CR ? FOREIGN : INCOMPLETE;
    if (bytes[at] !== CR || bytes[at + 1] !== LF) return FOREIGN;
    this.#fields += 1;
    this.reason = 'size';
    if (this.#fields > FIELDS_MAX) return FOREIGN;
    let valueEnd = at;
    while (valueEnd > valueStart && isSpace(bytes[valueEnd - 1])) valueEnd -= 1;
    this.reason = 'field';
    if (known.use !== 'ignored' && !this.#take(known.use, bytes, valueStart, valueEnd)) return FOREIGN;
    return at + 2;
  }

  /** Keeps a value. @returns whether it may stand so: once, and as far as this lane understands it */
  #take(use: FieldUse, bytes: Buffer, start: number, end: number): boolean {
    switch (use) {
      case 'host':
        if (this.#hasHost) return false;
        this.#hasHost = true;
        this.#takeHost(bytes, start, end);
        return true;
      case 'connection':
        if (this.#hasConnection) return false;
        this.#hasConnection = true;
        return this.#takeConnection(bytes.toString('latin1', start, end));
      case 'range':
        if (this.range !== undefined) return false;
        this.range = bytes.toString('latin1', start, end);
        return true;
      case 'if-none-match':
        if (this.ifNoneMatch !== undefined) return false;
        this.ifNoneMatch = bytes.toString('latin1', start, end);
        return true;
      case 'cache-control':
        if (this.cacheControl !== undefined) return false;
        this.cacheControl = bytes.toString('latin1', start, end);
        return true;
      case 'pragma':
        if (this.pragma !== undefined) return false;
        this.pragma = bytes.toString('latin1', start, end);
        return true;
      case 'cdn-loop':
        if (this.cdnLoop !== undefined) return false;
        this.cdnLoop = bytes.toString('latin1', start, end);
        return true;
      case 'user-agent':
        if (this.userAgent !== undefined) return false;
        this.userAgent = this.readsUserAgent ? bytes.toString('latin1', start, end) : '';
        return true;
      case 'referer':
        if (this.readsUserAgent) this.referer = bytes.toString('latin1', start, end);
        return true;
      case 'traceparent':
        if (this.readsUserAgent) this.traceparent = bytes.toString('latin1', start, end);
        return true;
      case 'ignored':
        return true;
    }
  }

  #takeTarget(bytes: Buffer, start: number, end: number): void {
    this.isSameTarget = !this.#lastTarget.replace(bytes, start, end);
    if (!this.isSameTarget) this.target = bytes.toString('latin1', start, end);
  }

  #takeHost(bytes: Buffer, start: number, end: number): void {
    if (!this.#lastHost.replace(bytes, start, end)) return;
    this.isSameTarget = false;
    this.host = bytes.toString('latin1', start, end);
  }

  #takeConnection(value: string): boolean {
    const word = value.toLowerCase();
    this.isLast = word === 'close';
    return this.isLast || word === 'keep-alive';
  }
}

const INCOMPLETE = -1;
const FOREIGN = -2;

/** @returns the offset behind `text` at `start`; INCOMPLETE where the bytes end in it, FOREIGN where they differ */
function readText(bytes: Buffer, start: number, text: Uint8Array): number {
  for (let index = 0; index < text.length; index += 1) {
    if (start + index >= bytes.length) return INCOMPLETE;
    if (bytes[start + index] !== text[index]) return FOREIGN;
  }
  return start + text.length;
}

/** Bytes that were read last, kept without making new memory for each. */
class LastBytes {
  #bytes = new Uint8Array(64);
  #length = 0;

  /** Keeps bytes instead. @returns whether they are others */
  replace(bytes: Uint8Array, start: number, end: number): boolean {
    const length = end - start;
    if (length === this.#length) {
      let same = 0;
      while (same < length && this.#bytes[same] === bytes[start + same]) same += 1;
      if (same === length) return false;
    }
    if (length > this.#bytes.length) this.#bytes = new Uint8Array(2 * length);
    for (let index = 0; index < length; index += 1) this.#bytes[index] = bytes[start + index] ?? 0;
    this.#length = length;
    return true;
  }
}

function isSpace(byte: number | undefined): boolean {
  return byte === SP || byte === HTAB;
}

function bytesOf(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}
