/**
 * The world of a play: one simulated disk, virtual time, and the store that is mounted on it, from format over crashes and restarts to the
 * end. Every operation of the disk and everything that the play says goes into a trace whose hash tells whether two runs were the same.
 */
import { createHash } from 'node:crypto';
import { pino } from 'pino';
import type { Logger } from '../../src/base/log.ts';
import type { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Geometry } from '../../src/format/geometry.ts';
import { Arena } from '../../src/memory/arena.ts';
import { formatDevice } from '../../src/store/device-format.ts';
import { createStore, type DeviceStore, type StoreOptions } from '../../src/store/device-store.ts';
import type { StoreLimits } from '../../src/store/store-limits.ts';
import { demand, Violation } from './model.ts';
import { type CrashKeeps, SimulatedDisk } from './simulated-device.ts';
import { VirtualClock } from './virtual-clock.ts';

/** Virtual time after which whatever still waits waits for ever. */
export const LIMIT_MS = 10 * 60_000;

/** Time and memory, shared by the plays of a process: an arena takes 8 GiB of address space. */
export interface Stage {
  readonly clock: VirtualClock;
  readonly arena: Arena;
}

export function makeStage(): Stage {
  const clock = new VirtualClock();
  return { clock, arena: new Arena({ sizeBytes: 4 * MIB, clock }) };
}

/** Size and shape of a play's device; small, so that everything wraps, fills and is evicted all the time. */
export interface Shape {
  readonly capacityBytes: number;
  readonly entryCount: number;
  readonly journalBlocks: number;
  readonly groupBytes: number;
  /** Objects that the work is about. */
  readonly keys: number;
  readonly admission: StoreOptions['admission'];
  readonly compression: StoreOptions['compression'];
  readonly limits: Partial<StoreLimits>;
}

/** What a mount was. Those who work with one look whether it is over before they act. */
export interface Mount {
  readonly store: DeviceStore;
  isOver: boolean;
  /** Lines of the log at level warn and above. */
  readonly complaints: string[];
  /** Journal records that were dropped before the mount was handed over. */
  journalDroppedAtStart: number;
}

/** Moments at which the power may fail inside an operation. */
interface CrashPlan {
  operationsLeft: number;
  readonly keeps: CrashKeeps;
  /** Counts flushes and what touches labels, journal and checkpoints, nothing else: the moments between those are few and matter most. */
  readonly isAtMetadata: boolean;
}

export class World {
  readonly disk: SimulatedDisk;
  readonly random: SeededRandom;
  readonly shape: Shape;
  readonly stage: Stage;
  readonly log: (line: string) => void;
  geometry: Geometry | undefined;
  mount: Mount | undefined;
  /** The power failed inside an operation, and nobody has taken notice yet. */
  hasCrashed = false;
  /** Called at the very moment of a crash, before anything in memory changes. */
  onCrash: () => void = () => undefined;
  /** Called when a store begins to load; it is not open before this has ended, too. */
  onLoading: (mount: Mount) => Promise<void> = () => Promise.resolve();
  #crashPlan: CrashPlan | undefined;
  readonly #hash = createHash('sha256');

  constructor(options: { stage: Stage; random: SeededRandom; shape: Shape; log: (line: string) => void }) {
    this.stage = options.stage;
    this.random = options.random;
    this.shape = options.shape;
    this.log = options.log;
    this.stage.clock.reset();
    const { capacityBytes } = options.shape;
    this.disk = new SimulatedDisk({ capacityBytes, random: this.random, delay: (...operation) => this.#delay(...operation) });
  }

  /** What happened so far, as one number. */
  get traceHash(): string {
    return this.#hash.copy().digest('hex').slice(0, 16);
  }

  note(line: string): void {
    this.#hash.update(`${line}\n`);
    this.log(`${this.stage.clock.monotonicMs().toFixed(2).padStart(10)}  ${line}`);
  }

  wait<T>(promise: Promise<T>, what: string): Promise<T> {
    return this.stage.clock.wait(promise, what, LIMIT_MS);
  }

  async format(): Promise<void> {
    const device = this.disk.open();
    const { entryCount, journalBlocks, groupBytes } = this.shape;
    const parameters = { labelBytes: 32 * KIB, journalBytes: journalBlocks * 4 * KIB, groupBytes, entryCount };
    const { clock } = this.stage;
    const summary = await this.wait(formatDevice(device, { clock, random: this.random, parameters }), 'format');
    this.geometry = summary.geometry;
    await this.wait(device.close(), 'closing the formatted device');
  }

  /** Opens a store on the disk. @throws what the store throws, and when the power failed inside */
  async open(): Promise<Mount> {
    const { clock, arena } = this.stage;
    const { limits, admission, compression } = this.shape;
    const device = this.disk.open();
    const complaints: string[] = [];
    const logger = makeLogger((line) => {
      this.log(`            log: ${line}`);
      if (!line.includes('"level":30')) complaints.push(line);
    });
    let mount: Mount | undefined;
    let asking: Promise<void> | undefined;
    try {
      const created = createStore({ device, arena, clock, logger, limits, admission, compression });
      mount = { store: await this.wait(created, 'reading the labels'), isOver: false, complaints, journalDroppedAtStart: 0 };
      const recovering = mount.store.recover();
      asking = this.onLoading(mount);
      await this.wait(recovering, 'recovery');
      await this.wait(asking, 'questions while loading');
    } catch (error) {
      await this.wait(mount?.store.close() ?? device.close(), 'closing what could not be opened');
      await this.wait(asking ?? Promise.resolve(), 'questions while loading');
      throw error;
    }
    mount.journalDroppedAtStart = mount.store.metrics.value('journalDropped');
    this.mount = mount;
    this.note(`opened: ${mount.store.state}, ${mount.store.usage.entries} entries`);
    return mount;
  }

  /** Lets the power fail inside the operation after `operations` more; undefined takes it back. */
  planCrash(operations: number | undefined, keeps: CrashKeeps = 'any', isAtMetadata = false): void {
    this.#crashPlan = operations === undefined ? undefined : { operationsLeft: operations, keeps, isAtMetadata };
  }

  /** The power fails now. */
  crash(keeps: CrashKeeps): void {
    this.note(`crash, keeps ${keeps}`);
    this.#crashPlan = undefined;
    this.hasCrashed = true;
    this.onCrash();
    this.disk.crash(this.random, keeps);
  }

  /** Ends the mount, whether the power is on or not; every lease has to be back. Work in progress goes on until it notices. */
  async closeMount(mount: Mount): Promise<void> {
    mount.isOver = true;
    await this.wait(mount.store.close(), 'closing the store');
    if (this.mount === mount) this.mount = undefined;
  }

  async #delay(operation: string, offsetBytes: number, lengthBytes: number): Promise<void> {
    this.note(`${operation} ${offsetBytes}+${lengthBytes}`);
    const plan = this.#crashPlan;
    if (plan !== undefined && (!plan.isAtMetadata || this.#isMetadata(operation, offsetBytes))) {
      plan.operationsLeft -= 1;
      if (plan.operationsLeft <= 0) {
        this.crash(plan.keeps);
        return;
      }
    }
    // Half of them at once, some after others that began later.
    const ms = this.random.integerBelow(2) === 0 ? 0 : this.random.integerBelow(40) / 8;
    if (ms > 0) await this.stage.clock.sleep(ms);
  }

  #isMetadata(operation: string, offsetBytes: number): boolean {
    const { geometry } = this;
    if (operation === 'flush' || geometry === undefined) return true;
    return operation === 'write' && (offsetBytes < geometry.groupsOffset || offsetBytes >= geometry.labelOffsets[2]);
  }
}

/** Whatever a broken promise inside the store rejects with must end the play, not vanish. */
export function watchRejections(): { readonly check: () => void; readonly stop: () => void } {
  let failure: unknown;
  const onRejection = (error: unknown): void => {
    failure ??= error;
  };
  process.on('unhandledRejection', onRejection);
  return {
    check: () => {
      if (failure !== undefined) throw new Violation(`a rejection that nobody handled: ${String(failure)}`, { cause: failure });
    },
    stop: () => void process.off('unhandledRejection', onRejection),
  };
}

/** Demands that nothing but the RAM tier holds a slot; after a close, nothing at all. */
export function demandNoLeases(arena: Arena, what: string): void {
  demand(arena.leasedSlots === 0, () => `${what}: ${arena.leasedSlots} slots are still leased`);
}

function makeLogger(take: (line: string) => void): Logger {
  return pino({ level: 'info', base: null, timestamp: false }, { write: (line) => take(line.trimEnd()) });
}
