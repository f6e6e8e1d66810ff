/**
 * A field: an origin and the systems that a question compares, running side by side in one directory, each shown to give the same bytes as
 * the origin before anything is measured. Closing it ends every process and removes every file, also after a failure or a signal.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import path from 'node:path';
import { SYSTEM_KINDS } from '../systems/all.ts';
import type { Needs, System, SystemKind } from '../systems/system.ts';
import { type BenchOrigin, startOrigin } from './bench-origin.ts';
import { digest } from './load.ts';
import { MemoryGroup } from './memory-group.ts';
import type { Pinning } from './pinning.ts';
import { ProcessPool } from './processes.ts';

const FLUSH_DEADLINE_MS = 60_000;
/** Larger objects are compared by their beginning. */
const CHECKED_BYTES_MAX = 64 * 1024 * 1024;

/** What a question asks for. */
export interface FieldOptions {
  /** Names of the systems that take part, unless the command line left them out; all when undefined. */
  readonly systems?: readonly string[] | undefined;
  readonly needs: Needs;
  /** Lengths of objects by the name used in paths: `/bytes/SIZE/NAME`. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Sizes whose bytes are compared; all when undefined. */
  readonly checked?: readonly string[] | undefined;
  readonly memoryBytes: number;
  readonly deviceBytes: number;
  /** Memory of each system with the page cache that it fills; no limit when undefined. */
  readonly memoryLimitBytes?: number | undefined;
  readonly sliceBytes?: number | undefined;
  readonly originBytesPerSecond?: number | undefined;
  readonly originMaxAgeSeconds?: number | undefined;
}

/** What the run says. */
export interface FieldSurroundings {
  readonly wanted: readonly string[];
  readonly parentDirectory: string;
  readonly pinning: Pinning | undefined;
  readonly say: (line: string) => void;
}

/** See the file's head. */
export class Field {
  readonly systems: System[] = [];
  readonly skipped: Record<string, string> = {};
  readonly pool = new ProcessPool();
  readonly directory: string;
  readonly pinning: Pinning | undefined;
  readonly #cleanings: (() => void)[] = [];
  readonly #groups = new Map<string, MemoryGroup>();
  readonly #onSignal = (): void => {
    this.pool.killAll();
    this.#clean();
    process.exit(130);
  };
  #origin: BenchOrigin | undefined;

  private constructor(directory: string, pinning: Pinning | undefined) {
    this.directory = directory;
    this.pinning = pinning;
    process.on('SIGINT', this.#onSignal).on('SIGTERM', this.#onSignal);
  }

  /** Starts and checks everything. @throws Error when the origin does not start or a system gives other bytes */
  static async open(options: FieldOptions, surroundings: FieldSurroundings): Promise<Field> {
    const directory = await mkdtemp(path.join(surroundings.parentDirectory, 'rawslice-bench-'));
    const field = new Field(directory, surroundings.pinning);
    try {
      await field.#start(options, surroundings);
      return field;
    } catch (error) {
      await field.close();
      throw error;
    }
  }

  get origin(): BenchOrigin {
    if (this.#origin === undefined) throw new Error('The origin has not been started');
    return this.#origin;
  }

  /** A running system, or undefined when it takes no part. */
  find(name: string): System | undefined {
    return this.systems.find((system) => system.name === name);
  }

  /** The systems in an order that turns by one each round, so that none is always first. */
  inTurn(round: number): System[] {
    const first = this.systems.length === 0 ? 0 : round % this.systems.length;
    return [...this.systems.slice(first), ...this.systems.slice(0, first)];
  }

  /** Has the kernel write out what earlier turns left dirty, so that no system pays for another's writes. */
  flush(): void {
    spawnSync('sync', ['-f', this.directory], { timeout: FLUSH_DEADLINE_MS });
  }

  /** The most memory that a limited system used, page cache included; NaN without a limit. */
  peakBytes(system: System): number {
    return this.#groups.get(system.name)?.peakBytes() ?? Number.NaN;
  }

  /** Ends all processes and removes all files. */
  async close(): Promise<void> {
    await this.pool.close();
    this.#clean();
    process.off('SIGINT', this.#onSignal).off('SIGTERM', this.#onSignal);
  }

  async #start(options: FieldOptions, { wanted, say }: FieldSurroundings): Promise<void> {
    const originDirectory = path.join(this.directory, 'origin');
    mkdirSync(originDirectory);
    const { sizes, originBytesPerSecond: bytesPerSecond, originMaxAgeSeconds: maxAgeSeconds } = options;
    const cores = this.pinning?.load;
    this.#origin = await startOrigin({ pool: this.pool, cores, directory: originDirectory, sizes, bytesPerSecond, maxAgeSeconds });
    for (const kind of SYSTEM_KINDS) {
      if (!wanted.includes(kind.name) || options.systems?.includes(kind.name) === false) continue;
      const reason = kind.whyAbsent() ?? kind.whyUnfit(options.needs) ?? (await this.#enter(kind, options));
      if (reason === undefined) continue;
      this.skipped[kind.name] = reason;
      say(`${kind.name} is skipped: ${reason}`);
    }
    const { requests } = await this.origin.count();
    const isChecked = this.systems.length > 0 && options.checked?.length !== 0;
    if (isChecked && requests === 0) throw new Error('The origin counted no request, so that nothing that it counts can be believed');
  }

  /** @returns why the system does not take part: a peer that does not start must not keep the others from it */
  async #enter(kind: SystemKind, options: FieldOptions): Promise<string | undefined> {
    const directory = path.join(this.directory, kind.name);
    mkdirSync(directory);
    try {
      const system = await kind.start({
        pool: this.pool,
        cores: this.pinning?.server,
        directory,
        originPort: this.origin.port,
        memoryBytes: options.memoryBytes,
        deviceBytes: options.deviceBytes,
        isDiskWanted: options.needs.disk === true,
        sliceBytes: options.sliceBytes,
        groupFile: this.#limitMemory(kind.name, options.memoryLimitBytes),
        onClose: (clean) => void this.#cleanings.push(clean),
      });
      this.systems.push(system);
    } catch (error) {
      if (!kind.isPeer) throw error;
      return `it does not start: ${error instanceof Error ? error.message : String(error)}`;
    }
    for (const size of options.checked ?? Object.keys(options.sizes)) await this.#check(this.systems.at(-1)!, size, options.sizes[size]!);
    return undefined;
  }

  #limitMemory(name: string, limitBytes: number | undefined): string | undefined {
    if (limitBytes === undefined || name === 'direct') return undefined;
    const group = new MemoryGroup(`${path.basename(this.directory)}-${name}`, limitBytes);
    this.#groups.set(name, group);
    return group.processesFile;
  }

  /** Speed counts only for right bytes: each system must give what the origin gives, missed and hit. */
  async #check(system: System, size: string, lengthBytes: number): Promise<void> {
    const target = `/bytes/${size}/check`;
    const range = lengthBytes > CHECKED_BYTES_MAX ? `bytes=0-${CHECKED_BYTES_MAX - 1}` : undefined;
    const expected = await digest(this.origin.port, target, range);
    if (!/^20[06] true/.test(expected)) throw new Error(`The origin answered ${expected} to ${target}`);
    for (const turn of ['first', 'second']) {
      const got = await digest(system.port, target, range);
      if (got !== expected)
        throw new Error(`${system.name} gave other bytes than the origin the ${turn} time: ${got} instead of ${expected}`);
    }
  }

  #clean(): void {
    for (const clean of this.#cleanings.splice(0)) clean();
    for (const group of this.#groups.values()) removeWhenEmpty(group);
    this.#groups.clear();
    // What was killed a moment ago may still write a file into what is being removed.
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

/** The kernel lets go of a process a moment after it has been waited for. */
function removeWhenEmpty(group: MemoryGroup): void {
  for (let attempt = 0; ; attempt += 1) {
    try {
      group.remove();
      return;
    } catch (error) {
      if (attempt >= 20) throw error;
      spawnSync('sleep', ['0.1']);
    }
  }
}
