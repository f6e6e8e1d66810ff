/** A stream that keeps what is written to it, for tests of what commands print. */
import type { OutputStream } from '../../tools/terminal.ts';

/** `isTTY` and `columns` as a terminal would have them. */
export class CapturedStream implements OutputStream {
  text = '';
  readonly isTTY: boolean;
  readonly columns: number;

  constructor(options: { isTTY?: boolean; columns?: number } = {}) {
    this.isTTY = options.isTTY ?? false;
    this.columns = options.columns ?? 80;
  }

  write(text: string): void {
    this.text += text;
  }
}
