/** Binary search over whatever has an order, as other languages have it under this name. */
import { divFloor } from './units.ts';

/**
 * @param isBefore of an index; true for the first indices and for none behind them
 * @returns how many those are, which is the first index for which it is false; `length` when there is none
 */
export function partitionPoint(length: number, isBefore: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = divFloor(low + high, 2);
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
