/**
 * The PROXY protocol, versions 1 and 2: what a balancer in front says of the client before its first byte
 * (haproxy.org/download/2.9/doc/proxy-protocol.txt). Pure. Used by proxy/client-door.ts.
 */
import { isIPv4, isIPv6 } from 'node:net';

/** One end of the client's connection. */
export interface ProxiedAddress {
  readonly address: string;
  readonly port: number;
}

/**
 * What the bytes received so far come to. `source` and `destination` are undefined where the balancer speaks for itself (a health check) or of
 * something that has no address.
 */
export type ProxyHeader =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'invalid'; readonly why: string }
  | {
      readonly kind: 'header';
      readonly lengthBytes: number;
      readonly source: ProxiedAddress | undefined;
      readonly destination: ProxiedAddress | undefined;
    };

/** Section 2.1: the longest line, with its end. */
const LINE_BYTES_MAX = 107;
const LINE_START = Buffer.from('PROXY ', 'latin1');
/** Section 2.2. */
const SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const FIXED_BYTES = 16;
/** Addresses take 216 bytes at most; the rest are attributes that are not looked at. */
const VARIABLE_BYTES_MAX = 4096;
/** The longest header that is taken. */
export const PROXY_HEADER_BYTES_MAX = FIXED_BYTES + VARIABLE_BYTES_MAX;

const INCOMPLETE: ProxyHeader = { kind: 'incomplete' };

/** Reads the header at the beginning of a connection. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  if (startsLike(bytes, SIGNATURE)) return bytes.length < FIXED_BYTES ? INCOMPLETE : parseBinary(bytes);
  if (startsLike(bytes, LINE_START)) return parseLine(bytes);
  return invalid('there is none');
}

/** Whether the bytes, as far as they have come, are the beginning of `start`, or begin with it. */
function startsLike(bytes: Buffer, start: Buffer): boolean {
  const count = Math.min(bytes.length, start.length);
  return bytes.compare(start, 0, count, 0, count) === 0;
}

/** Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443` and CRLF. */
function parseLine(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, LINE_BYTES_MAX).indexOf('\r\n');
  if (end < 0) return bytes.length < LINE_BYTES_MAX ? INCOMPLETE : invalid('the line is too long');
  const lengthBytes = end + 2;
  const [, protocol = '', ...words] = bytes.toString('latin1', 0, end).split(' ');
  if (protocol === 'UNKNOWN') return { kind: 'header', lengthBytes, source: undefined, destination: undefined };
  const [sourceAddress = '', destinationAddress = '', sourcePort = '', destinationPort = '', ...rest] = words;
  const isAddress = protocol === 'TCP4' ? isIPv4 : protocol === 'TCP6' ? isIPv6 : () => false;
  const source = { address: sourceAddress, port: parsePort(sourcePort) };
  const destination = { address: destinationAddress, port: parsePort(destinationPort) };
  const isValid = [source, destination].every(({ address, port }) => isAddress(address) && port >= 0) && rest.length === 0;
  return isValid ? { kind: 'header', lengthBytes, source, destination } : invalid('the line is malformed');
}

function parsePort(text: string): number {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535 ? Number(text) : -1;
}

/** Version 2. */
function parseBinary(bytes: Buffer): ProxyHeader {
  const [versionAndCommand, familyAndProtocol] = [bytes.readUInt8(12), bytes.readUInt8(13)];
  const variableBytes = bytes.readUInt16BE(14);
  const command = versionAndCommand % 16;
  if (Math.floor(versionAndCommand / 16) !== 2 || command > 1) return invalid('its version or command is not known');
  if (variableBytes > VARIABLE_BYTES_MAX) return invalid('it is too long');
  const lengthBytes = FIXED_BYTES + variableBytes;
  if (bytes.length < lengthBytes) return INCOMPLETE;
  const unknown: ProxyHeader = { kind: 'header', lengthBytes, source: undefined, destination: undefined };
  // LOCAL: the balancer's own connection.
  if (command === 0) return unknown;
  const family = Math.floor(familyAndProtocol / 16);
  if (family > 3 || familyAndProtocol % 16 > 2) return invalid('its address family is not known');
  const addressBytes = family === 1 ? 4 : family === 2 ? 16 : 0;
  if (addressBytes === 0) return unknown;
  if (variableBytes < 2 * addressBytes + 4) return invalid('its addresses are cut off');
  const place = (index: number): ProxiedAddress => {
    const start = FIXED_BYTES + index * addressBytes;
    return {
      address: addressText(bytes.subarray(start, start + addressBytes)),
      port: bytes.readUInt16BE(FIXED_BYTES + 2 * addressBytes + 2 * index),
    };
  };
  return { kind: 'header', lengthBytes, source: place(0), destination: place(1) };
}

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_unused, index) => bytes.readUInt16BE(2 * index).toString(16));
  // The form that sockets give (RFC 5952), from the parser that knows it.
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1);
}

function invalid(why: string): ProxyHeader {
  return { kind: 'invalid', why };
}
