/**
 * One limit of memory for a server and the page cache that it fills: a cgroup (version 1 or 2), which needs root. Groups lie beside those
 * that are there and are removed at the end.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const ROOT = '/sys/fs/cgroup';

/** Names of the files, by version. */
const VERSIONS = [
  { root: `${ROOT}/memory`, limit: 'memory.limit_in_bytes', peak: 'memory.max_usage_in_bytes' },
  { root: ROOT, limit: 'memory.max', peak: 'memory.peak' },
] as const;

/** Why memory cannot be limited here, or undefined when it can. Tries. */
export function memoryGroupObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'limits of memory need root';
  try {
    new MemoryGroup(`rawslice-bench-${process.pid}-try`, 64 * 1024 * 1024).remove();
    return undefined;
  } catch (error) {
    return `no cgroup for memory: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** A group with a limit. */
export class MemoryGroup {
  /** Where a process id is written to put the process into the group. */
  readonly processesFile: string;
  readonly #directory: string;
  readonly #peakFile: string;

  /** @throws Error when there are no such groups, or this user may not make them */
  constructor(name: string, limitBytes: number) {
    const version = VERSIONS.find(({ root }) => existsSync(path.join(root, 'cgroup.procs')));
    if (version === undefined) throw new Error(`${ROOT} has no controller for memory`);
    this.#directory = path.join(version.root, name);
    mkdirSync(this.#directory);
    try {
      writeFileSync(path.join(this.#directory, version.limit), String(limitBytes));
    } catch (error) {
      rmdirSync(this.#directory);
      throw error;
    }
    this.processesFile = path.join(this.#directory, 'cgroup.procs');
    this.#peakFile = path.join(this.#directory, version.peak);
  }

  /** Most bytes that were used at a time, page cache included; NaN where the kernel does not tell. */
  peakBytes(): number {
    return existsSync(this.#peakFile) ? Number(readFileSync(this.#peakFile, 'utf8')) : Number.NaN;
  }

  /** Removes the group; its processes must have ended. */
  remove(): void {
    rmdirSync(this.#directory);
  }
}
