import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSpecialAddress, isSpecialHost, lookupPublic, SPECIAL_ADDRESS_CODE } from '../../src/upstream/address-guard.ts';

const SPECIAL = [
  '0.0.0.0',
  '10.1.2.3',
  '100.64.0.1',
  '127.0.0.1',
  '127.255.255.254',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.1.1',
  '224.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::ffff:10.0.0.1',
  '::ffff:7f00:1',
  '64:ff9b::a00:1',
  'fc00::1',
  'fd12:3456::1',
  'fe80::1',
  'ff02::1',
  'not an address',
];
const PUBLIC = [
  '1.1.1.1',
  '11.0.0.1',
  '100.128.0.1',
  '172.32.0.1',
  '192.167.255.255',
  '223.255.255.255',
  '2606:4700::1111',
  '::ffff:1.1.1.1',
];

test('row 44: addresses that the public Internet does not reach are special, others are not', () => {
  for (const address of SPECIAL) assert.equal(isSpecialAddress(address), true, address);
  for (const address of PUBLIC) assert.equal(isSpecialAddress(address), false, address);
});

test('a host of a URL is judged when it is an address', () => {
  assert.deepEqual(['[::1]', '127.0.0.1', 'localhost', '1.1.1.1'].map(isSpecialHost), [true, true, false, false]);
});

for (const all of [true, false]) {
  test(`a name at a special address is refused when it is looked up (all: ${all})`, async () => {
    const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => lookupPublic('localhost', { all }, resolve));
    assert.equal(error?.code, SPECIAL_ADDRESS_CODE);
  });
}
