/**
 * A connection to an origin for a request that asks for another protocol: it stays half open when the origin has ended its side, since what the client still
 * has to say is between the two. Used by upload-transfer.ts.
 */
import net from 'node:net';
import tls from 'node:tls';
import type { TransportOptions } from './transport-options.ts';

/** Connects, by TLS where the origin speaks it. */
export function openTunnelSocket({ origin, lookup, tls: security }: TransportOptions): net.Socket {
  const { protocol, hostname, port } = new URL(origin);
  const host = hostname.replace(/^\[|\]$/g, '');
  const isTls = protocol === 'https:';
  const place = {
    host,
    port: port === '' ? (isTls ? 443 : 80) : Number(port),
    noDelay: true,
    allowHalfOpen: true,
    ...(lookup === undefined ? {} : { lookup }),
  };
  if (!isTls) return net.connect(place);
  const servername = security?.servername ?? (net.isIP(host) === 0 ? host : undefined);
  const name = servername === undefined ? {} : { servername };
  return tls.connect({ ...place, ...name, ALPNProtocols: ['http/1.1'], rejectUnauthorized: security?.verifies ?? true });
}
