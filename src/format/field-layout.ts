/**
 * Tables of fields: name, size and type of everything that lies on disk, in order, little-endian. A structure's codec reads and writes
 * through its table, and a test compares the tables with FORMAT.md, so that page and code cannot drift apart.
 */
import { assert } from '../base/assert.ts';

/** How a field's bytes are to be read. `u48` is an unsigned integer of six bytes; `u64` holds at most 2^53 - 1; `zero` is reserved. */
export type FieldType = 'ascii' | 'bytes' | 'u8' | 'u16' | 'u32' | 'u48' | 'u64' | 'zero';

/** One field of a structure. `offset` and `size` are bytes. */
export interface Field {
  readonly offset: number;
  readonly size: number;
  readonly type: FieldType;
}

/** A structure's fields by name, in the order in which they lie on disk. */
export type Layout<Name extends string> = Readonly<Record<Name, Field>>;

const SIZE_OF_TYPE: Partial<Record<FieldType, number>> = { u8: 1, u16: 2, u32: 4, u48: 6, u64: 8 };

/**
 * Lays fields one after the other.
 *
 * @param totalBytes what the sizes must add up to
 * @param fields `[name, type]` or, for ascii, bytes and zero, `[name, type, size]`
 */
export function defineLayout<const Name extends string>(
  totalBytes: number,
  fields: readonly (readonly [name: Name, type: FieldType, size?: number])[],
): Layout<Name> {
  const result: Partial<Record<Name, Field>> = {};
  let offset = 0;
  for (const [name, type, given] of fields) {
    const size = given ?? SIZE_OF_TYPE[type];
    assert(size !== undefined, () => `field ${name} has no size`);
    assert(result[name] === undefined, () => `field ${name} stands twice`);
    result[name] = { offset, size, type };
    offset += size;
  }
  assert(offset === totalBytes, () => `fields add up to ${offset} bytes, not ${totalBytes}`);
  return result as Layout<Name>;
}

/** Writes an integer field at `base + field.offset`. */
export function putNumber(buffer: Buffer, base: number, field: Field, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, () => `field at ${field.offset} takes ${value}`);
  const at = base + field.offset;
  if (field.type === 'u32') buffer.writeUInt32LE(value, at);
  else if (field.type === 'u48') buffer.writeUIntLE(value, at, 6);
  else if (field.type === 'u64') {
    buffer.writeUInt32LE(value % 2 ** 32, at);
    buffer.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
  } else if (field.type === 'u16') buffer.writeUInt16LE(value, at);
  else buffer.writeUInt8(value, at);
}

/** Reads an integer field; a u64 above 2^53 - 1 comes back above it too (inexact), so that every range check refuses it. */
export function getNumber(buffer: Buffer, base: number, field: Field): number {
  const at = base + field.offset;
  if (field.type === 'u32') return buffer.readUInt32LE(at);
  if (field.type === 'u48') return buffer.readUIntLE(at, 6);
  if (field.type === 'u64') return buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 2 ** 32;
  if (field.type === 'u16') return buffer.readUInt16LE(at);
  return buffer.readUInt8(at);
}

/** Writes a byte or ascii field; what `value` leaves of it becomes zero. */
export function putBytes(buffer: Buffer, base: number, field: Field, value: Uint8Array): void {
  assert(value.length <= field.size, () => `field at ${field.offset} takes ${field.size} bytes, not ${value.length}`);
  const at = base + field.offset;
  buffer.fill(0, at, at + field.size);
  buffer.set(value, at);
}

/** Writes a byte field that `digits`, two for each byte, fill exactly. */
export function putHex(buffer: Buffer, base: number, field: Field, digits: string): void {
  assert(digits.length === 2 * field.size, () => `field at ${field.offset} takes ${2 * field.size} digits, not ${digits.length}`);
  assert(buffer.write(digits, base + field.offset, 'hex') === field.size, 'digits are hexadecimal');
}

/** A copy of a byte field. */
export function getBytes(buffer: Buffer, base: number, field: Field): Uint8Array {
  return Uint8Array.from(buffer.subarray(base + field.offset, base + field.offset + field.size));
}

/** Writes a fixed word, such as a magic. */
export function putAscii(buffer: Buffer, base: number, field: Field, text: string): void {
  assert(text.length <= field.size, () => `field at ${field.offset} takes ${field.size} bytes, not ${text.length}`);
  const at = base + field.offset;
  buffer.fill(0, at + text.length, at + field.size);
  buffer.write(text, at, 'latin1');
}

/** Whether the field holds exactly `text`, padded with zeros. */
export function isAscii(buffer: Buffer, base: number, field: Field, text: string): boolean {
  const at = base + field.offset;
  return buffer.toString('latin1', at, at + field.size) === text.padEnd(field.size, '\0');
}
