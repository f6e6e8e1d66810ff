/** `rawslice inspect extents`: extents in the order of the device with what their headers say; and the slices of one object. */

import { formatBytes } from '../../src/base/units.ts';
import { printableKeyText } from '../../src/cache/variant-key.ts';
import { CODECS, type ExtentHeader } from '../../src/format/extent-header.ts';
import { firstEndingBehind, slotsByBlock } from '../../src/store/check/extent-order.ts';
import { type HeaderVerdict, judgeHeader } from '../../src/store/check/judge-extent.ts';
import { tryReadCopy } from '../../src/store/check/read-copy.ts';
import { type DeviceView, type StoredObject, viewDevice } from '../../src/store/inspect-device.ts';
import type { CommandIo } from '../command-io.ts';
import type { ReadableDevice } from '../device-view.ts';
import { timeText } from './describe-device.ts';
import { findByName } from './find-object.ts';
import { ListWriter } from './list-writer.ts';
import { flagWords, numberWords } from './record-words.ts';

/** What to show. */
export interface ExtentWishes {
  /** First block, and the one behind the last. */
  readonly from: number;
  readonly to: number;
  /** Key, URL or path of the only object that is wanted. */
  readonly object: string | undefined;
  readonly limit: number;
  readonly isJson: boolean;
}

/** What is known of the extent of one entry. */
export interface ExtentFacts {
  readonly block: number;
  readonly blocks: number;
  readonly generation: number;
  /** MANIFEST_NUMBER for a manifest. */
  readonly sliceNumber: number;
  readonly writeSequence: number;
  /** ENTRY_FLAGS. */
  readonly flags: number;
  /** `sound`, or how its header fails; `other`: sound, but of another record than the index says. */
  readonly state: HeaderVerdict['kind'] | 'other';
  readonly header: ExtentHeader | undefined;
}

/** Prints extents, one read each. */
export async function showExtents(io: CommandIo, readable: ReadableDevice, wishes: ExtentWishes): Promise<void> {
  const view = await viewDevice(readable.device, readable.arena);
  const { index } = view.state;
  const object = wishes.object === undefined ? undefined : await findByName(view, wishes.object);
  const sorted = slotsByBlock(index);
  const list = new ListWriter(io.terminal, { name: 'extents', limit: wishes.limit, isJson: wishes.isJson });
  for (let at = firstEndingBehind(index, sorted, wishes.from); at < sorted.length; at += 1) {
    const slot = sorted[at] ?? 0;
    if (index.block(slot) >= wishes.to) break;
    if (object !== undefined && index.generation(slot) !== object.manifest.generation) continue;
    const facts = await readExtentFacts(view, slot);
    if (!list.add(facts, extentLine(facts))) break;
  }
  list.end('no extents there');
}

/** Where the stored slices of an object lie, in order; at most `limit`, one read each. */
export async function readSlices(view: DeviceView, object: StoredObject, limit: number): Promise<readonly ExtentFacts[]> {
  const { index } = view.state;
  const { generation } = object.manifest;
  const slots = index
    .recordSlots()
    .filter((slot) => (index.kind(slot) === 'slice' || index.hasBody(slot)) && index.generation(slot) === generation);
  const facts: ExtentFacts[] = [];
  for (const slot of slots.sort((left, right) => index.sliceNumber(left) - index.sliceNumber(right)).subarray(0, limit))
    facts.push(await readExtentFacts(view, slot));
  return facts;
}

/** Reads the header of the extent that an entry names. */
export async function readExtentFacts(view: DeviceView, slot: number): Promise<ExtentFacts> {
  const { index } = view.state;
  const { format } = view.root;
  const { blockSizeBytes } = format.geometry;
  const { block, blocks, writeSequence } = index.place(slot);
  const bytes = await tryReadCopy(view, block * blockSizeBytes, blockSizeBytes);
  const verdict = judgeHeader(bytes, format, block);
  const header = 'header' in verdict ? verdict.header : undefined;
  const generation = index.generation(slot);
  const sliceNumber = index.sliceNumber(slot);
  const isOther =
    verdict.kind === 'sound' &&
    (header?.writeSequence !== writeSequence || header.generation !== generation || header.sliceNumber !== sliceNumber);
  return {
    block,
    blocks,
    generation,
    sliceNumber,
    writeSequence,
    flags: index.flags(slot),
    state: isOther ? 'other' : verdict.kind,
    header,
  };
}

/** An extent in one line. */
export function extentLine(facts: ExtentFacts): string {
  const { header } = facts;
  const what = `${numberWords(facts.sliceNumber)} of generation ${facts.generation}`;
  const place = `block ${String(facts.block).padStart(9)} +${String(facts.blocks).padEnd(4)}  ${what}`;
  if (header === undefined || facts.state !== 'sound') return `${place}  ${stateWords(facts.state)}`;
  const held = header.presentEnd === 0 ? '' : `, bytes ${header.presentStart} to ${header.presentEnd}`;
  const codec = header.codec === CODECS.raw ? 'raw' : `${formatBytes(header.storedBytes)} stored`;
  const key = header.keyText === '' ? '' : `  ${printableKeyText(header.keyText)}`;
  return `${place}${held}, ${formatBytes(header.rawBytes)} ${codec}${flagWords(facts.flags)}, ${timeText(header.writtenAtMs)}${key}`;
}

/** A slice of an object in one line. */
export function sliceLine(facts: ExtentFacts): string {
  return `  ${extentLine(facts)}`;
}

const STATE_WORDS: Readonly<Record<ExtentFacts['state'], string>> = {
  sound: 'sound',
  misplaced: 'a header that belongs to another block',
  none: 'no header there',
  damaged: 'a damaged header',
  foreign: 'a header of another cache',
  forged: 'a header without proof: not written by rawslice',
  unreadable: 'the device cannot read it',
  other: 'another record has its place',
};

/** Why an extent is not what the index says. */
export function stateWords(state: ExtentFacts['state']): string {
  return STATE_WORDS[state];
}
