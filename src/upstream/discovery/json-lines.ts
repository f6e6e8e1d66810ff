/** JSON values from a stream that does not end, one a line, as they come. Used by etcd-source.ts. */
import type { Readable } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import { parseJson } from './json-shape.ts';

/** What came: values (undefined for what is no JSON), nothing in the time that was given, or the end. */
export type LinesVerdict =
  | { readonly kind: 'values'; readonly values: readonly unknown[] }
  | { readonly kind: 'idle' }
  | { readonly kind: 'ended'; readonly why: string };

/** One stream; one waits at a time. */
export class JsonLines {
  readonly #body: Readable;
  readonly #charsMax: number;
  #rest = '';
  #values: unknown[] = [];
  /** Of the values that wait. */
  #chars = 0;
  #end: string | undefined;
  #wake: () => void = () => undefined;

  /** @param charsMax that may wait to be taken; a stream that sends more is ended */
  constructor(body: Readable, charsMax: number) {
    this.#body = body;
    this.#charsMax = charsMax;
    body.setEncoding('utf8');
    body.on('data', (text: string) => this.#onText(text));
    body.on('error', (error) => this.#onEnd(error.message));
    body.on('close', () => this.#onEnd('closed'));
    body.on('end', () => this.#onEnd('closed'));
  }

  /** Everything that has come since the last time; waits for it up to `limitMs`, and not after `signal` aborts. */
  async next({
    clock,
    limitMs,
    signal,
  }: {
    readonly clock: Clock;
    readonly limitMs: number;
    readonly signal: AbortSignal;
  }): Promise<LinesVerdict> {
    if (this.#values.length === 0 && this.#end === undefined && !signal.aborted) {
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      const timer = clock.startTimer(limitMs, woken.resolve);
      signal.addEventListener('abort', this.#wake);
      await woken.promise;
      timer.stop();
      signal.removeEventListener('abort', this.#wake);
    }
    if (this.#values.length === 0) return this.#end === undefined ? { kind: 'idle' } : { kind: 'ended', why: this.#end };
    const values = this.#values;
    this.#values = [];
    this.#chars = 0;
    return { kind: 'values', values };
  }

  /** Idempotent. */
  close(): void {
    this.#body.destroy();
  }

  #onText(text: string): void {
    this.#chars += text.length;
    if (this.#chars + this.#rest.length > this.#charsMax) {
      this.#onEnd(`more than ${this.#charsMax} characters at a time`);
      return this.close();
    }
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') this.#values.push(parseJson(line));
    if (this.#values.length > 0) this.#wake();
  }

  #onEnd(why: string): void {
    this.#end ??= why;
    this.#wake();
  }
}
