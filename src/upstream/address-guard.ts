/**
 * Keeps connections to hosts that an origin named away from addresses that only this machine or its network can reach: a Location must not
 * turn the cache into a door to them. Names are judged by the addresses that they resolve to, in the look-up whose result is connected to,
 * so that a name cannot change between the two.
 */
import { lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** IANA's registries of special-purpose addresses (RFC 6890), those that are not reached over the public Internet. */
const SPECIAL_V4: readonly (readonly [network: string, prefix: number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
];
const SPECIAL_V6: readonly (readonly [network: string, prefix: number])[] = [
  ['::', 128],
  ['::1', 128],
  // Both lead to IPv4 addresses that would have to be judged in turn.
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
];

/** Code of the error that a refused look-up ends in. */
export const SPECIAL_ADDRESS_CODE = 'ERR_SPECIAL_ADDRESS';

const special = new BlockList();
for (const [network, prefix] of SPECIAL_V4) special.addSubnet(network, prefix, 'ipv4');
for (const [network, prefix] of SPECIAL_V6) special.addSubnet(network, prefix, 'ipv6');

/** Whether `address` (IPv4, IPv6 or IPv4 in IPv6, without brackets) is one that the public Internet does not reach; so is what is no address. */
export function isSpecialAddress(address: string): boolean {
  const family = isIP(address);
  return family === 0 || special.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/** Whether a host of a URL is an address, and a special one; a name is judged when it is looked up. */
export function isSpecialHost(hostname: string): boolean {
  const address = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  return isIP(address) !== 0 && isSpecialAddress(address);
}

/** As `dns.lookup`, but fails when one of the addresses is special. */
export const lookupPublic: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error !== null) return callback(error, '', 0);
    const refused = addresses.find(({ address }) => isSpecialAddress(address));
    const [first] = addresses;
    if (refused !== undefined || first === undefined) {
      return callback(Object.assign(new Error(`${hostname} is at a special address`), { code: SPECIAL_ADDRESS_CODE }), '', 0);
    }
    if (options.all === true) callback(null, addresses);
    else callback(null, first.address, first.family);
  });
};
