/** Finding one object on a device from what an operator has at hand: the key or its hash, a URL or a path. */
import { EdgeError } from '../../src/base/errors.ts';
import { hashKeyText, hostOfKey } from '../../src/cache/cache-key.ts';
import type { ObjectHash } from '../../src/format/manifest.ts';
import { parseRequestTarget } from '../../src/http/request-target.ts';
import { type DeviceView, findObject, listObjects, type StoredObject } from '../../src/store/inspect-device.ts';

/** Path and query of a key (`site/path?query`, `site@host/path?query`). */
export function pathOfKey(keyText: string): string {
  const slash = keyText.indexOf('/');
  return slash < 0 ? keyText : keyText.slice(slash);
}

/**
 * The object that `name` means. A key, or its hash, is found at once; for a path or URL every record is read, since the device does not know by which
 * origin it will be asked.
 *
 * @throws EdgeError USAGE when `name` is neither, or means several objects; STORE_UNAVAILABLE when it is not stored
 */
export async function findByName(view: DeviceView, name: string): Promise<StoredObject> {
  const byKey = (await findObject(view, hashKeyText(name))) ?? (isHash(name) ? await findObject(view, name) : undefined);
  if (byKey !== undefined) return byKey;
  const target = parseRequestTarget(name, undefined);
  if (target.kind === 'invalid') throw absent(name);
  const path = target.query === undefined ? target.path : `${target.path}?${target.query}`;
  const found: StoredObject[] = [];
  for await (const verdict of listObjects(view)) {
    if (verdict.kind !== 'object') continue;
    const { keyText } = verdict.object.manifest;
    const isOtherHost = target.host !== undefined && (hostOfKey(keyText) ?? target.host) !== target.host;
    if (pathOfKey(keyText) === path && !isOtherHost) found.push(verdict.object);
  }
  const [first, second] = found;
  if (first === undefined) throw absent(name);
  if (second === undefined) return first;
  const keys = found.map(({ manifest }) => manifest.keyText).join(', ');
  throw new EdgeError('USAGE', `${name} is stored for several origins or hosts; name one by its key: ${keys}`);
}

function isHash(name: string): name is ObjectHash {
  return /^[0-9a-f]{32}$/.test(name);
}

function absent(name: string): EdgeError {
  const advice = 'rawslice inspect objects PATH --prefix ... lists what is (a running server may have it in memory only)';
  return new EdgeError('STORE_UNAVAILABLE', `${JSON.stringify(name)} is not stored on the device; ${advice}`);
}
