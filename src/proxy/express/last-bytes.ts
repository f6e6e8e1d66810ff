/** Bytes of a connection that were read last, kept without making new memory for each. Used by the parser of heads. */
import { KIB } from '../../base/units.ts';

/** What is longer is not kept, so that a connection takes no more; browsers' fields are half of it. */
const KEPT_BYTES_MAX = 2 * KIB;
/** Longer bytes are compared by node, whose call costs as much as so many steps. */
const STEPS_MAX = 96;

/** The last bytes; none at first. */
export class LastBytes {
  #bytes = Buffer.alloc(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Whether they stand at `start`, and not beyond `end`. Where there are none they stand nowhere. */
  isAt(bytes: Buffer, start: number, end: number): boolean {
    const length = this.#length;
    if (length === 0 || start + length > end) return false;
    if (length > STEPS_MAX) return bytes.compare(this.#bytes, 0, length, start, start + length) === 0;
    for (let index = 0; index < length; index += 1) if (this.#bytes[index] !== bytes[start + index]) return false;
    return true;
  }

  /** Keeps others instead. */
  keep(bytes: Buffer, start: number, end: number): void {
    const length = end - start;
    this.#length = length > KEPT_BYTES_MAX ? 0 : length;
    if (this.#length === 0) return;
    if (length > this.#bytes.length) this.#bytes = Buffer.alloc(2 * length);
    for (let index = 0; index < length; index += 1) this.#bytes[index] = bytes[start + index] ?? 0;
  }

  forget(): void {
    this.#length = 0;
  }
}
