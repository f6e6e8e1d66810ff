/** Lists of discovered nodes: their order, each node once, and which addresses can be one at all. */
import { BlockList, isIP } from 'node:net';
import type { DiscoveredNode } from './discovery-source.ts';

/** Addresses that are nobody's: unspecified (which the kernel takes for this machine; blocking resolvers answer with it), multicast, broadcast, link-local without a zone. */
const nobodys = new BlockList();
nobodys.addSubnet('0.0.0.0', 8, 'ipv4');
nobodys.addSubnet('224.0.0.0', 3, 'ipv4');
nobodys.addSubnet('::', 128, 'ipv6');
nobodys.addSubnet('fe80::', 10, 'ipv6');
nobodys.addSubnet('ff00::', 8, 'ipv6');

const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/i;

/** `host:port`, with brackets where they are needed. */
export function nodeId({ host, port }: Pick<DiscoveredNode, 'host' | 'port'>): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Primary nodes first, then by host and port; of several with the same host and port the first. */
export function sortNodes(nodes: readonly DiscoveredNode[]): readonly DiscoveredNode[] {
  const keyed = nodes.map((node) => ({ node, key: `${Number(node.isBackup)} ${nodeId(node)} ${node.name ?? ''}` }));
  const sorted = keyed.sort((one, other) => (one.key < other.key ? -1 : Number(one.key > other.key)));
  return [...new Map(sorted.map(({ node }) => [nodeId(node), node] as const).reverse()).values()].reverse();
}

/** Whether it is a name that a URL takes for one and keeps as it is: `0x7f.1` and `127.1` are addresses there, and `256.1.1.1` is nothing. */
export function isHostName(text: string): boolean {
  return HOST_NAME.test(text) && URL.parse(`http://${text}/`)?.hostname === text.toLowerCase();
}

/** Why a node cannot be connected to or may not be; undefined when it may. @param networks that addresses have to be in; undefined: any */
export function refuseNode({ host, port, name }: DiscoveredNode, networks: BlockList | undefined): string | undefined {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return 'has no port from 1 to 65535';
  const family = isIP(host);
  if (family === 0 && !isHostName(host)) return 'is neither an address nor a name';
  if (name !== undefined && !isHostName(name)) return `has a name that is none (${JSON.stringify(name.slice(0, 60))})`;
  if (family === 0) return networks === undefined ? undefined : 'is a name, and networks are configured';
  const word = family === 6 ? 'ipv6' : 'ipv4';
  if (nobodys.check(host, word)) return "is nobody's address";
  return networks === undefined || networks.check(host, word) ? undefined : 'is in none of the networks';
}
