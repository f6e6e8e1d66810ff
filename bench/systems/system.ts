/** What a system under comparison is to the harness, and what it gets to start with. */
import type { BenchProcess, ProcessPool } from '../harness/processes.ts';

/** A system that is running. */
export interface System {
  readonly name: string;
  /** Name, version and how it is set up, for the report. */
  readonly description: string;
  readonly port: number;
  /** Undefined for `direct`, which is the origin itself. */
  readonly process: BenchProcess | undefined;
  /** rawslice's second port. */
  readonly adminPort?: number | undefined;
}

/** What the systems of one field are given; each gets a directory of its own. */
export interface Place {
  readonly pool: ProcessPool;
  /** Cores for the server, for taskset. */
  readonly cores: string | undefined;
  /** Directory for its cache, its configuration and its log; removed at the end by its owner. */
  readonly directory: string;
  readonly originPort: number;
  /** Memory for cached bodies: arena, RAM cache. Systems that use the kernel's page cache have no such limit. */
  readonly memoryBytes: number;
  /** Room on disk. */
  readonly deviceBytes: number;
  /** Whether hits must come from a disk. */
  readonly isDiskWanted: boolean;
  /** rawslice's slice size; its default when undefined. The peers that slice keep to 1 MiB. */
  readonly sliceBytes?: number | undefined;
  /** `cgroup.procs` of the group that limits its memory. */
  readonly groupFile?: string | undefined;
  /** What is to be done after the processes have ended. */
  readonly onClose: (clean: () => void) => void;
}

/** What a question wants a system to be able to do. */
export interface Needs {
  /** Largest object that must be kept. */
  readonly objectBytes: number;
  /** Hits from a disk, beyond `memoryBytes`. */
  readonly disk?: boolean | undefined;
}

/** How one system is started, and what it can do. */
export interface SystemKind {
  readonly name: string;
  /** Whether it is somebody else's cache. */
  readonly isPeer: boolean;
  /** Why it cannot run here, or undefined when it can. */
  whyAbsent(): string | undefined;
  /** Why it cannot answer a question, or undefined when it can. */
  whyUnfit(needs: Needs): string | undefined;
  /** Starts it and waits until it is ready. @throws Error with the end of its log */
  start(place: Place): Promise<System>;
}

/** For kinds that can do everything. */
export function isFit(): undefined {
  return undefined;
}
