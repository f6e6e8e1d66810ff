/**
 * Who the client is behind proxies that are trusted: `X-Forwarded-For` or `Forwarded` (RFC 7239), whichever they write, read from the nearest hop on, as far as
 * each hop was written by somebody trusted. The other one passes them as the client sent it, so it is not looked at. Pure. Used by proxy/request-context.ts.
 */
import { isIP } from 'node:net';
import { type FieldList, fieldLines } from './header-fields.ts';

/** What is known of the client of a request. */
export interface ForwardedClient {
  readonly address: string | undefined;
  /** Of the client's own request, where a trusted proxy says. */
  readonly isSecure: boolean;
}

/** The fields that proxies tell clients by. */
export type ForwardedField = 'forwarded' | 'x-forwarded-for';

/** Whom to believe, and by which field. */
export interface ForwardingTrust {
  /** Whether what this address says of others is believed. */
  readonly isTrusted: (address: string) => boolean;
  /** The one that they write; what a client says there does not get past them unmarked. */
  readonly field: ForwardedField;
}

/** A hop as a proxy wrote it; without address where it is hidden or malformed. */
interface Hop {
  readonly address: string | undefined;
  readonly scheme: string | undefined;
}

/** Hops that are looked at; nobody has a longer chain in earnest. */
const HOPS_MAX = 32;

/**
 * The nearest hop that is not a trusted proxy. A hop that cannot be read ends the search: the client is then the proxy that wrote it.
 *
 * @param peer the other end of the connection
 */
export function forwardedClient(fields: FieldList, peer: ForwardedClient, { isTrusted, field }: ForwardingTrust): ForwardedClient {
  if (peer.address === undefined || !isTrusted(peer.address)) return peer;
  let client = peer;
  for (const { address, scheme } of hopsOf(fields, field).reverse().slice(0, HOPS_MAX)) {
    if (address === undefined || client.address === undefined || !isTrusted(client.address)) break;
    client = { address, isSecure: scheme === undefined ? client.isSecure : scheme === 'https' };
  }
  return client;
}

/** The client's side first. */
function hopsOf(fields: FieldList, field: ForwardedField): Hop[] {
  if (field === 'forwarded') {
    const lines = fieldLines(fields, 'forwarded');
    return lines.length === 0 ? [] : splitOutsideQuotes(lines.join(','), ',').map(parseElement);
  }
  const addresses = fieldLines(fields, 'x-forwarded-for').join(',').split(',');
  const [scheme] = fieldLines(fields, 'x-forwarded-proto');
  if (addresses.length === 1 && addresses[0]?.trim() === '') return [];
  // One scheme for all: that of the outermost request, as everybody who writes it means it.
  return addresses.map((text) => ({ address: parseNode(text.trim()), scheme: scheme?.trim().toLowerCase() }));
}

/** RFC 7239 s4: `for=192.0.2.60;proto=http;by=203.0.113.43`. */
function parseElement(text: string): Hop {
  const pairs = new Map<string, string>();
  for (const pair of splitOutsideQuotes(text, ';')) {
    const [, name = '', value = ''] = /^\s*([!#$%&'*+\-.^_`|~\w]+)=(.*?)\s*$/.exec(pair) ?? [];
    const [, quoted] = /^"((?:[^"\\]|\\.)*)"$/.exec(value) ?? [];
    pairs.set(name.toLowerCase(), quoted?.replaceAll(/\\(.)/g, '$1') ?? value);
  }
  return { address: parseNode(pairs.get('for') ?? ''), scheme: pairs.get('proto')?.toLowerCase() };
}

/** RFC 7239 s6: an address with or without port; undefined for `unknown` and names that hide it. */
function parseNode(text: string): string | undefined {
  const [, bracketed] = /^\[([0-9a-fA-F:.]+)\](?::\d{1,5})?$/.exec(text) ?? [];
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? bracketed.toLowerCase() : undefined;
  const [, plain] = /^([\d.]+)(?::\d{1,5})?$/.exec(text) ?? [];
  if (plain !== undefined) return isIP(plain) === 4 ? plain : undefined;
  return isIP(text) === 6 ? text.toLowerCase() : undefined;
}

function splitOutsideQuotes(text: string, separator: string): string[] {
  const parts: string[] = [];
  let part = '';
  let isQuoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] ?? '';
    if (isQuoted && character === '\\') {
      part += character + (text[at + 1] ?? '');
      at += 1;
    } else if (character === separator && !isQuoted) {
      parts.push(part);
      part = '';
    } else {
      if (character === '"') isQuoted = !isQuoted;
      part += character;
    }
  }
  return [...parts, part];
}
