/**
 * Which device keeps what: weighted rendezvous hashing of a unit (64 slices in a row of one object, 64 MiB at the default slice size) over the
 * devices. A device that leaves moves nothing but its own units; one that comes back is again where it was; a device gets units in proportion
 * to its size. A unit is counted in slices, so that placing one needs no manifest.
 */
import { assert, must } from '../../base/assert.ts';
import { divFloor } from '../../base/units.ts';
import type { ObjectHash } from '../../format/manifest.ts';

/** Slices of an object that lie on one device together. */
export const UNIT_SLICES = 64;
const UINT32 = 2 ** 32;

/** A device as placement sees it. */
export interface PlaceableDevice {
  /** The device's UUID. */
  readonly uuid: Uint8Array;
  /** Bytes for extents. */
  readonly weight: number;
}

/** The devices in the order in which they should keep the unit that a slice belongs to, by their places in `devices`. */
export function placementOrder(devices: readonly PlaceableDevice[], objectHash: ObjectHash, sliceNumber: number): readonly number[] {
  if (devices.length <= 1) return devices.map((_, place) => place);
  const unit = divFloor(sliceNumber, UNIT_SLICES);
  const low = Number.parseInt(objectHash.slice(0, 8), 16);
  const high = Number.parseInt(objectHash.slice(8, 16), 16);
  const scores = devices.map(({ uuid, weight }) => {
    assert(weight > 0, 'a device has room');
    // The random bytes of a UUID of version 4, past the bits that are the same in all of them.
    const seedLow = new DataView(uuid.buffer, uuid.byteOffset).getUint32(0);
    const seedHigh = new DataView(uuid.buffer, uuid.byteOffset).getUint32(12);
    const mixed = mix(mix(mix(low ^ seedLow) ^ high ^ seedHigh) ^ unit);
    // An exponential variable of rate `weight`: the smallest of them is a device's with a probability in proportion to its weight.
    return -Math.log((mixed + 0.5) / UINT32) / weight;
  });
  return devices.map((_, place) => place).sort((left, right) => must(scores[left], 'score') - must(scores[right], 'score'));
}

/** The finalizer of MurmurHash3: every bit of the input changes half of the output's. */
function mix(value: number): number {
  let word = value >>> 0;
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}
