/** The map of an object's slices, one character for each slice, or for each range of slices where there are more than fit. */
import { divCeil, divFloor, formatBytes } from '../../src/base/units.ts';

/** Most lines of a map. */
const LINES_MAX = 16;
const INDENT = '  ';

/** How much of a cell's range is stored. */
const STORED = '#';
const PARTLY = '+';
const ABSENT = '.';

/**
 * Draws the map with its legend.
 *
 * @param slices for each slice whether it is stored
 */
export function renderSliceMap(
  slices: readonly boolean[],
  options: { readonly columns: number; readonly sliceSizeBytes: number },
): readonly string[] {
  if (slices.length === 0) return ['no slices: the object is empty'];
  const perLine = Math.max(8, divFloor(options.columns - INDENT.length - 1, 8) * 8);
  const slicesPerCell = divCeil(slices.length, perLine * LINES_MAX);
  const cells = Array.from({ length: divCeil(slices.length, slicesPerCell) }, (_, cell) =>
    cellOf(slices.slice(cell * slicesPerCell, (cell + 1) * slicesPerCell)),
  ).join('');
  const lines = Array.from(
    { length: divCeil(cells.length, perLine) },
    (_, line) => `${INDENT}${cells.slice(line * perLine, (line + 1) * perLine)}`,
  );
  const unit = slicesPerCell === 1 ? 'a slice' : `${slicesPerCell} slices`;
  const partly = slicesPerCell === 1 ? '' : `, ${PARTLY} in part`;
  return [
    `map, each character ${unit} (${formatBytes(slicesPerCell * options.sliceSizeBytes)}): ${STORED} stored${partly}, ${ABSENT} not`,
    ...lines,
  ];
}

function cellOf(range: readonly boolean[]): string {
  if (range.every((isStored) => isStored)) return STORED;
  return range.some((isStored) => isStored) ? PARTLY : ABSENT;
}
