/** The map of an object's slices, one character for each slice, or for each range of slices where there are more than fit. */
import { divCeil, divFloor, formatBytes } from '../../src/base/units.ts';
import type { SliceRun } from '../../src/store/inspect-device.ts';

/** Most lines of a map. */
const LINES_MAX = 16;
const INDENT = '  ';

/** How much of a cell's range is stored. */
const STORED = '#';
const PARTLY = '+';
const ABSENT = '.';

/** What the map is of. */
export interface MapShape {
  readonly sliceCount: number;
  readonly sliceSizeBytes: number;
  /** Width of the screen. */
  readonly columns: number;
}

/** Draws the map with its legend; `runs` are the stored slices, in order. */
export function renderSliceMap(runs: readonly SliceRun[], shape: MapShape): readonly string[] {
  const { sliceCount, sliceSizeBytes, columns } = shape;
  if (sliceCount === 0) return ['no slices: the object is empty'];
  const perLine = Math.max(8, divFloor(columns - INDENT.length - 1, 8) * 8);
  const slicesPerCell = divCeil(sliceCount, perLine * LINES_MAX);
  const cells = Array.from(countStored(runs, { sliceCount, slicesPerCell }), (stored, cell) => {
    if (stored === Math.min(slicesPerCell, sliceCount - cell * slicesPerCell)) return STORED;
    return stored > 0 ? PARTLY : ABSENT;
  }).join('');
  const lines = Array.from(
    { length: divCeil(cells.length, perLine) },
    (_, line) => INDENT + cells.slice(line * perLine, (line + 1) * perLine),
  );
  const unit = slicesPerCell === 1 ? 'a slice' : `${slicesPerCell} slices`;
  const partly = slicesPerCell === 1 ? '' : `, ${PARTLY} in part`;
  return [
    `map, each character ${unit} (${formatBytes(slicesPerCell * sliceSizeBytes)}): ${STORED} stored${partly}, ${ABSENT} not`,
    ...lines,
  ];
}

/** Stored slices of each cell. */
function countStored(runs: readonly SliceRun[], grid: { readonly sliceCount: number; readonly slicesPerCell: number }): Float64Array {
  const { sliceCount, slicesPerCell } = grid;
  const counts = new Float64Array(divCeil(sliceCount, slicesPerCell));
  for (const { start, end } of runs) {
    for (let at = start; at < Math.min(end, sliceCount); ) {
      const cell = divFloor(at, slicesPerCell);
      const next = Math.min(end, sliceCount, (cell + 1) * slicesPerCell);
      counts[cell] = (counts[cell] ?? 0) + next - at;
      at = next;
    }
  }
  return counts;
}
