/** What fio reaches on the same file or device, as the measure of what the machine can do: direct I/O, libaio, one process. */
import { spawnSync } from 'node:child_process';
import { findProgram } from '../harness/pinning.ts';

/** One job. */
export interface FioJob {
  readonly path: string;
  readonly operation: 'read' | 'write';
  readonly lengthBytes: number;
  readonly depth: number;
  readonly sizeBytes: number;
  readonly milliseconds: number;
}

/** Bytes per second; undefined when fio is not installed. @throws Error with what fio said */
export function runFio(job: FioJob): number | undefined {
  const fio = findProgram('fio');
  if (fio === undefined) return undefined;
  const run = spawnSync(
    fio,
    [
      '--name=job',
      `--filename=${job.path}`,
      `--rw=rand${job.operation}`,
      `--bs=${job.lengthBytes}`,
      `--iodepth=${job.depth}`,
      `--size=${job.sizeBytes}`,
      `--runtime=${job.milliseconds}ms`,
      '--time_based',
      '--direct=1',
      '--ioengine=libaio',
      // Blocks may repeat, as ours do; a map of blocks done would cost fio time.
      '--norandommap',
      '--output-format=json',
    ],
    { encoding: 'utf8' },
  );
  if (run.status !== 0) throw new Error(`fio: ${run.stderr.trim() || String(run.error)}`);
  const report: { jobs?: Record<string, { bw_bytes?: number } | undefined>[] } = JSON.parse(run.stdout.slice(run.stdout.indexOf('{')));
  return report.jobs?.[0]?.[job.operation]?.bw_bytes;
}
