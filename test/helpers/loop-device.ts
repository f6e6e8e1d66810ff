/** Loop devices and small mounts for tests: made for the length of a test, always taken down and removed. They need root. */
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

/** What a loop device shows to the kernel. */
export interface LoopShape {
  /** Logical and physical block size; 512 when undefined. Newer kernels take more than a page. */
  readonly sectorBytes?: number | undefined;
}

/** Why such loop devices cannot be used here, or undefined when they can. Tries one. */
export function loopObstacle(shape: LoopShape = {}): string | undefined {
  if (process.getuid?.() !== 0) return 'loop devices need root';
  try {
    const { detach } = attach(1024 * 1024, shape);
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
export async function withLoopDevice<T>(sizeBytes: number, act: (loop: LoopDevice) => Promise<T>, shape: LoopShape = {}): Promise<T> {
  const { loop, detach } = attach(sizeBytes, shape);
  try {
    return await act(loop);
  } finally {
    detach();
  }
}

/** The same for fixtures that outlive a function; the caller calls `detach` in every case. */
export function attach(sizeBytes: number, shape: LoopShape = {}): { loop: LoopDevice; detach: () => void } {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawslice-loop-'));
  const backingPath = path.join(folder, 'backing');
  try {
    writeFileSync(backingPath, '');
    truncateSync(backingPath, sizeBytes);
    const parameters = ['--find', '--show', '--sector-size', String(shape.sectorBytes ?? 512), backingPath];
    const direct = spawnSync('losetup', ['--direct-io=on', ...parameters], { encoding: 'utf8' });
    const devicePath = direct.status === 0 ? direct.stdout.trim() : mustRun('losetup', parameters);
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

/** Why a file system of this type cannot be mounted here, or undefined when it can. Tries. */
export function mountObstacle(type: string): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  try {
    mountScratch(type).unmount();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Mounts an empty file system in memory; the caller calls `unmount` in every case. @param options as mount -o takes them */
export function mountScratch(type: string, options = 'mode=0700'): { mountPoint: string; unmount: () => void } {
  const mountPoint = mkdtempSync(path.join(tmpdir(), 'rawslice-mount-'));
  try {
    mustRun('mount', ['-t', type, '-o', options, 'none', mountPoint]);
  } catch (error) {
    rmSync(mountPoint, { recursive: true });
    throw error;
  }
  const unmount = (): void => {
    mustRun('umount', [mountPoint]);
    rmSync(mountPoint, { recursive: true });
  };
  return { mountPoint, unmount };
}
