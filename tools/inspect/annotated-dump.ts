/** A block as hexadecimal with its fields named, by the layouts that the codecs themselves use. */
import {
  CONTENTS_ENTRY,
  CONTENTS_ENTRY_BYTES,
  CONTENTS_HEADER,
  CONTENTS_HEADER_BYTES,
  CONTENTS_MAGIC,
} from '../../src/format/checkpoint-contents.ts';
import { CHECKPOINT_ENTRY, CHECKPOINT_HEADER, CHECKPOINT_MAGIC } from '../../src/format/checkpoint-part.ts';
import { EXTENT_HEADER, EXTENT_MAGIC } from '../../src/format/extent-header.ts';
import { type Field, getNumber } from '../../src/format/field-layout.ts';
import { FORMAT_BLOCK, FORMAT_MAGIC } from '../../src/format/format-block.ts';
import { CHECKPOINT_ENTRY_BYTES, CHECKPOINT_PART_HEADER_BYTES } from '../../src/format/geometry.ts';
import {
  JOURNAL_HEADER,
  JOURNAL_HEADER_BYTES,
  JOURNAL_MAGIC,
  JOURNAL_RECORD,
  JOURNAL_RECORD_BYTES,
} from '../../src/format/journal-block.ts';
import { MANIFEST_MAGIC, MANIFEST_RECORD } from '../../src/format/manifest-record.ts';
import { SUPERBLOCK, SUPERBLOCK_MAGIC } from '../../src/format/superblock.ts';

/** A stretch of bytes with a name. `value` is what it says, as text. */
export interface NamedBytes {
  readonly offset: number;
  readonly size: number;
  readonly name: string;
  readonly value: string;
}

const CHUNK_ROW_BYTES = 6;
const COLUMNS = 16;
/** Named, never shown: whoever gets the dump of a disk should not get its key with it. */
const SECRET_FIELDS: readonly string[] = ['macKey'];

/** The name of the structure that begins the block, or undefined. */
export function structureOf(block: Buffer): string | undefined {
  return STRUCTURES.find(({ magic, magicAt }) => block.toString('latin1', magicAt, magicAt + magic.length) === magic)?.name;
}

/** The fields of the structure that begins the block, in order; empty when there is none. */
export function nameFields(block: Buffer): readonly NamedBytes[] {
  return STRUCTURES.find(({ name }) => name === structureOf(block))?.fields(block) ?? [];
}

/** Lines: fields with their bytes, and what lies between and behind them as plain rows; runs of zeros are left out. */
export function* dumpLines(block: Buffer, baseOffset: number, fields: readonly NamedBytes[]): Generator<string> {
  let at = 0;
  for (const field of fields) {
    yield* plainRows(block, { start: at, end: field.offset, baseOffset });
    const isSecret = SECRET_FIELDS.includes(field.name);
    const bytes = isSecret ? '(kept secret)' : hexOf(block.subarray(field.offset, field.offset + Math.min(field.size, COLUMNS)));
    const rest = !isSecret && field.size > COLUMNS ? ` +${field.size - COLUMNS}` : '';
    yield `${addressOf(baseOffset + field.offset)}  ${`${bytes}${rest}`.padEnd(COLUMNS * 3 + 4)}  ${field.name}${field.value === '' ? '' : ` = ${field.value}`}`;
    at = field.offset + field.size;
  }
  yield* plainRows(block, { start: at, end: block.length, baseOffset });
}

type FieldTable = Readonly<Record<string, Field>>;

function layoutFields(block: Buffer, base: number, layout: FieldTable, prefix = ''): NamedBytes[] {
  return Object.entries(layout).map(([name, field]) => ({
    offset: base + field.offset,
    size: field.size,
    name: `${prefix}${name}`,
    value: textOf(block, base, field),
  }));
}

function textOf(block: Buffer, base: number, field: Field): string {
  const at = base + field.offset;
  if (field.type === 'zero' || field.type === 'bytes') return '';
  if (field.type === 'ascii') return JSON.stringify(block.toString('latin1', at, at + field.size).replace(/\0+$/, ''));
  return String(getNumber(block, base, field));
}

/** `count` rows behind a header, as far as the block goes. */
function repeatedFields(
  block: Buffer,
  rows: { readonly at: number; readonly bytes: number; readonly count: number; readonly layout: FieldTable; readonly name: string },
): NamedBytes[] {
  const fields: NamedBytes[] = [];
  for (let row = 0; row < rows.count && rows.at + (row + 1) * rows.bytes <= block.length; row += 1)
    fields.push(...layoutFields(block, rows.at + row * rows.bytes, rows.layout, `${rows.name} ${row} `));
  return fields;
}

function extentFields(block: Buffer): NamedBytes[] {
  const fields = layoutFields(block, 0, EXTENT_HEADER);
  const chunkCount = getNumber(block, 0, EXTENT_HEADER.chunkCount);
  const keyBytes = getNumber(block, 0, EXTENT_HEADER.keyBytes);
  let at = 256;
  for (let chunk = 0; chunk < chunkCount && at + CHUNK_ROW_BYTES <= block.length; chunk += 1) {
    const value = `${block.readUInt16LE(at) + 1} bytes, CRC ${block
      .readUInt32LE(at + 2)
      .toString(16)
      .padStart(8, '0')}`;
    fields.push({ offset: at, size: CHUNK_ROW_BYTES, name: `chunk ${chunk}`, value });
    at += CHUNK_ROW_BYTES;
  }
  const size = Math.min(keyBytes, block.length - at);
  if (size > 0) fields.push({ offset: at, size, name: 'key', value: JSON.stringify(block.toString('utf8', at, at + size)) });
  return fields;
}

const STRUCTURES: readonly {
  readonly name: string;
  readonly magic: string;
  readonly magicAt: number;
  readonly fields: (block: Buffer) => NamedBytes[];
}[] = [
  {
    name: 'format block',
    magic: FORMAT_MAGIC,
    magicAt: FORMAT_BLOCK.magic.offset,
    fields: (block) => layoutFields(block, 0, FORMAT_BLOCK),
  },
  { name: 'superblock', magic: SUPERBLOCK_MAGIC, magicAt: 0, fields: (block) => layoutFields(block, 0, SUPERBLOCK) },
  {
    name: 'journal block',
    magic: JOURNAL_MAGIC,
    magicAt: 0,
    fields: (block) => [
      ...layoutFields(block, 0, JOURNAL_HEADER),
      ...repeatedFields(block, {
        at: JOURNAL_HEADER_BYTES,
        bytes: JOURNAL_RECORD_BYTES,
        count: getNumber(block, 0, JOURNAL_HEADER.count),
        layout: JOURNAL_RECORD,
        name: 'record',
      }),
    ],
  },
  {
    name: 'checkpoint part',
    magic: CHECKPOINT_MAGIC,
    magicAt: 0,
    fields: (block) => [
      ...layoutFields(block, 0, CHECKPOINT_HEADER),
      ...repeatedFields(block, {
        at: CHECKPOINT_PART_HEADER_BYTES,
        bytes: CHECKPOINT_ENTRY_BYTES,
        count: getNumber(block, 0, CHECKPOINT_HEADER.count),
        layout: CHECKPOINT_ENTRY,
        name: 'entry',
      }),
    ],
  },
  {
    name: 'table of contents of a checkpoint',
    magic: CONTENTS_MAGIC,
    magicAt: 0,
    fields: (block) => [
      ...layoutFields(block, 0, CONTENTS_HEADER),
      ...repeatedFields(block, {
        at: CONTENTS_HEADER_BYTES,
        bytes: CONTENTS_ENTRY_BYTES,
        count: getNumber(block, 0, CONTENTS_HEADER.count),
        layout: CONTENTS_ENTRY,
        name: 'entry',
      }),
    ],
  },
  { name: 'extent header', magic: EXTENT_MAGIC, magicAt: 0, fields: extentFields },
  { name: 'manifest record', magic: MANIFEST_MAGIC, magicAt: 0, fields: (block) => layoutFields(block, 0, MANIFEST_RECORD) },
];

function* plainRows(
  block: Buffer,
  range: { readonly start: number; readonly end: number; readonly baseOffset: number },
): Generator<string> {
  let zeros = 0;
  for (let at = range.start; at < range.end; ) {
    const end = Math.min(range.end, at - (at % COLUMNS) + COLUMNS);
    const row = block.subarray(at, end);
    if (row.every((byte) => byte === 0)) zeros += row.length;
    else {
      if (zeros > 0) yield zeroLine(range.baseOffset + at - zeros, zeros);
      zeros = 0;
      const text = row.toString('latin1').replace(/[^\x20-\x7e]/g, '.');
      yield `${addressOf(range.baseOffset + at)}  ${hexOf(row).padEnd(COLUMNS * 3 + 4)}  ${text}`;
    }
    at = end;
  }
  if (zeros > 0) yield zeroLine(range.baseOffset + range.end - zeros, zeros);
}

function zeroLine(offset: number, count: number): string {
  return `${addressOf(offset)}  ${`00 x ${count}`.padEnd(COLUMNS * 3 + 4)}  zeros`;
}

function addressOf(offset: number): string {
  return offset.toString(16).padStart(12, '0');
}

function hexOf(bytes: Buffer): string {
  return bytes.toString('hex').replace(/(..)(?=.)/g, '$1 ');
}
