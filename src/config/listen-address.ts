/**
 * The address that a service listens on: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`. A bare `:8080` or `8080` is refused, so that
 * nobody opens a cache to the world by leaving something out; `0.0.0.0:8080` and `[::]:8080` say it.
 */
import { isIP } from 'node:net';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';

/** Where to listen. `host` is an IP address without brackets, or `localhost`; `port` 0 lets the system choose. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Reads a listening address. */
export function parseListenAddress(text: string): Parsed<ListenAddress> {
  const trimmed = text.trim();
  const match = /^(?:\[([^[\]]{1,60})\]|([^[\]:]{0,60})):(\d{1,9})$/.exec(trimmed);
  if (match === null) {
    const bracketed = isIP(trimmed.replace(/:\d+$/, '')) === 6 ? '; an IPv6 address stands in brackets' : '';
    return invalid(`must be an address and a port such as 127.0.0.1:8080 or [::1]:8080, not ${quoteText(text)}${bracketed}`);
  }
  const host = match[1] ?? match[2] ?? '';
  const port = Number(match[3]);
  if (port > 65_535) return invalid(`has port ${port}; ports go from 0 to 65535`);
  if (host === '' || host === '*') {
    return invalid(`must name an address: 127.0.0.1:${port} for this machine only, 0.0.0.0:${port} or [::]:${port} for every interface`);
  }
  const isBracketed = match[1] !== undefined;
  if (isBracketed ? isIP(host) !== 6 : isIP(host) !== 4 && host !== 'localhost') {
    return invalid(`must begin with an IP address or localhost, not ${quoteText(host)}`);
  }
  return parsed({ host, port });
}

/** The form that parseListenAddress() reads back. */
export function formatListenAddress(address: ListenAddress): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Whether only this machine can reach the address. */
export function isLoopback(address: ListenAddress): boolean {
  return address.host === 'localhost' || address.host === '::1' || address.host.startsWith('127.');
}

/** A Unix socket that a service listens on. */
export interface SocketFile {
  /** Absolute. */
  readonly path: string;
  /** Of the file: who may connect. */
  readonly mode: number;
}

/** Where a service listens. */
export type ServiceAddress = ListenAddress | SocketFile;

/** As systemd's sockets for one group. */
const SOCKET_MODE = 0o660;
/** What the system's address of a socket holds (unix(7)), less a process id behind it. */
const SOCKET_PATH_BYTES_MAX = 96;

/** Reads an address, or `unix:/path/of.sock`, perhaps with `;mode=666` behind it. */
export function parseServiceAddress(text: string): Parsed<ServiceAddress> {
  const trimmed = text.trim();
  if (!trimmed.startsWith('unix:')) return parseListenAddress(text);
  const [, path = '', mode] = /^unix:(\/[^;\0]*[^;/\0])(?:;mode=0?([0-7]{3}))?$/.exec(trimmed) ?? [];
  if (path === '')
    return invalid(`must be a Unix socket such as unix:/run/rawslice/edge.sock or unix:/run/edge.sock;mode=666, not ${quoteText(text)}`);
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) return invalid(`has a path of more than ${SOCKET_PATH_BYTES_MAX} bytes`);
  return parsed({ path, mode: mode === undefined ? SOCKET_MODE : Number.parseInt(mode, 8) });
}

/** The form that parseServiceAddress() reads back. */
export function formatServiceAddress(address: ServiceAddress): string {
  if (!('path' in address)) return formatListenAddress(address);
  return address.mode === SOCKET_MODE ? `unix:${address.path}` : `unix:${address.path};mode=${address.mode.toString(8).padStart(3, '0')}`;
}
