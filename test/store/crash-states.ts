/**
 * Every state that a crash may leave, at every moment of a short piece of work: which of the unflushed writes remain, in every combination
 * where they are few, and each of them torn. The work runs once; whoever judges opens each state as a disk of its own.
 */
import { SeededRandom } from '../../src/base/random.ts';
import { divFloor } from '../../src/base/units.ts';
import { type DiskSnapshot, SimulatedDisk, type SimulatedOperation } from '../simulation/simulated-device.ts';

/** So many unflushed writes at most are combined in every way; of more, some ways. */
const COMBINED_MAX = 6;
const DRAWN = 24;
/** How a write is torn: every second unit of one of the sizes that disks have is reached, while all the others are, or none. */
const TEARS = [512, 4096].flatMap((unitBytes) =>
  [0, 1].flatMap((parity) => [true, false].map((others) => ({ unitBytes, parity, others }))),
);

/** Looks at a disk as a start after the crash finds it; throws when a promise is broken. `promised`: what was promised at that moment. */
export type JudgeState = (disk: SimulatedDisk, title: string, promised: number) => Promise<void>;

/** A disk whose states are judged from judgeAll() on. */
export class CrashStates {
  readonly disk: SimulatedDisk;
  readonly #capacityBytes: number;
  readonly #random: SeededRandom;
  #judge: JudgeState | undefined;
  #promised = (): number => 0;
  #operations = 0;
  judged = 0;

  constructor(options: { readonly capacityBytes: number; readonly seed: number }) {
    this.#capacityBytes = options.capacityBytes;
    this.#random = new SeededRandom(options.seed);
    const { capacityBytes } = options;
    this.disk = new SimulatedDisk({ capacityBytes, random: this.#random, delay: (operation) => this.#begin(operation) });
  }

  /** Does `work`, and judges the state at each of its operations and after the last, by what `promised` says then. */
  async judgeAll(work: () => Promise<void>, judge: JudgeState, promised = (): number => 0): Promise<void> {
    this.#judge = judge;
    this.#promised = promised;
    this.#operations = 0;
    await work();
    await this.#judgeNow('the end');
    this.#judge = undefined;
  }

  async #begin(operation: SimulatedOperation): Promise<void> {
    this.#operations += 1;
    if (operation !== 'read') await this.#judgeNow(`operation ${this.#operations}, a ${operation}`);
  }

  async #judgeNow(moment: string): Promise<void> {
    const judge = this.#judge;
    if (judge === undefined) return;
    // All of them are of this moment: the work may go on while the first is judged.
    const promised = this.#promised();
    for (const { kept, snapshot } of [...this.#states()]) {
      const disk = new SimulatedDisk({ capacityBytes: this.#capacityBytes, random: new SeededRandom(1) });
      disk.restore(snapshot);
      await judge(disk, `${moment}, kept ${kept}`, promised);
      this.judged += 1;
    }
  }

  *#states(): Generator<{ readonly kept: string; readonly snapshot: DiskSnapshot }> {
    const count = this.disk.unflushedWrites;
    for (const subset of this.#subsets(count)) {
      yield { kept: subset.toString(2).padStart(count, '0'), snapshot: this.disk.afterCrash((write) => isIn(subset, write)) };
    }
    for (let torn = 0; torn < count; torn += 1) {
      for (const { unitBytes, parity, others } of TEARS) {
        const isReached = (offsetBytes: number): boolean => divFloor(offsetBytes, unitBytes) % 2 === parity;
        const snapshot = this.disk.afterCrash((write, offsetBytes) => (write === torn ? isReached(offsetBytes) : others));
        yield { kept: `write ${torn} torn at ${unitBytes} B, the others ${others ? 'whole' : 'lost'}`, snapshot };
      }
    }
  }

  /** Numbers whose bits are writes, the oldest being the lowest. */
  #subsets(count: number): Iterable<number> {
    const all = 2 ** count - 1;
    if (count <= COMBINED_MAX) return Array.from({ length: all + 1 }, (_, subset) => subset);
    const subsets = new Set([0, all]);
    for (let write = 0; write < count; write += 1) subsets.add(2 ** write).add(all - 2 ** write);
    for (let drawn = 0; drawn < DRAWN; drawn += 1) subsets.add(this.#random.integerBelow(all + 1));
    return subsets;
  }
}

function isIn(subset: number, write: number): boolean {
  return divFloor(subset, 2 ** write) % 2 === 1;
}
