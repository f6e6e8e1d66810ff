/**
 * Faults of a play: drawn from what the profile allows, for a while or for a few operations. Everything that hangs goes on after some
 * virtual time, since a real request ends too.
 */
import type { Random } from '../../src/base/random.ts';
import { KIB } from '../../src/base/units.ts';
import type { Profile } from './profiles.ts';
import type { Aim, Fault, FaultEffect, SimulatedOperation } from './simulated-device.ts';
import type { World } from './world.ts';

interface Range {
  readonly startBytes: number;
  readonly endBytes: number;
}

/** A fault is in the plan for so long at most, and what hangs goes on some time after that. */
const FAULT_MS_MAX = 210;
const HANG_MS_MAX = 4000;

export class FaultPlanner {
  readonly #world: World;
  readonly #random: Random;
  readonly #profile: Profile;

  constructor(world: World, profile: Profile) {
    this.#world = world;
    this.#random = world.random;
    this.#profile = profile;
  }

  /** Adds a fault, or does damage at once; slow and short transfers on every disk. */
  plan(): void {
    const range = this.#range();
    const kind = this.#random.integerBelow(this.#profile === 'honest' ? 2 : 6);
    if (kind === 0) this.#add({ operation: this.#pick('read', 'write'), effect: { kind: 'short' }, ...range });
    else if (kind === 1)
      this.#add({ operation: this.#operation(), effect: { kind: 'slow', times: 1 + this.#random.integerBelow(30) }, ...range });
    else if (this.#profile === 'errors') this.#planError(range);
    else this.#planLie(range);
  }

  /** Ends every fault. */
  end(): void {
    this.#world.disk.clearFaults();
    this.#world.disk.resumeHung();
  }

  #planError(range: Range): void {
    const kind = this.#random.integerBelow(8);
    if (kind === 0) this.#hang(range);
    else if (kind === 1) this.#vanish();
    else if (kind === 2) this.#add({ operation: 'write', effect: { kind: 'error', errno: this.#pick('ENOSPC', 'EROFS') }, ...range });
    else if (kind === 3) this.#add({ operation: 'flush', effect: { kind: 'error', errno: 'EIO' } });
    else this.#add({ operation: this.#pick('read', 'read', 'write'), effect: { kind: 'error', errno: 'EIO' }, ...range });
  }

  #planLie(range: Range): void {
    const aim = this.#aim();
    const effects: readonly [SimulatedOperation, FaultEffect][] = [
      ['write', { kind: 'lost' }],
      ['write', { kind: 'misdirected', aim }],
      ['write', { kind: 'duplicated', aim }],
      ['write', { kind: 'repeated', after: 1 + this.#random.integerBelow(6) }],
      ['read', { kind: 'misdirected', aim }],
    ];
    const drawn = effects[this.#random.integerBelow(effects.length + 1)];
    if (drawn === undefined) this.#world.disk.rot(this.#random, range, 1 + this.#random.integerBelow(8));
    else this.#add({ operation: drawn[0], effect: drawn[1], ...range });
  }

  /** Strikes once, a few times, or for as long as it is there; it goes away after a while. */
  #add(fault: Fault): void {
    const times = this.#pick(1, 1, 3, undefined);
    this.#world.note(`fault: ${fault.operation} ${JSON.stringify(fault.effect)} ${fault.startBytes}-${fault.endBytes} times ${times}`);
    const remove = this.#world.disk.addFault({ ...fault, times });
    this.#world.stage.clock.startTimer(this.#random.integerBelow(FAULT_MS_MAX), remove);
  }

  #hang(range: Range): void {
    this.#add({ operation: this.#operation(), effect: { kind: 'hang' }, ...range });
    this.#world.stage.clock.startTimer(FAULT_MS_MAX + this.#random.integerBelow(HANG_MS_MAX), () => this.#world.disk.resumeHung());
  }

  #vanish(): void {
    this.#world.note('fault: the device vanishes');
    for (const operation of ['read', 'write', 'flush'] as const) {
      this.#world.disk.addFault({ operation, effect: { kind: 'error', errno: 'ENXIO' } });
    }
  }

  #operation(): SimulatedOperation {
    return this.#pick('read', 'write', 'flush');
  }

  /** Where it strikes: what the profile leaves open. */
  #range(): Range {
    const { geometry, shape } = this.#world;
    if (geometry === undefined) return { startBytes: 0, endBytes: shape.capacityBytes };
    const groups = { startBytes: geometry.groupsOffset, endBytes: geometry.groupsOffset + geometry.groupsBlocks * geometry.blockSizeBytes };
    const part = (range: Range): Range => {
      const startBytes = range.startBytes + this.#random.integerBelow(range.endBytes - range.startBytes);
      return { startBytes, endBytes: Math.min(range.endBytes, startBytes + 128 * KIB) };
    };
    if (this.#profile === 'silent') return this.#pick(groups, part(groups));
    const metadata = { startBytes: 0, endBytes: geometry.groupsOffset };
    return this.#pick(groups, part(groups), metadata, part(metadata), { startBytes: 0, endBytes: shape.capacityBytes });
  }

  /** Somewhere within reach of the profile: the place of an earlier write as often as anywhere. */
  #aim(): Aim {
    const { geometry, shape, disk } = this.#world;
    const floor = this.#profile === 'silent' ? (geometry?.groupsOffset ?? 0) : 0;
    const ceiling =
      this.#profile === 'silent' && geometry !== undefined ? floor + geometry.groupsBlocks * geometry.blockSizeBytes : shape.capacityBytes;
    return (_offsetBytes, lengthBytes) => {
      const places = disk.writtenPlaces.filter((place) => place >= floor && place + lengthBytes <= ceiling);
      const blocks = Math.max(1, (ceiling - lengthBytes - floor) / disk.blockSizeBytes);
      const anywhere = floor + this.#random.integerBelow(Math.floor(blocks)) * disk.blockSizeBytes;
      return this.#random.integerBelow(2) === 0 ? anywhere : (places[this.#random.integerBelow(Math.max(1, places.length))] ?? anywhere);
    };
  }

  #pick<T>(...choices: readonly [T, ...T[]]): T {
    return choices[this.#random.integerBelow(choices.length)] ?? choices[0];
  }
}
