/** A place on a device as people give it: a block number, `@` and a byte offset, or `s` and a 512-byte sector as the kernel's log names it. */
import { EdgeError } from '../../src/base/errors.ts';
import { divFloor } from '../../src/base/units.ts';
import { parseSize } from '../../src/config/size.ts';

const SECTOR_BYTES = 512;

/** The block number that `text` means. @throws EdgeError USAGE */
export function parsePlace(text: string, device: { readonly blockSizeBytes: number; readonly capacityBytes: number }): number {
  const offsetBytes = offsetOf(text, device.blockSizeBytes);
  if (offsetBytes === undefined) {
    const forms = 'a block number, @ and a byte offset (@1048576, @1MiB, @0x100000), or s and a sector of 512 bytes (s2048)';
    throw new EdgeError('USAGE', `A place on a device is ${forms}, not ${JSON.stringify(text)}`);
  }
  if (offsetBytes >= device.capacityBytes)
    throw new EdgeError('USAGE', `${text} is behind the end of the device, which has ${device.capacityBytes} bytes`);
  return divFloor(offsetBytes, device.blockSizeBytes);
}

function offsetOf(text: string, blockSizeBytes: number): number | undefined {
  const [, prefix, digits = ''] = /^([@s]?)(.+)$/.exec(text) ?? [];
  const value = integerOf(digits);
  if (prefix === '@') {
    if (value !== undefined) return value;
    const size = parseSize(digits);
    return size.kind === 'ok' ? size.value : undefined;
  }
  if (value === undefined) return undefined;
  return value * (prefix === 's' ? SECTOR_BYTES : blockSizeBytes);
}

function integerOf(text: string): number | undefined {
  if (!/^(\d{1,16}|0x[0-9a-f]{1,13})$/i.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}
