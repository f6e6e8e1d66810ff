/**
 * What commands write to. Standard output carries the answer (text or JSON) and nothing else, so that it can be piped; notes, progress and
 * complaints go to standard error. Knows whether a person is looking (TTY), NO_COLOR and --quiet. Questions go to standard error, too,
 * and only to a person.
 */
import { createInterface } from 'node:readline';
import { styleText } from 'node:util';

/** The part of a writable stream that is used here; process.stdout is one. */
export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** Standard input; `isTTY` says that a person types. */
export type InputStream = NodeJS.ReadableStream & { readonly isTTY?: boolean | undefined };

/** Looks that are in use. */
export type TextLook = 'bold' | 'dim' | 'red' | 'green' | 'yellow';

const DEFAULT_COLUMNS = 80;

/** Standard input, output and error of one command. */
export class Terminal {
  /** Standard input; undefined where a command has none. */
  readonly input: InputStream | undefined;
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  readonly #mayColour: boolean;
  #isQuiet = false;

  /** @param environment for NO_COLOR (https://no-color.org: any text but the empty one) and TERM=dumb */
  constructor(
    streams: { stdin?: InputStream | undefined; stdout: OutputStream; stderr: OutputStream },
    environment: Readonly<Record<string, string | undefined>>,
  ) {
    this.input = streams.stdin;
    this.#stdout = streams.stdout;
    this.#stderr = streams.stderr;
    this.#mayColour = (environment.NO_COLOR ?? '') === '' && environment.TERM !== 'dumb';
  }

  get isQuiet(): boolean {
    return this.#isQuiet;
  }

  /** Whether progress can be redrawn in place. */
  get isInteractive(): boolean {
    return this.#stderr.isTTY === true;
  }

  /** Whether somebody can be asked. */
  get canAsk(): boolean {
    return this.input?.isTTY === true && this.isInteractive;
  }

  /** Width of standard error in columns. */
  get columns(): number {
    return this.#stderr.columns ?? DEFAULT_COLUMNS;
  }

  /** From now on notes and progress are dropped (`--quiet`). */
  silenceNotes(): void {
    this.#isQuiet = true;
  }

  /** A line of the answer, on standard output. */
  print(line: string): void {
    this.#stdout.write(`${line}\n`);
  }

  /** The answer as JSON, indented, on standard output. */
  printJson(value: unknown): void {
    this.print(JSON.stringify(value, undefined, 2));
  }

  /** A line on what is going on, on standard error; dropped when quiet. */
  note(line: string): void {
    if (!this.#isQuiet) this.#stderr.write(`${line}\n`);
  }

  /** A line on what went wrong, on standard error, also when quiet. */
  complain(line: string): void {
    this.#stderr.write(`${line}\n`);
  }

  /** Text without line break on standard error, for redrawing; dropped when quiet. */
  draw(text: string): void {
    if (!this.#isQuiet) this.#stderr.write(text);
  }

  /** Asks the person; also when quiet. @returns the line typed, without spaces around it; empty at the end of input, or when nobody can be asked */
  async ask(question: string): Promise<string> {
    if (this.input === undefined || !this.canAsk) return '';
    this.#stderr.write(question);
    const lines = createInterface({ input: this.input });
    try {
      for await (const line of lines) return line.trim();
      return '';
    } finally {
      lines.close();
    }
  }

  /** `text` for standard output in a look, where colour is wanted and seen. */
  style(look: TextLook, text: string): string {
    return this.#mayColour && this.#stdout.isTTY === true ? styleText(look, text, { validateStream: false }) : text;
  }

  /** `text` for standard error in a look. */
  styleComplaint(look: TextLook, text: string): string {
    return this.#mayColour && this.#stderr.isTTY === true ? styleText(look, text, { validateStream: false }) : text;
  }
}
