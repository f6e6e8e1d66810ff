/** Which core is whose: the server under measurement has one to itself; load and origin share the rest. Programs are looked up here too. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** Lists of cores for taskset. */
export interface Pinning {
  readonly server: string;
  readonly load: string;
}

/** The first core that this process may use for the server, the others for load and origin; undefined with one core or without taskset. */
export function choosePinning(): Pinning | undefined {
  const [first, ...others] = allowedCores();
  if (first === undefined || others.length === 0 || findProgram('taskset') === undefined) return undefined;
  return { server: String(first), load: others.join(',') };
}

/** Pins this process, with all its threads. To be called after `choosePinning`. */
export function pinSelf(cores: string): void {
  spawnSync('taskset', ['-a', '-c', '-p', cores, String(process.pid)], { stdio: 'ignore' });
}

/** The path of a program, or undefined when it is not installed. */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin', '/usr/bin'];
  return directories.map((directory) => `${directory}/${name}`).find((file) => existsSync(file));
}

/** The first match of `pattern` in what `program` says of its version, or the bare name. */
export function versionOf(program: string, word: string, pattern: RegExp): string {
  const { stdout, stderr } = spawnSync(program, [word], { encoding: 'utf8' });
  return pattern.exec(`${stdout}${stderr}`)?.[0] ?? program;
}

/** From a list such as `0-3,6`. */
function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s+(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return list.split(',').flatMap((part) => {
    const [first = 0, last = first] = part.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
