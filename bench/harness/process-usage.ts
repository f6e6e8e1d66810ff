/** What a process and all that it started have used, from /proc: every thread counts, and every child, also those that have ended. */
import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ of Linux on every architecture that Node runs on; /proc counts in it. */
const TICKS_PER_SECOND = 100;

/** What was used so far. */
export interface ProcessUsage {
  /** User and system time, in steps of 10 ms. */
  readonly cpuSeconds: number;
  /** Resident memory of the processes alive; pages that several map count for each. */
  readonly residentBytes: number;
}

/** The usage of a process and its descendants. */
export function treeUsage(pid: number): ProcessUsage {
  const usages = [pid, ...descendantsOf(pid)].map(processUsage);
  return {
    cpuSeconds: usages.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
    residentBytes: usages.reduce((sum, { residentBytes }) => sum + residentBytes, 0),
  };
}

function descendantsOf(pid: number): number[] {
  // A thread that forks is the parent in its own list, not in the main thread's.
  const children = listThreads(pid).flatMap((thread) =>
    readProc(`/proc/${pid}/task/${thread}/children`)
      .split(' ')
      .filter((word) => word !== '')
      .map(Number),
  );
  return children.flatMap((child) => [child, ...descendantsOf(child)]);
}

function listThreads(pid: number): readonly string[] {
  const count = Number(/^Threads:\s+(\d+)/m.exec(readProc(`/proc/${pid}/status`))?.[1] ?? '1');
  if (count === 1) return [String(pid)];
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    // It has ended meanwhile.
    return [];
  }
}

function processUsage(pid: number): ProcessUsage {
  const stat = readProc(`/proc/${pid}/stat`);
  // The name in parentheses may hold blanks; what follows it starts with field 3 of proc_pid_stat(5).
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const [utime = 0, stime = 0, cutime = 0, cstime = 0] = fields.slice(11, 15);
  const residentKib = /^VmRSS:\s+(\d+) kB/m.exec(readProc(`/proc/${pid}/status`))?.[1] ?? '0';
  return { cpuSeconds: (utime + stime + cutime + cstime) / TICKS_PER_SECOND, residentBytes: Number(residentKib) * 1024 };
}

/** A file of /proc, empty when the process has gone meanwhile. */
function readProc(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}
