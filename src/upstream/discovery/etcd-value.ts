/** What stands under a key of etcd: `host:port`, a URL of these, or JSON with an address in one of the forms that registrars write. Used by etcd-source.ts. */
import type { DiscoveredNode } from './discovery-source.ts';
import { isObject, type JsonObject, numberAt, parseJson, textAt } from './json-shape.ts';

/** Longer values are none of ours. */
export const VALUE_CHARS_MAX = 4096;
const WEIGHT_MAX = 65_535;

/** @returns undefined where it is no node */
export function readNodeValue(value: string): DiscoveredNode | undefined {
  if (value.length > VALUE_CHARS_MAX) return undefined;
  const text = value.trim();
  if (!text.startsWith('{')) return nodeOf(text, {});
  const object = parseJson(text);
  if (!isObject(object)) return undefined;
  // Ours, that of etcd's own client for gRPC (Addr), and those of SkyDNS and others (host, port).
  const address = ['address', 'Addr', 'host', 'Address', 'Host'].map((name) => textAt(object, name)).find((found) => found !== '');
  return address === undefined ? undefined : nodeOf(address, object);
}

function nodeOf(address: string, more: JsonObject): DiscoveredNode | undefined {
  const [, bracketed, plain, written] =
    /^(?:https?:\/\/)?(?:\[([\da-f:.]{2,45})\]|([^:/[\]\s]{1,253}))(?::(\d{1,5}))?\/?$/i.exec(address) ?? [];
  const isPlainV6 = /^[\da-f:.]{2,45}$/i.test(address) && address.split(':').length > 2;
  const host = bracketed ?? plain ?? (isPlainV6 ? address : undefined);
  const port = written === undefined ? (numberAt(more, 'port') ?? numberAt(more, 'Port')) : Number(written);
  if (host === undefined || port === undefined) return undefined;
  const weight = Math.min(WEIGHT_MAX, Math.max(1, Math.round(numberAt(more, 'weight') ?? 1)));
  const name = textAt(more, 'name').toLowerCase();
  return { host, port, name: isName(name) ? name : undefined, weight, isBackup: more.backup === true };
}

function isName(text: string): boolean {
  return /^[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?$/.test(text);
}
