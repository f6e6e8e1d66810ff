/**
 * Units, alignment arithmetic and their text forms. Inside the program sizes are bytes and times are milliseconds (or seconds, when the
 * name says so). Offsets are plain numbers, safe to 2^53 bytes; bitwise operators would cut them to 32 bits, so divide instead.
 */
import { assert } from './assert.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
export const TIB = 1024 * GIB;
export const SECOND_MS = 1000;

/** Memory page and smallest allocation unit on a device, in bytes. */
export const PAGE_BYTES = 4 * KIB;

/** Quotient rounded down; both are integers, `divisor` > 0. */
export function divFloor(dividend: number, divisor: number): number {
  assert(divisor > 0, 'divFloor: divisor must be positive');
  return Math.floor(dividend / divisor);
}

/** Quotient rounded up; both are integers, `divisor` > 0. */
export function divCeil(dividend: number, divisor: number): number {
  assert(divisor > 0, 'divCeil: divisor must be positive');
  return Math.ceil(dividend / divisor);
}

/** The smallest multiple of `unit` that is not below `value`. */
export function alignUp(value: number, unit: number): number {
  return divCeil(value, unit) * unit;
}

/** The largest multiple of `unit` that is not above `value`. */
export function alignDown(value: number, unit: number): number {
  return divFloor(value, unit) * unit;
}

/** Whether `value` is a multiple of `unit`. */
export function isAligned(value: number, unit: number): boolean {
  return value % unit === 0;
}

/** Whether `value` is a power of two (1 included). */
export function isPowerOfTwo(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && 2 ** Math.round(Math.log2(value)) === value;
}

/** The smallest power of two that is not below `value`; `value` >= 1. */
export function powerOfTwoCeil(value: number): number {
  assert(value >= 1, 'powerOfTwoCeil: value must be at least 1');
  let power = 1;
  while (power < value) power *= 2;
  return power;
}

const SIZE_SUFFIXES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** A size in IEC units with at most one decimal, as people read it: `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let step = 0;
  while (value >= 1024 && step < SIZE_SUFFIXES.length - 1) {
    value /= 1024;
    step += 1;
  }
  const text = step === 0 || Number.isInteger(value) ? String(value) : value.toFixed(1);
  return `${text} ${SIZE_SUFFIXES[step] ?? ''}`;
}
