/** A small simulated disk whose power fails at an operation that is chosen by its number: what sweeps over crash points stand on. */

import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { type CrashKeeps, SimulatedDisk } from '../simulation/simulated-device.ts';

/** Counts the operations of its disk from the last crashAt() on. */
export class CrashDisk {
  readonly disk: SimulatedDisk;
  readonly random: SeededRandom;
  operations = 0;
  hasCrashed = false;
  #crashAt = 0;
  #keeps: CrashKeeps = 'any';

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.disk = new SimulatedDisk({ capacityBytes: 4 * MIB, random: this.random, delay: () => this.#count() });
  }

  /** @param operation counted from now on, the first is 1; 0 for never */
  crashAt(operation: number, keeps: CrashKeeps): void {
    this.operations = 0;
    this.#crashAt = operation;
    this.#keeps = keeps;
    this.hasCrashed = false;
  }

  async #count(): Promise<void> {
    this.operations += 1;
    if (this.operations !== this.#crashAt) return;
    this.hasCrashed = true;
    this.disk.crash(this.random, this.#keeps);
  }
}
