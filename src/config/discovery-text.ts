/** What a discovery is configured to do, on one line: for `config check --print-effective`. */
import { formatDuration } from './duration.ts';
import type { ConfigConsulDiscovery, ConfigDiscovery, ConfigDnsDiscovery } from './edge-config.ts';
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

function describeSource(discovery: ConfigDiscovery): string {
  return discovery.kind === 'dns' ? describeDns(discovery) : describeConsul(discovery);
}

function describeDns({ name, isService, families, port, servers, ttlMsMin, ttlMsMax }: ConfigDnsDiscovery): string {
  const words = [`dns ${name}`, isService ? 'SRV' : `${families.join(' and ')} port ${port}`];
  if (servers.length > 0) words.push(`servers ${servers.map(formatListenAddress).join(' ')}`);
  return [...words, `TTL ${formatDuration(ttlMsMin)} to ${formatDuration(ttlMsMax)}`].join(' ');
}

function describeConsul({ service, tags, datacenter, token, holdMs, ...api }: ConfigConsulDiscovery): string {
  const words = [`consul ${service}`, ...(tags.length === 0 ? [] : [`tags ${tags.join(' ')}`])];
  if (datacenter !== undefined) words.push(`datacenter ${datacenter}`);
  words.push(...describeApi(api));
  if (token !== undefined) words.push('file' in token ? `tokenFile ${token.file}` : 'token (set)');
  return [...words, `hold ${formatDuration(holdMs)}`].join(' ');
}

function describeApi({ urls, caFile, certificate }: Pick<ConfigConsulDiscovery, 'urls' | 'caFile' | 'certificate'>): readonly string[] {
  const words = [`url ${urls.join(' ')}`];
  if (caFile !== undefined) words.push(`ca ${caFile}`);
  if (certificate !== undefined) words.push(`cert ${certificate.certFile} key ${certificate.keyFile}`);
  return words;
}
