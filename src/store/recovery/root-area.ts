/**
 * The labels: reading all four and choosing what counts, and committing superblocks in an order that leaves a whole one at any crash
 * (copies 0 and 2, flush, copies 1 and 3, flush).
 */
import type { Clock } from '../../base/clock.ts';
import { EdgeError } from '../../base/errors.ts';
import { divFloor, formatBytes, KIB, MIB, PAGE_BYTES } from '../../base/units.ts';
import type { BlockDevice } from '../../device/block-device.ts';
import { decodeFormatBlock, FORMAT_VERSION, type FormatBlock, type FormatBlockVerdict } from '../../format/format-block.ts';
import { decodeSuperblock, encodeSuperblock, type Superblock } from '../../format/superblock.ts';
import type { Arena } from '../../memory/arena.ts';
import { tryRead, withStaging } from '../device-io.ts';

const READ_BYTES = 128 * KIB;

/** What one label looked like. */
export interface LabelReport {
  readonly labelNumber: number;
  readonly format: FormatBlockVerdict['kind'] | 'unreadable';
  /** Superblocks that verify. */
  readonly superblocks: number;
  /** Sequence of the newest of them; 0 when there is none. */
  readonly newestSequence: number;
}

/** A device's root as it was read. */
export interface DeviceRoot {
  readonly format: FormatBlock;
  /** The newest that verifies, of all labels. */
  readonly superblock: Superblock;
  readonly labels: readonly LabelReport[];
}

/**
 * Finds the format block and the newest superblock.
 *
 * @throws EdgeError FORMAT_DAMAGED, FORMAT_VERSION, DEVICE_TRUNCATED, DEVICE_UNSUITABLE, each saying what to do
 */
export async function readRoot(device: BlockDevice, arena: Arena): Promise<DeviceRoot> {
  const format = await findFormatBlock(device, arena);
  const { geometry } = format;
  if (geometry.capacityBytes > device.capacityBytes) {
    const sizes = `${formatBytes(device.capacityBytes)}, it was formatted with ${formatBytes(geometry.capacityBytes)}`;
    throw new EdgeError('DEVICE_TRUNCATED', `${device.path} has become shorter (${sizes}); restore its size or format it anew`);
  }
  if (geometry.blockSizeBytes % device.blockSizeBytes !== 0) {
    const sizes = `${device.blockSizeBytes}-byte blocks, the format has ${geometry.blockSizeBytes}`;
    throw new EdgeError('DEVICE_UNSUITABLE', `${device.path} now wants ${sizes}; format it anew`);
  }
  const labels: LabelReport[] = [];
  let newest: Superblock | undefined;
  for (let labelNumber = 0; labelNumber < geometry.labelOffsets.length; labelNumber += 1) {
    const label = await readLabel(device, arena, { format, labelNumber });
    labels.push(label.report);
    if (label.newest !== undefined && (newest === undefined || label.newest.sequence > newest.sequence)) newest = label.newest;
  }
  if (newest === undefined) {
    throw new EdgeError('FORMAT_DAMAGED', `No superblock of ${device.path} can be read; format it anew (its content is only a cache)`);
  }
  return { format, superblock: newest, labels };
}

async function findFormatBlock(device: BlockDevice, arena: Arena): Promise<FormatBlock> {
  let version: number | undefined;
  let damage = 'no format block found';
  const found = await withStaging(arena, Math.max(PAGE_BYTES, device.blockSizeBytes), async (bytes) => {
    for (const offsetBytes of formatBlockPlaces(device)) {
      if (!(await tryRead(device, bytes, offsetBytes))) continue;
      const verdict = decodeFormatBlock(bytes);
      const isInPlace = verdict.kind === 'valid' && verdict.block.geometry.labelOffsets[verdict.block.labelNumber] === offsetBytes;
      if (verdict.kind === 'valid' && (isInPlace || verdict.block.geometry.capacityBytes > device.capacityBytes)) return verdict.block;
      if (verdict.kind === 'version') version = verdict.version;
      if (verdict.kind === 'damaged') damage = verdict.reason;
    }
    return undefined;
  });
  if (found !== undefined) return found;
  if (version !== undefined) {
    const text = `${device.path} has format ${version}, this program reads format ${FORMAT_VERSION}; use the rawslice that formatted it, or format it anew`;
    throw new EdgeError('FORMAT_VERSION', text, { context: { version, expected: FORMAT_VERSION } });
  }
  throw new EdgeError('FORMAT_DAMAGED', `${device.path} holds no readable rawslice format (${damage}); run rawslice format ${device.path}`);
}

/** Where a label may begin, the likeliest first; the size of labels is known only from a format block. */
function formatBlockPlaces(device: BlockDevice): number[] {
  const places = [0];
  for (let labelBytes = MIB; labelBytes >= 2 * device.blockSizeBytes; labelBytes /= 2) {
    places.push(labelBytes, device.capacityBytes - 2 * labelBytes, device.capacityBytes - labelBytes);
  }
  return places.filter((offsetBytes) => offsetBytes >= 0 && offsetBytes + device.blockSizeBytes <= device.capacityBytes);
}

async function readLabel(
  device: BlockDevice,
  arena: Arena,
  options: { readonly format: FormatBlock; readonly labelNumber: number },
): Promise<{ report: LabelReport; newest: Superblock | undefined }> {
  const { format, labelNumber } = options;
  const { geometry } = format;
  const labelOffset = geometry.labelOffsets[labelNumber] ?? 0;
  const blocksPerRead = Math.max(1, divFloor(READ_BYTES, geometry.blockSizeBytes));
  let formatKind: LabelReport['format'] = 'unreadable';
  let superblocks = 0;
  let newest: Superblock | undefined;
  await withStaging(arena, blocksPerRead * geometry.blockSizeBytes, async (bytes) => {
    for (let first = 0; first <= geometry.superblockCount; first += blocksPerRead) {
      const count = Math.min(blocksPerRead, geometry.superblockCount + 1 - first);
      const piece = bytes.subarray(0, count * geometry.blockSizeBytes);
      if (!(await tryRead(device, piece, labelOffset + first * geometry.blockSizeBytes))) continue;
      for (let index = 0; index < count; index += 1) {
        const block = piece.subarray(index * geometry.blockSizeBytes, (index + 1) * geometry.blockSizeBytes);
        const ownOffset = labelOffset + (first + index) * geometry.blockSizeBytes;
        if (first + index === 0) {
          formatKind = decodeFormatBlock(block).kind;
          continue;
        }
        const superblock = decodeSuperblock(block, { ownOffset, deviceUuid: format.deviceUuid, macKey: format.macKey });
        if (superblock === undefined) continue;
        superblocks += 1;
        if (newest === undefined || superblock.sequence > newest.sequence) newest = superblock;
      }
    }
  });
  const found: Superblock | undefined = newest;
  return { report: { labelNumber, format: formatKind, superblocks, newestSequence: newestSequence(found) }, newest: found };
}

function newestSequence(superblock: Superblock | undefined): number {
  return superblock?.sequence ?? 0;
}

/** Where copy `labelNumber` of superblock `sequence` belongs. */
export function superblockOffset(format: FormatBlock, labelNumber: number, sequence: number): number {
  const { geometry } = format;
  return (geometry.labelOffsets[labelNumber] ?? 0) + (1 + (sequence % geometry.superblockCount)) * geometry.blockSizeBytes;
}

/** Commits superblocks, one after the other. After a failed one every further one fails: the device is read-only from then on. */
export class RootArea {
  readonly #device: BlockDevice;
  readonly #arena: Arena;
  readonly #clock: Clock;
  readonly #format: FormatBlock;
  #current: Superblock;
  #tail: Promise<void> = Promise.resolve();

  constructor(options: { device: BlockDevice; arena: Arena; clock: Clock; root: DeviceRoot }) {
    this.#device = options.device;
    this.#arena = options.arena;
    this.#clock = options.clock;
    this.#format = options.root.format;
    this.#current = options.root.superblock;
  }

  /** The newest that is durable. */
  get current(): Superblock {
    return this.#current;
  }

  /**
   * Writes the next superblock: the current one with `changes`, computed when its turn has come.
   *
   * @throws EdgeError of the device; what is durable then is unknown
   */
  commit(changes: () => Partial<Superblock>): Promise<void> {
    const committed = this.#tail.then(() => this.#write(changes()));
    this.#tail = committed;
    // Whoever asked handles the failure; the chain only carries it to those who ask later.
    committed.catch(() => undefined);
    return committed;
  }

  async #write(changes: Partial<Superblock>): Promise<void> {
    const next: Superblock = { ...this.#current, ...changes, sequence: this.#current.sequence + 1, writtenAtMs: this.#clock.wallMs() };
    await withStaging(this.#arena, this.#format.geometry.blockSizeBytes, async (bytes) => {
      for (const pair of [
        [0, 2],
        [1, 3],
      ]) {
        for (const labelNumber of pair) {
          const ownOffset = superblockOffset(this.#format, labelNumber, next.sequence);
          encodeSuperblock(next, { ownOffset, deviceUuid: this.#format.deviceUuid, macKey: this.#format.macKey }, bytes);
          await this.#device.write([bytes], ownOffset);
        }
        await this.#device.flush();
      }
    });
    this.#current = next;
  }
}
