/**
 * Long lists, item by item as they are found: lines of text, or one JSON document that is never in memory as a whole. At most `limit` items
 * are shown; one more says that there are more.
 */
import type { Terminal } from '../terminal.ts';

/** What a list is called in JSON, and its bound. */
export interface ListShape {
  readonly name: string;
  readonly limit: number;
  readonly isJson: boolean;
  /** A line above the first item, in text. */
  readonly head?: string | undefined;
}

/** One list. Items, then end(). */
export class ListWriter {
  readonly #terminal: Terminal;
  readonly #shape: ListShape;
  #count = 0;
  #hasMore = false;

  constructor(terminal: Terminal, shape: ListShape) {
    this.#terminal = terminal;
    this.#shape = shape;
    if (shape.isJson) terminal.print(`{\n  ${JSON.stringify(shape.name)}: [`);
  }

  get count(): number {
    return this.#count;
  }

  /** Shows one item. @returns false when the limit is reached, and the item is not shown: the caller may stop looking for more */
  add(json: unknown, ...lines: readonly string[]): boolean {
    if (this.#count >= this.#shape.limit) {
      this.#hasMore = true;
      return false;
    }
    const { isJson, head } = this.#shape;
    if (isJson) this.#terminal.print(`${this.#count === 0 ? '' : ','}    ${JSON.stringify(json)}`);
    else {
      if (this.#count === 0 && head !== undefined) this.#terminal.print(head);
      for (const line of lines) this.#terminal.print(line);
    }
    this.#count += 1;
    return true;
  }

  /** Closes the list. @param rest fields behind it in JSON. @param empty what is said of no items */
  end(empty: string, rest: Readonly<Record<string, unknown>> = {}): void {
    const { isJson, limit } = this.#shape;
    if (isJson) {
      const fields = Object.entries({ more: this.#hasMore, ...rest }).map(
        ([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)}`,
      );
      this.#terminal.print(`  ],\n${fields.join(',\n')}\n}`);
      return;
    }
    if (this.#count === 0) this.#terminal.note(empty);
    if (this.#hasMore) this.#terminal.note(`there are more than ${limit}; --limit shows more`);
  }
}
