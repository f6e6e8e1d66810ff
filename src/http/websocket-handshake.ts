/**
 * The opening handshake of WebSocket (RFC 6455 s4) as far as a proxy looks at it: what a client may be forwarded with, and whether a 101 is the answer
 * to it. A proxy that takes any 101, or any version, can be talked into a tunnel that the origin knows nothing of. Pure; used by proxy/tunnel.ts.
 */
import { createHash } from 'node:crypto';
import { type FieldList, fieldLines } from './header-fields.ts';

/** RFC 6455 s4.1: the only version there is. */
export const WEBSOCKET_VERSION = '13';

/** RFC 6455 s1.3. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** Sixteen bytes in base64. */
const KEY = /^[A-Za-z0-9+/]{22}==$/;

/** `version`: the client wants another one than there is, and is told which (RFC 6455 s4.4). */
export type HandshakeVerdict =
  | { readonly kind: 'ok'; readonly key: string }
  | { readonly kind: 'version' }
  | { readonly kind: 'invalid'; readonly why: string };

/** What a client's handshake is worth; its Upgrade and Connection were looked at already. */
export function judgeHandshake(method: string, fields: FieldList): HandshakeVerdict {
  if (method !== 'GET') return { kind: 'invalid', why: 'its method is not GET' };
  const [key = '', ...otherKeys] = fieldLines(fields, 'sec-websocket-key');
  if (otherKeys.length > 0 || !KEY.test(key)) return { kind: 'invalid', why: 'its Sec-WebSocket-Key is not one key of 16 bytes' };
  const versions = fieldLines(fields, 'sec-websocket-version');
  return versions.length === 1 && versions[0] === WEBSOCKET_VERSION ? { kind: 'ok', key } : { kind: 'version' };
}

/** Whether a 101 comes from somebody who has read the key and speaks the protocol (RFC 6455 s4.2.2). */
export function isHandshakeAnswer(key: string, fields: FieldList): boolean {
  const accepted = fieldLines(fields, 'sec-websocket-accept');
  const expected = createHash('sha1')
    .update(key + ACCEPT_GUID)
    .digest('base64');
  return accepted.length === 1 && accepted[0] === expected;
}
