/**
 * Takes chunked content apart (RFC 9112 s7.1), piece by piece as bytes come, without copying: it says which bytes of a piece are content.
 * Strict: CRLF only, a size of hexadecimal digits, extensions read over, trailer fields bounded. Pure; one per response.
 */

import type { FieldList } from './header-fields.ts';
import { parseFieldLine } from './response-head.ts';

/** What was found in a piece of the stream. */
export type ChunkStep =
  /** Bytes [start, end) of the piece are content. */
  | { readonly kind: 'content'; readonly start: number; readonly end: number }
  /** The content is complete; `end` is the first byte of the piece that belongs to something else. */
  | { readonly kind: 'end'; readonly end: number }
  /** The piece is used up. */
  | { readonly kind: 'more' }
  | { readonly kind: 'invalid'; readonly why: string };

/** A chunk's line, extensions included; the trailer section as a whole. */
const LINE_BYTES_MAX = 1024;
const TRAILER_BYTES_MAX = 16 * 1024;
const CHUNK_LINE = /^([0-9A-Fa-f]{1,13})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?$/;
const CR = 13;
const LF = 10;

/** One chunked content. */
export class ChunkedContent {
  #state: 'size' | 'content' | 'content-end' | 'trailer' | 'done' = 'size';
  #leftBytes = 0;
  /** What came of the line in hand. */
  #line = '';
  #trailerBytes = 0;
  readonly #trailers: [string, string][] = [];

  /** Fields behind the last chunk, when the end has come. */
  get trailers(): FieldList {
    return this.#trailers;
  }

  /** The next step at `from` in `piece`; after `content` and only then it is called again with the same piece, from `end` on. */
  next(piece: Uint8Array, from: number): ChunkStep {
    let at = from;
    while (at < piece.length) {
      if (this.#state === 'content') {
        const end = Math.min(piece.length, at + this.#leftBytes);
        this.#leftBytes -= end - at;
        if (this.#leftBytes === 0) this.#state = 'content-end';
        return { kind: 'content', start: at, end };
      }
      const lineEnd = piece.indexOf(LF, at);
      const end = lineEnd < 0 ? piece.length : lineEnd + 1;
      if (this.#line.length + end - at > LINE_BYTES_MAX) return { kind: 'invalid', why: 'a line of the chunked framing is too long' };
      this.#line += Buffer.from(piece.buffer, piece.byteOffset + at, end - at).toString('latin1');
      at = end;
      if (lineEnd < 0) break;
      const why = this.#takeLine();
      if (why !== undefined) return { kind: 'invalid', why };
      if (this.#state === 'done') return { kind: 'end', end: at };
    }
    return { kind: 'more' };
  }

  /** @returns what is wrong with the line in hand */
  #takeLine(): string | undefined {
    const text = this.#line;
    this.#line = '';
    if (text.charCodeAt(text.length - 2) !== CR) return 'a line of the chunked framing ends without CR';
    const line = text.slice(0, -2);
    if (this.#state === 'content-end') {
      this.#state = 'size';
      return line === '' ? undefined : 'a chunk is longer than its size says';
    }
    if (this.#state === 'trailer') {
      this.#trailerBytes += text.length;
      if (this.#trailerBytes > TRAILER_BYTES_MAX) return 'the trailer section is too long';
      if (line === '') this.#state = 'done';
      else return this.#takeTrailer(line);
      return undefined;
    }
    return this.#takeSize(line);
  }

  #takeTrailer(line: string): string | undefined {
    const field = parseFieldLine(line);
    if (field.kind === 'invalid') return `a trailer cannot be read (${field.why})`;
    this.#trailers.push([field.name, field.value]);
    return undefined;
  }

  #takeSize(line: string): string | undefined {
    const match = CHUNK_LINE.exec(line);
    if (match === null) return 'a chunk size cannot be read';
    this.#leftBytes = Number.parseInt(match[1] ?? '', 16);
    this.#state = this.#leftBytes === 0 ? 'trailer' : 'content';
    return undefined;
  }
}
