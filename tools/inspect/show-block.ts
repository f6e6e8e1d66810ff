/** `rawslice inspect block` (what a block belongs to) and `rawslice inspect hex` (its bytes, with the fields named). */
import { divFloor } from '../../src/base/units.ts';
import { EXTENT_KINDS } from '../../src/format/extent-header.ts';
import { CHECKPOINT_PART_BYTES } from '../../src/format/geometry.ts';
import { MANIFEST_NUMBER } from '../../src/format/journal-block.ts';
import { firstEndingBehind, slotsByBlock } from '../../src/store/check/extent-order.ts';
import { judgeHeader } from '../../src/store/check/judge-extent.ts';
import { type BlockPlace, locateBlock } from '../../src/store/check/locate-block.ts';
import { tryReadCopy } from '../../src/store/check/read-copy.ts';
import { type DeviceView, keyOfGeneration, outOfUse, viewDevice } from '../../src/store/inspect-device.ts';
import { readRoot } from '../../src/store/recovery/root-area.ts';
import type { CommandIo } from '../command-io.ts';
import type { ReadableDevice } from '../device-view.ts';
import { dumpLines, nameFields, structureOf } from './annotated-dump.ts';
import { parsePlace } from './device-place.ts';
import { formatTable, type TableRow } from './format-table.ts';
import { numberWords } from './record-words.ts';
import { type ExtentFacts, readExtentFacts, stateWords } from './show-extents.ts';

/** Prints what the block is part of, by the index, and what its own bytes say. */
export async function showBlock(
  io: CommandIo,
  readable: ReadableDevice,
  wishes: { readonly place: string; readonly isJson: boolean },
): Promise<void> {
  const view = await viewDevice(readable.device, readable.arena);
  const { geometry } = view.root.format;
  const { blockSizeBytes } = geometry;
  const block = parsePlace(wishes.place, { blockSizeBytes, capacityBytes: readable.device.capacityBytes });
  const offsetBytes = block * blockSizeBytes;
  const place = locateBlock(geometry, offsetBytes);
  const owner = place.zone === 'group' ? await findOwner(view, block) : undefined;
  const bytes = await tryReadCopy(view, offsetBytes, blockSizeBytes);
  const content = contentWords(view, bytes, block);
  if (wishes.isJson) {
    io.terminal.printJson({ block, offsetBytes, ...place, ...owner, content });
    return;
  }
  const rows: TableRow[] = [
    ['block', `${block}, bytes ${offsetBytes} to ${offsetBytes + blockSizeBytes}, sector ${offsetBytes / 512}`],
    ['part of', placeWords(place)],
    ...(owner === undefined ? [] : ownerRows(owner, block)),
    ['content', content],
  ];
  for (const line of formatTable(rows)) io.terminal.print(line);
}

/** Prints the bytes of a block, or of the structure that begins there. */
export async function showHex(
  io: CommandIo,
  readable: ReadableDevice,
  wishes: { readonly place: string; readonly blocks: number; readonly isJson: boolean },
): Promise<void> {
  const { device, arena } = readable;
  const { geometry } = (await readRoot(device, arena)).format;
  const { blockSizeBytes } = geometry;
  const first = parsePlace(wishes.place, { blockSizeBytes, capacityBytes: device.capacityBytes });
  // A checkpoint part is one structure of several blocks.
  const isPart = locateBlock(geometry, first * blockSizeBytes).zone === 'checkpoint' && wishes.blocks === 1;
  const stepBytes = isPart ? CHECKPOINT_PART_BYTES : blockSizeBytes;
  for (let step = 0; step < wishes.blocks; step += 1) {
    const offsetBytes = first * blockSizeBytes + step * stepBytes;
    if (offsetBytes + stepBytes > device.capacityBytes) return;
    const bytes = await tryReadCopy(readable, offsetBytes, stepBytes);
    const block = divFloor(offsetBytes, blockSizeBytes);
    if (wishes.isJson) {
      const fields = bytes === undefined ? [] : nameFields(bytes).filter(({ name }) => name !== 'macKey');
      io.terminal.printJson({
        block,
        offsetBytes,
        isReadable: bytes !== undefined,
        structure: bytes === undefined ? undefined : structureOf(bytes),
        fields,
      });
      continue;
    }
    io.terminal.print(
      `block ${block}: ${bytes === undefined ? 'the device cannot read it' : (structureOf(bytes) ?? 'no structure of rawslice begins here')}`,
    );
    if (bytes !== undefined) for (const line of dumpLines(bytes, offsetBytes, nameFields(bytes))) io.terminal.print(line);
  }
}

/** What the index says of a block of the groups. */
type Owner =
  | { readonly use: 'extent'; readonly extent: ExtentFacts; readonly key: string | undefined }
  | { readonly use: 'free' }
  | { readonly use: 'bad' };

async function findOwner(view: DeviceView, block: number): Promise<Owner> {
  if (outOfUse(view).some(({ start, end }) => block >= start && block < end)) return { use: 'bad' };
  const { index } = view.state;
  const sorted = slotsByBlock(index);
  const slot = sorted[firstEndingBehind(index, sorted, block)];
  if (slot === undefined || index.block(slot) > block) return { use: 'free' };
  const extent = await readExtentFacts(view, slot);
  return { use: 'extent', extent, key: await keyOfGeneration(view, extent.generation) };
}

function ownerRows(owner: Owner, block: number): TableRow[] {
  if (owner.use === 'bad') return [['use', 'out of use: the device could not read or write it']];
  if (owner.use === 'free') return [['use', 'free']];
  const { extent, key } = owner;
  const part = block === extent.block ? 'its header' : `payload block ${block - extent.block} of ${extent.blocks - 1}`;
  return [
    [
      'use',
      `${numberWords(extent.sliceNumber)} of generation ${extent.generation}, blocks ${extent.block} to ${extent.block + extent.blocks - 1}, ${part}`,
    ],
    ['extent', stateWords(extent.state)],
    ['object', key ?? 'its manifest cannot be read'],
  ];
}

function placeWords(place: BlockPlace): string {
  switch (place.zone) {
    case 'format block':
      return `label ${place.labelNumber}, its format block`;
    case 'superblock':
      return `label ${place.labelNumber}, superblock place ${place.place}`;
    case 'journal':
      return `journal, place ${place.place} of the ring`;
    case 'checkpoint':
      return `checkpoint ${'AB'[place.checkpointZone] ?? '?'}, part ${place.partNumber}`;
    case 'group':
      return `allocation group ${place.group}`;
    case 'gap':
      return 'no zone: between the groups and the last labels';
    case 'behind':
      return 'nothing: it lies behind the end of the cache (rawslice format --grow takes it in)';
  }
}

function contentWords(view: DeviceView, bytes: Buffer | undefined, block: number): string {
  if (bytes === undefined) return 'the device cannot read it';
  const structure = structureOf(bytes);
  if (structure !== 'extent header') return structure ?? (bytes.every((byte) => byte === 0) ? 'zeros' : 'data');
  const verdict = judgeHeader(bytes, view.root.format, block);
  if (!('header' in verdict)) return stateWords(verdict.kind);
  const { header } = verdict;
  const what = header.kind === EXTENT_KINDS.manifest ? numberWords(MANIFEST_NUMBER) : numberWords(header.sliceNumber);
  const home = verdict.kind === 'misplaced' ? `, at home at block ${header.ownBlock}` : '';
  return `extent header: ${what} of generation ${header.generation}, write ${header.writeSequence}${home}`;
}
