/**
 * A file of a middleware (users, tokens, keys): read when it is made, and again when it has changed and stood still for a moment. What cannot be read or used
 * leaves what was there.
 */
import { readFileSync, statSync } from 'node:fs';
import type { MiddlewareServices } from '../middleware.ts';

/** How often the file is looked at. */
const INTERVAL_MS = 5000;
const FILE_BYTES_MAX = 1024 * 1024;

/** What a file says now. */
export class WatchedFile<Content> {
  readonly #file: string;
  readonly #parse: (text: string) => Content;
  readonly #services: Pick<MiddlewareServices, 'log' | 'every'>;
  #content: Content;
  #read: string;
  #seen: string;

  /** @param parse throws an Error for what cannot be used. @throws Error when the file cannot be read or used */
  constructor(file: string, parse: (text: string) => Content, services: Pick<MiddlewareServices, 'log' | 'every'>) {
    this.#file = file;
    this.#parse = parse;
    this.#services = services;
    this.#read = shapeOf(file);
    this.#seen = this.#read;
    this.#content = this.#readContent();
    services.every(INTERVAL_MS, () => this.look());
  }

  get content(): Content {
    return this.#content;
  }

  #readContent(): Content {
    try {
      return this.#parse(readText(this.#file));
    } catch (cause) {
      throw new Error(`${this.#file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }

  /** Reads it again if it is another one and stands still. */
  look(): void {
    const shape = shapeOf(this.#file);
    const isStill = shape === this.#seen;
    this.#seen = shape;
    if (!isStill || shape === this.#read) return;
    this.#read = shape;
    try {
      this.#content = this.#readContent();
      this.#services.log('info', 'a file was read again', { file: this.#file });
    } catch (error) {
      this.#services.log('error', 'a changed file cannot be used; what it said before stays', { file: this.#file, err: error });
    }
  }
}

function readText(file: string): string {
  const bytes = readFileSync(file);
  if (bytes.length > FILE_BYTES_MAX) throw new Error(`${file} is larger than 1 MiB`);
  return bytes.toString('utf8');
}

function shapeOf(file: string): string {
  const stats = statSync(file, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? 'absent' : [stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' ');
}
