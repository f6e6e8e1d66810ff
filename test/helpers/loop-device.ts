/** Loop devices for tests: a backing file attached for the length of one function, always detached and removed. Needs root and losetup. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** An attached loop device. */
export interface LoopDevice {
  /** `/dev/loop3` */
  readonly path: string;
  readonly backingPath: string;
}

/** Why loop devices cannot be used here, or undefined when they can. Tries one. */
export function loopObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'loop devices need root';
  try {
    const { detach } = attach(1024 * 1024);
    detach();
    return undefined;
  } catch (error) {
    return `no loop device: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Whether withLoopDevice can work here. */
export function isLoopAvailable(): boolean {
  return loopObstacle() === undefined;
}

/** Runs `act` with a fresh loop device of zeros, with direct I/O to its backing file where that is possible. */
export async function withLoopDevice<T>(sizeBytes: number, act: (loop: LoopDevice) => Promise<T>): Promise<T> {
  const { loop, detach } = attach(sizeBytes);
  try {
    return await act(loop);
  } finally {
    detach();
  }
}

/** The same for fixtures that outlive a function; the caller calls `detach` in every case. */
export function attach(sizeBytes: number): { loop: LoopDevice; detach: () => void } {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawslice-loop-'));
  const backingPath = path.join(folder, 'backing');
  try {
    writeFileSync(backingPath, '');
    truncateSync(backingPath, sizeBytes);
    const devicePath = tryLosetup('--direct-io=on', backingPath) ?? mustRun('losetup', ['--find', '--show', backingPath]);
    const detach = (): void => {
      spawnSync('losetup', ['--detach', devicePath]);
      rmSync(folder, { recursive: true, force: true });
    };
    return { loop: { path: devicePath, backingPath }, detach };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Runs a tool to its end. @returns its standard output, trimmed. @throws Error with its standard error */
export function mustRun(command: string, parameters: readonly string[], input?: string): string {
  const run = spawnSync(command, parameters, { encoding: 'utf8', input });
  if (run.status !== 0) throw new Error(`${command} ${parameters.join(' ')}: ${run.error?.message ?? run.stderr.trim()}`);
  return run.stdout.trim();
}

/** Whether `command` can be started. */
export function hasTool(command: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;
}

function tryLosetup(flag: string, backingPath: string): string | undefined {
  const run = spawnSync('losetup', ['--find', '--show', flag, backingPath], { encoding: 'utf8' });
  return run.status === 0 ? run.stdout.trim() : undefined;
}
