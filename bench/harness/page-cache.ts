/** The kernel's page cache, where the peers keep what they serve: emptied before hits from a disk are measured. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

/** Writes out and drops the page cache of the whole machine. @returns whether that was possible: it takes root */
export function dropPageCache(directory: string): boolean {
  spawnSync('sync', ['-f', directory]);
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '1');
    return true;
  } catch {
    // Not root.
    return false;
  }
}
