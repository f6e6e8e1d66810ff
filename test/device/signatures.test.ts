/** Foreign signatures by crafted bytes, each at its documented place, and what wins over what. Those that tools here can make: guard.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { EDGE_BYTES, identifySignature, RAWSLICE_MAGIC_LINE, type SignatureVerdict } from '../../src/device/signatures.ts';

const SIZE_BYTES = 16 * MIB;
type Patch = readonly [offsetBytes: number, bytes: string | Buffer];

function identify(patches: readonly Patch[], sizeBytes = SIZE_BYTES): SignatureVerdict {
  const device = Buffer.alloc(sizeBytes);
  for (const [offset, bytes] of patches) device.set(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes, offset);
  const lengthBytes = Math.min(EDGE_BYTES, sizeBytes);
  return identifySignature({ head: device.subarray(0, lengthBytes), tail: device.subarray(sizeBytes - lengthBytes), sizeBytes });
}

function littleEndian(...words: number[]): Buffer {
  const bytes = Buffer.alloc(words.length * 4);
  for (const [index, word] of words.entries()) bytes.writeUInt32LE(word, index * 4);
  return bytes;
}

/** An ext superblock: inode count, block size 4 KiB, magic, revision 1, feature words. */
function ext(compatible: number, incompatible: number): readonly Patch[] {
  return [
    [1024, littleEndian(4096)],
    [1024 + 24, littleEndian(2)],
    [1024 + 56, '\x53\xef'],
    [1024 + 76, littleEndian(1)],
    [1024 + 92, littleEndian(compatible, incompatible)],
  ];
}

const partitionEntry: Patch = [446, Buffer.concat([Buffer.from([0x80, 0, 2, 0, 0x83, 0, 0, 0]), littleEndian(2048, 4096)])];
const bootSignature: Patch = [510, '\x55\xaa'];

const FOREIGN: readonly [name: string, patches: readonly Patch[]][] = [
  ['ext2', ext(0, 0x2)],
  ['ext3', ext(0x4, 0x2)],
  ['ext4', ext(0x4, 0x2c2)],
  ['xfs', [[0, 'XFSB\x00\x00\x10\x00']]],
  ['btrfs', [[0x10040, '_BHRfS_M']]],
  ['GPT', [[512, 'EFI PART'], bootSignature, [450, '\xee']]],
  ['GPT', [[4096, 'EFI PART']]],
  ['GPT', [[SIZE_BYTES - 512, 'EFI PART']]],
  ['MBR partition table', [partitionEntry, bootSignature]],
  ['LUKS1', [[0, 'LUKS\xba\xbe\x00\x01']]],
  ['LUKS2', [[0, 'LUKS\xba\xbe\x00\x02']]],
  [
    'LVM2 physical volume',
    [
      [512, 'LABELONE'],
      [512 + 24, 'LVM2 001'],
    ],
  ],
  ['swap', [[4086, 'SWAPSPACE2']]],
  ['swap', [[64 * KIB - 10, 'SWAPSPACE2']]],
  ['md raid (1.1)', [[0, littleEndian(0xa92b4efc, 1)]]],
  ['md raid (1.2)', [[4096, littleEndian(0xa92b4efc, 1)]]],
  ['md raid (1.0)', [[SIZE_BYTES - 8 * KIB, littleEndian(0xa92b4efc, 1)]]],
  ['md raid (0.90)', [[SIZE_BYTES - 64 * KIB, littleEndian(0xa92b4efc, 0)]]],
  ['ZFS', [[128 * KIB, littleEndian(0x00bab10c, 0)]]],
  ['ZFS', [[SIZE_BYTES - 256 * KIB + 200 * KIB, littleEndian(0x00bab10c, 0)]]],
  ['NTFS', [[3, 'NTFS    '], bootSignature]],
  ['exFAT', [[3, 'EXFAT   '], bootSignature]],
  ['FAT', [[82, 'FAT32   '], bootSignature, partitionEntry]],
  ['squashfs', [[0, 'hsqs']]],
  ['iso9660', [[32769, 'CD001']]],
  ['F2FS', [[1024, littleEndian(0xf2f52010)]]],
  ['unknown data', [[5, 'x']]],
  ['unknown data', [[SIZE_BYTES - 1, '\x01']]],
  ['unknown data', [bootSignature]],
  ['unknown data', [[1024 + 56, '\x53\xef']]],
];

for (const [name, patches] of FOREIGN) {
  test(`identifySignature() knows ${name} at ${patches.map(([offset]) => offset).join(', ')}`, () => {
    assert.deepEqual(identify(patches), { kind: 'foreign', name });
  });
}

test('identifySignature() calls zeros blank, whatever their number', () => {
  for (const sizeBytes of [0, 1, 511, 512, 4096, MIB, 2 * MIB, 3 * MIB + 5, SIZE_BYTES]) {
    assert.deepEqual(identify([], sizeBytes), { kind: 'blank' }, `${sizeBytes} bytes`);
  }
});

test('identifySignature() knows a rawslice device by any label that is left', () => {
  for (const offset of [0, MIB, SIZE_BYTES - 2 * MIB, SIZE_BYTES - MIB]) {
    assert.deepEqual(identify([[offset, `${RAWSLICE_MAGIC_LINE} 1\n`]]), { kind: 'rawslice' }, `label at ${offset}`);
    assert.deepEqual(
      identify([
        [offset, `${RAWSLICE_MAGIC_LINE} 1\n`],
        [9000, 'rest of the label'],
      ]),
      { kind: 'rawslice' },
    );
  }
  assert.deepEqual(identify([[100, RAWSLICE_MAGIC_LINE]]), { kind: 'foreign', name: 'unknown data' });
});

test('identifySignature() lets a file system made over a former cache win', () => {
  const labels: Patch[] = [0, MIB, SIZE_BYTES - MIB].map((offset) => [offset, RAWSLICE_MAGIC_LINE]);
  assert.deepEqual(identify([...labels, ...ext(0x4, 0x2c2)]), { kind: 'foreign', name: 'ext4' });
  assert.deepEqual(identify([...labels, [SIZE_BYTES - 8 * KIB, littleEndian(0xa92b4efc, 1)]]), { kind: 'foreign', name: 'md raid (1.0)' });
  // The second copy of a partition table whose first copy the label has overwritten.
  assert.deepEqual(identify([...labels, [SIZE_BYTES - 512, 'EFI PART']]), { kind: 'rawslice' });
});

test('identifySignature() never throws, whatever the bytes', () => {
  const random = new SeededRandom(11);
  for (let round = 0; round < 200; round += 1) {
    const sizeBytes = random.integerBelow(9000);
    const verdict = identify([[0, Buffer.from(random.bytes(sizeBytes))]], sizeBytes);
    assert.ok(verdict.kind === 'foreign' || sizeBytes < 8, `seed 11 round ${round}`);
  }
});
