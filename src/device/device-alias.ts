/**
 * Finds devices that are named twice, as by a link of /dev/disk/by-id and by its own name: a cache that has a device twice would format it
 * twice, or wait for itself. Files that do not exist yet count by their place. Called by the server at its start and by `rawslice format`.
 */
import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';

/** Two of `paths` that lead to one device or file, in their order; undefined when each is another. Never throws. */
export async function findAlias(paths: readonly string[]): Promise<readonly [first: string, second: string] | undefined> {
  const seen = new Map<string, string>();
  for (const name of paths) {
    const identity = await identify(name);
    const first = seen.get(identity);
    if (first !== undefined) return [first, name];
    seen.set(identity, name);
  }
  return undefined;
}

async function identify(name: string): Promise<string> {
  try {
    const facts = await stat(name, { bigint: true });
    return facts.isBlockDevice() ? `block device ${facts.rdev}` : `file ${facts.ino} of ${facts.dev}`;
  } catch {
    const full = path.resolve(name);
    const folder = await realpath(path.dirname(full)).catch(() => path.dirname(full));
    return path.join(folder, path.basename(full));
  }
}
