/** The nodes of a group: those that are configured, and those that were found. Used by upstream-assembly.ts, and by whoever has to name a group's origin. */
import type { ConfigDiscovery, ConfigGroup, ConfigNode } from '../config/edge-config.ts';
import type { DiscoveredNode } from '../upstream/discovery/discovery-source.ts';
import { nodeId } from '../upstream/discovery/node-list.ts';

/** A node, with the Host that it is sent where that is not the one of its origin. */
export interface GroupNode extends ConfigNode {
  readonly authority: string | undefined;
}

/** A node that was found where one is configured is the configured one. */
export function groupNodes({ nodes, discovery }: ConfigGroup, found: readonly DiscoveredNode[]): readonly GroupNode[] {
  const own = nodes.map((node): GroupNode => ({ ...node, authority: undefined }));
  if (discovery === undefined) return own;
  const known = new Set(own.map(({ origin }) => origin));
  return [...own, ...found.map((node) => foundNode(node, discovery)).filter(({ origin }) => !known.has(origin))];
}

/** What stands for the origin of a group where one is needed: `scheme://host[:port]`. */
export function originOf({ nodes, discovery }: ConfigGroup): string {
  return nodes[0]?.origin ?? `${discovery?.scheme ?? 'http'}://${discovery?.authority ?? ''}`;
}

function foundNode(node: DiscoveredNode, { scheme, sni, verifiesCertificate }: ConfigDiscovery): GroupNode {
  const { name, port, weight, isBackup } = node;
  const { origin } = new URL(`${scheme}://${nodeId(node)}`);
  const authority = name === undefined ? undefined : new URL(`${scheme}://${nodeId({ host: name, port })}`).host;
  return { origin, authority, weight, isBackup, sni: sni ?? name, verifiesCertificate };
}
