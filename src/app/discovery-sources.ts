/** Makes of a configured discovery the source that asks; files are read here. Used by discovery-set.ts. */
import { readFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { ConfigConsulDiscovery, ConfigDiscovery, ConfigSecret } from '../config/edge-config.ts';
import { ApiClient } from '../upstream/discovery/api-client.ts';
import { ConsulSource } from '../upstream/discovery/consul-source.ts';
import type { DiscoverySource } from '../upstream/discovery/discovery-source.ts';
import { DnsSource } from '../upstream/discovery/dns-source.ts';

/** What sources are made with. */
export interface SourceBase {
  readonly clock: Clock;
  readonly random: Random;
}

/** @throws EdgeError CONFIG_INVALID for files that cannot be read */
export function makeDiscoverySource(config: ConfigDiscovery, { clock, random }: SourceBase): DiscoverySource {
  if (config.kind === 'dns') return new DnsSource({ ...config, clock, random });
  return new ConsulSource({ ...config, client: makeClient(config, clock), token: () => readSecret(config.token) });
}

function makeClient(
  { urls, caFile, certificate }: Pick<ConfigConsulDiscovery, 'urls' | 'caFile' | 'certificate'>,
  clock: Clock,
): ApiClient {
  const ca = caFile === undefined ? undefined : mustRead(caFile);
  const cert = certificate === undefined ? undefined : mustRead(certificate.certFile);
  const key = certificate === undefined ? undefined : mustRead(certificate.keyFile);
  return new ApiClient({ urls, ca, cert, key, clock });
}

/** @throws Error of the system */
function readSecret(secret: ConfigSecret): string | undefined {
  if (secret === undefined) return undefined;
  return 'file' in secret ? readFileSync(secret.file, 'utf8').trim() : secret.text;
}

function mustRead(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new EdgeError('CONFIG_INVALID', `${file} (upstreams, discover) cannot be read: ${systemErrorCode(cause) ?? 'unknown'}`, {
      cause,
    });
  }
}
