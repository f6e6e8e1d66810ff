/**
 * The express lane's reader of request heads: GET and HEAD with an origin-form target, HTTP/1.1, CRLF at every line's end, and fields that
 * known-fields.ts lists, each that is read at most once. It understands less than node's parser and never anything else: whatever it is not
 * sure about is `foreign`, at the first byte that shows it, and goes to node:http as it came. Test: a differential fuzzer.
 *
 * No string is made but of fields that are read; the target is known by its bytes. Bytes that came in pieces are read again from the line in
 * hand. Clients repeat their fields from one request to the next: fields that are the same bytes as those before mean the same, and are not read again.
 */
import type { HandoverReason } from '../proxy-metrics.ts';
import { type FieldUse, hashName, type KnownFields, NAME_BYTES } from './known-fields.ts';
import { LastBytes } from './last-bytes.ts';

/** Lines of fields; browsers send about 20. */
const FIELDS_MAX = 64;

const CR = 13;
const LF = 10;
const SP = 32;
const HTAB = 9;
const COLON = 58;
const SLASH = 47;
const QUESTION = 63;

const NO_BYTES = Buffer.alloc(0);
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
  /** Of the target's bytes: what it is looked for by. */
  targetHash = 0;
  host = '';
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
  #readsUserAgent: boolean;
  readonly #known: KnownFields;
  readonly #bytesMax: number;
  /** Where the line in hand begins, from the head's start; 0 is the request line. */
  #lineStart = 0;
  /** Where the first field begins, from the head's start. */
  #fieldsStart = 0;
  #fields = 0;
  #hasHost = false;
  #hasConnection = false;
  /** The last host, since the next request often has the same. */
  readonly #lastHost = new LastBytes();
  /** All lines of fields of the last head, and the empty one. */
  readonly #lastFields = new LastBytes();
  /** Whether the fields in hand were all read on the same terms. */
  #isOfOneKind = true;
  /** Where the head in hand is, and its target in it. */
  #bytes: Buffer = NO_BYTES;
  #start = 0;
  #end = 0;
  #targetStart = 0;
  #targetBytes = 0;

  /** @param options.bytesMax of a head, at least 16 */
  constructor(options: { readonly known: KnownFields; readonly bytesMax: number; readonly readsUserAgent: boolean }) {
    this.#known = options.known;
    this.#bytesMax = options.bytesMax;
    this.#readsUserAgent = options.readsUserAgent;
  }

  /** Whether somebody wants to know it, the page that led here, and the trace. */
  set readsUserAgent(value: boolean) {
    this.#readsUserAgent = value;
    this.#lastFields.forget();
    this.#isOfOneKind = false;
  }

  /** Whether the target is these bytes; of the head that was read last, as long as its bytes are there. */
  isTarget(target: Uint8Array): boolean {
    if (target.length !== this.#targetBytes) return false;
    const start = this.#start + this.#targetStart;
    for (let index = 0; index < target.length; index += 1) if (target[index] !== this.#bytes[start + index]) return false;
    return true;
  }

  /** The target of the head that was read last, as long as its bytes are there. */
  get target(): string {
    const start = this.#start + this.#targetStart;
    return this.#bytes.toString('latin1', start, start + this.#targetBytes);
  }

  /**
   * Reads the head that begins at `start`. After `incomplete` it is called again with the same bytes and more behind them; the head may lie
   * elsewhere then.
   *
   * @param end of what was received, exclusive
   */
  parse(bytes: Buffer, start: number, end: number): HeadVerdict {
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end;
    if (this.#lineStart === 0) {
      const lineEnd = this.#readRequestLine(bytes, start);
      if (lineEnd < 0) return this.#unfinished(lineEnd);
      if (this.#lastFields.isAt(bytes, lineEnd, end)) return this.#finish(lineEnd + this.#lastFields.length);
      this.#reset();
      this.#fieldsStart = lineEnd - start;
      this.#lineStart = this.#fieldsStart;
    }
    for (;;) {
      const at = start + this.#lineStart;
      if (bytes[at] === CR && at < end) {
        if (at + 1 >= end) return this.#unfinished(INCOMPLETE);
        if (bytes[at + 1] !== LF) return this.#foreign('syntax');
        if (this.#isOfOneKind) this.#lastFields.keep(bytes, start + this.#fieldsStart, at + 2);
        return this.#finish(at + 2);
      }
      const lineEnd = this.#readField(bytes, at);
      if (lineEnd < 0) return this.#unfinished(lineEnd);
      this.#lineStart = lineEnd - start;
    }
  }

  #reset(): void {
    this.#lastFields.forget();
    this.#isOfOneKind = true;
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

  #finish(endOffset: number): HeadVerdict {
    this.#lineStart = 0;
    if (!this.#hasHost) return this.#foreign('syntax');
    if (endOffset - this.#start > this.#bytesMax) return this.#foreign('size');
    this.endOffset = endOffset;
    return 'complete';
  }

  #unfinished(code: number): HeadVerdict {
    if (code === FOREIGN) return this.#foreign(this.reason);
    return this.#end - this.#start > this.#bytesMax ? this.#foreign('size') : 'incomplete';
  }

  #foreign(reason: HandoverReason): HeadVerdict {
    this.reason = reason;
    this.#lineStart = 0;
    return 'foreign';
  }

  /** @returns the offset behind the line, INCOMPLETE or FOREIGN */
  #readRequestLine(bytes: Buffer, start: number): number {
    const end = this.#end;
    this.reason = 'method';
    this.isHead = bytes[start] === HEAD[0];
    const targetStart = this.#readText(start, this.isHead ? HEAD : GET);
    if (targetStart < 0) return targetStart;
    if (targetStart >= end) return INCOMPLETE;
    this.reason = 'target';
    if (bytes[targetStart] !== SLASH) return FOREIGN;
    let at = targetStart + 1;
    let hasQuery = false;
    let hash = hashName(0, SLASH);
    for (; at < end; at += 1) {
      const byte = bytes[at] ?? 0;
      if (TARGET_BYTES[byte] !== 1) {
        if (byte !== QUESTION || hasQuery) break;
        hasQuery = true;
      }
      hash = hashName(hash, byte);
    }
    if (at >= end) return INCOMPLETE;
    if (bytes[at] !== SP) return FOREIGN;
    this.targetHash = hash;
    this.#targetStart = targetStart - start;
    this.#targetBytes = at - targetStart;
    this.reason = 'version';
    return this.#readText(at + 1, VERSION);
  }

  /** @returns the offset behind `text` at `start`; INCOMPLETE where the bytes end in it, FOREIGN where they differ */
  #readText(start: number, text: Uint8Array): number {
    for (let index = 0; index < text.length; index += 1) {
      if (start + index >= this.#end) return INCOMPLETE;
      if (this.#bytes[start + index] !== text[index]) return FOREIGN;
    }
    return start + text.length;
  }

  /** @returns the offset behind the line, INCOMPLETE or FOREIGN */
  #readField(bytes: Buffer, nameStart: number): number {
    const end = this.#end;
    let at = nameStart;
    let hash = 0;
    for (; at < end; at += 1) {
      const lower = NAME_BYTES[bytes[at] ?? 0] ?? 0;
      if (lower === 0) break;
      hash = hashName(hash, lower);
    }
    this.reason = 'syntax';
    if (at >= end) return INCOMPLETE;
    if (bytes[at] !== COLON || at === nameStart) return FOREIGN;
    this.reason = 'field';
    const known = this.#known.find(hash, bytes, nameStart, at);
    if (known === undefined) return FOREIGN;
    this.reason = 'syntax';
    at += 1;
    while (at < end && isSpace(bytes[at])) at += 1;
    const valueStart = at;
    // VCHAR, SP, HTAB (RFC 9110 s5.5); other bytes are legal there, and nobody needs them.
    for (; at < end; at += 1) {
      const byte = bytes[at] ?? 0;
      if (byte < SP ? byte !== HTAB : byte > 126) break;
    }
    if (at + 1 >= end) return at < end && bytes[at] !== CR ? FOREIGN : INCOMPLETE;
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
        this.userAgent = this.#readsUserAgent ? bytes.toString('latin1', start, end) : '';
        return true;
      case 'referer':
        if (this.#readsUserAgent) this.referer = bytes.toString('latin1', start, end);
        return true;
      case 'traceparent':
        if (this.#readsUserAgent) this.traceparent = bytes.toString('latin1', start, end);
        return true;
      case 'ignored':
        return true;
    }
  }

  #takeHost(bytes: Buffer, start: number, end: number): void {
    if (this.#lastHost.length === end - start && this.#lastHost.isAt(bytes, start, end)) return;
    this.#lastHost.keep(bytes, start, end);
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

function isSpace(byte: number | undefined): boolean {
  return byte === SP || byte === HTAB;
}

function bytesOf(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}
