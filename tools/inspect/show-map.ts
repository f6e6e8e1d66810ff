/** `rawslice inspect map`: the device from its first to its last byte, a character for each stretch of it. */
import { countText } from '../../src/base/count-text.ts';
import { alignUp, divCeil, divFloor, formatBytes } from '../../src/base/units.ts';
import type { Geometry } from '../../src/format/geometry.ts';
import { type BlockRun, slotsByBlock } from '../../src/store/check/extent-order.ts';
import type { SliceIndex } from '../../src/store/index/slice-index.ts';
import { outOfUse, viewDevice } from '../../src/store/inspect-device.ts';
import type { CommandIo } from '../command-io.ts';
import type { ReadableDevice } from '../device-view.ts';
import type { TextLook } from '../terminal.ts';

const LINES_MAX = 20;
const MARGIN_COLUMNS = 14;
/** How full a stretch of the groups is, in five steps; the first stands for nothing at all, the last for no block free. */
const FULLNESS = ['.', '-', '+', '*', '#'] as const;
const LOOKS: Readonly<Record<string, TextLook>> = {
  L: 'bold',
  J: 'bold',
  A: 'bold',
  B: 'bold',
  '#': 'red',
  '*': 'yellow',
  '+': 'green',
  x: 'red',
  '.': 'dim',
};

/** What is in the blocks of one cell. */
export interface MapCell {
  readonly startBlock: number;
  readonly endBlock: number;
  /** L label, J journal, A and B checkpoints, x bad blocks, a character of fullness, space for nothing. */
  readonly mark: string;
  readonly usedBlocks: number;
}

/** Prints the map with its legend. */
export async function showMap(io: CommandIo, readable: ReadableDevice, isJson: boolean): Promise<void> {
  const view = await viewDevice(readable.device, readable.arena);
  const { geometry } = view.root.format;
  const perLine = Math.max(16, divFloor(io.terminal.columns - MARGIN_COLUMNS, 16) * 16);
  const blockCount = divFloor(geometry.capacityBytes, geometry.blockSizeBytes);
  const blocksPerCell = Math.max(1, divCeil(blockCount, perLine * LINES_MAX));
  const cells = mapCells(geometry, view.state.index, { blocksPerCell, bad: outOfUse(view) });
  if (isJson) {
    io.terminal.printJson({ blockSizeBytes: geometry.blockSizeBytes, blocksPerCell, cells });
    return;
  }
  const cellText = countText(blocksPerCell, 'block');
  io.terminal.print(
    `each character ${cellText} (${formatBytes(blocksPerCell * geometry.blockSizeBytes)}): L label, J journal, A B checkpoints;`,
  );
  io.terminal.print('objects: . free, - to a third, + to two thirds, * more, # full, x bad');
  for (let line = 0; line < divCeil(cells.length, perLine); line += 1) {
    const row = cells.slice(line * perLine, (line + 1) * perLine);
    const margin = formatBytes((row[0]?.startBlock ?? 0) * geometry.blockSizeBytes).padStart(MARGIN_COLUMNS - 2);
    io.terminal.print(`${margin}  ${row.map(({ mark }) => paint(io, mark)).join('')}`);
  }
}

function paint(io: CommandIo, mark: string): string {
  const look = LOOKS[mark];
  return look === undefined ? mark : io.terminal.style(look, mark);
}

/** The cells in order; the smaller zones win a cell that they share with groups, so that none of them is invisible. */
export function mapCells(
  geometry: Geometry,
  index: SliceIndex,
  options: { readonly blocksPerCell: number; readonly bad: readonly BlockRun[] },
): readonly MapCell[] {
  const { blocksPerCell, bad } = options;
  const { blockSizeBytes } = geometry;
  const cellCount = divCeil(divFloor(geometry.capacityBytes, blockSizeBytes), blocksPerCell);
  const used = new Float64Array(cellCount);
  const isBad = new Uint8Array(cellCount);
  const spread = (run: BlockRun, take: (cell: number, blocks: number) => void): void => {
    for (let at = run.start; at < run.end; ) {
      const next = Math.min(run.end, alignUp(at + 1, blocksPerCell));
      take(divFloor(at, blocksPerCell), next - at);
      at = next;
    }
  };
  for (const slot of slotsByBlock(index)) {
    const start = index.block(slot);
    spread({ start, end: start + index.blocks(slot) }, (cell, blocks) => {
      used[cell] = (used[cell] ?? 0) + blocks;
    });
  }
  for (const run of bad) spread(run, (cell) => isBad.fill(1, cell, cell + 1));
  const zones = zoneMarks(geometry, blocksPerCell);
  return Array.from({ length: cellCount }, (_, cell) => {
    const startBlock = cell * blocksPerCell;
    const endBlock = Math.min(divFloor(geometry.capacityBytes, blockSizeBytes), startBlock + blocksPerCell);
    const usedBlocks = used[cell] ?? 0;
    const fullness = fullnessMark(usedBlocks, endBlock - startBlock);
    const mark = zones.get(cell) ?? (isBad[cell] === 1 ? 'x' : fullness);
    return { startBlock, endBlock, mark, usedBlocks };
  });
}

function fullnessMark(usedBlocks: number, blocks: number): string {
  if (usedBlocks === 0) return FULLNESS[0];
  if (usedBlocks >= blocks) return FULLNESS[4];
  return FULLNESS[1 + Math.min(2, divFloor(usedBlocks * 3, blocks))] ?? FULLNESS[3];
}

/** Marks of the cells that a zone other than the groups touches. */
function zoneMarks(geometry: Geometry, blocksPerCell: number): Map<number, string> {
  const { blockSizeBytes, labelOffsets, labelBytes, journalOffset, journalBytes, checkpointOffsets, checkpointBytes } = geometry;
  const marks = new Map<number, string>();
  const mark = (text: string, offsetBytes: number, lengthBytes: number): void => {
    const first = divFloor(offsetBytes, blockSizeBytes * blocksPerCell);
    const last = divFloor(offsetBytes + lengthBytes - 1, blockSizeBytes * blocksPerCell);
    for (let cell = first; cell <= last; cell += 1) marks.set(cell, text);
  };
  mark('J', journalOffset, journalBytes);
  mark('A', checkpointOffsets[0], checkpointBytes);
  mark('B', checkpointOffsets[1], checkpointBytes);
  for (const offset of labelOffsets) mark('L', offset, labelBytes);
  return marks;
}
