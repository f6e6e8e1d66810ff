/** Networks of clients: `192.0.2.0/24`, `2001:db8::/32`, or one address. Bits past the prefix do not count. */
import { isIP } from 'node:net';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';

/** A network, or with all bits in the prefix one address. */
export interface Network {
  readonly address: string;
  readonly prefixBits: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** Networks in one list at most; each is tried for every purge. */
const NETWORKS_MAX = 256;

/** Reads a list with commas. */
export function parseNetworks(text: string): Parsed<readonly Network[]> {
  const networks: Network[] = [];
  for (const part of text.split(',')) {
    const network = parseNetwork(part.trim());
    if (network.kind === 'invalid') return network;
    networks.push(network.value);
  }
  return networks.length > NETWORKS_MAX ? invalid(`names ${networks.length} networks; the limit is ${NETWORKS_MAX}`) : parsed(networks);
}

/** The form that parseNetworks() reads back. */
export function formatNetworks(networks: readonly Network[]): string {
  return networks.map(({ address, prefixBits }) => `${address}/${prefixBits}`).join(',');
}

function parseNetwork(text: string): Parsed<Network> {
  const [address = '', bits, ...rest] = text.split('/');
  const version = isIP(address);
  const bitsMax = version === 6 ? 128 : 32;
  const prefixBits = bits === undefined ? bitsMax : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN;
  if (version === 0 || rest.length > 0 || !(prefixBits <= bitsMax) || address.includes('%'))
    return invalid(`must be networks such as 192.0.2.0/24 or 2001:db8::/32, or single addresses, not ${quoteText(text)}`);
  return parsed({ address, prefixBits, family: version === 6 ? 'ipv6' : 'ipv4' });
}
