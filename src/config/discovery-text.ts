/** What a discovery is configured to do, on one line: for `config check --print-effective`. */
import { formatDuration } from './duration.ts';
import type { ConfigDiscovery } from './edge-config.ts';
import { formatListenAddress } from './listen-address.ts';
import { formatNetworks } from './network.ts';

/** @param basePath of the group, which stands with the nodes otherwise */
export function describeDiscovery(discovery: ConfigDiscovery, basePath: string): string {
  const { scheme, sni, verifiesCertificate, networks, takesEmpty, waitMs, timeoutMs } = discovery;
  const words = [`discover ${describeSource(discovery)}`, `scheme ${scheme}`];
  if (basePath !== '') words.push(`path ${basePath}`);
  if (sni !== undefined) words.push(`sni ${sni}`);
  if (!verifiesCertificate) words.push('verifyCertificate false');
  if (networks !== undefined) words.push(`networks ${formatNetworks(networks)}`);
  if (takesEmpty) words.push('takeEmpty');
  return [...words, `wait ${formatDuration(waitMs)} timeout ${formatDuration(timeoutMs)}`].join(' ');
}

function describeSource({ name, isService, families, port, servers, ttlMsMin, ttlMsMax }: ConfigDiscovery): string {
  const words = [`dns ${name}`, isService ? 'SRV' : `${families.join(' and ')} port ${port}`];
  if (servers.length > 0) words.push(`servers ${servers.map(formatListenAddress).join(' ')}`);
  return [...words, `TTL ${formatDuration(ttlMsMin)} to ${formatDuration(ttlMsMax)}`].join(' ');
}
