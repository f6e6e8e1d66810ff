/**
 * A disk in memory for tests: deterministic, stricter than the kernel, and able to fail in every way that a real one does.
 *
 *   SimulatedDisk      what survives a crash: stable blocks, the volatile write cache, the fault plan
 *   SimulatedDevice    what one process sees of it after disk.open(): a BlockDevice; dead after disk.crash()
 *
 * Stricter: a buffer that changes while its write is in flight, two writes in flight that overlap and every misalignment are assertion
 * failures; a read in flight scribbles over its buffers first. Nothing here uses time: `delay` says when an operation completes.
 */
import { assert, must } from '../../src/base/assert.ts';
import { EdgeError } from '../../src/base/errors.ts';
import type { Random } from '../../src/base/random.ts';
import { divFloor, isAligned, KIB } from '../../src/base/units.ts';
import type { BlockDevice, DiscardOutcome } from '../../src/device/block-device.ts';
import { checkRange, checkTransfer } from '../../src/device/transfer.ts';

export type SimulatedOperation = 'read' | 'write' | 'flush';

/** Where a transfer goes astray: so many bytes away, or wherever a function says; whole blocks within the disk. */
export type Aim = number | ((offsetBytes: number, lengthBytes: number) => number);

/**
 * What goes wrong with the operations that a fault matches.
 * `error`: fails with `errno`; a failed write may have reached any of its sectors. `lost`: a write that reports success and does nothing.
 * `misdirected`: a write that lands elsewhere, or a read of what lies elsewhere. `duplicated`: a write that lands in its place and
 * elsewhere. `repeated`: a write that is done once more behind `after` later ones. `short`: a transfer in two pieces with a pause between.
 * `slow`: takes `times` as long. `hang`: nothing until disk.resumeHung().
 */
export type FaultEffect =
  | { readonly kind: 'error'; readonly errno: 'EIO' | 'ENOSPC' | 'EROFS' | 'ENXIO' | 'ENODEV' | 'EINVAL' }
  | { readonly kind: 'lost' }
  | { readonly kind: 'misdirected' | 'duplicated'; readonly aim: Aim }
  | { readonly kind: 'repeated'; readonly after: number }
  | { readonly kind: 'short' }
  | { readonly kind: 'slow'; readonly times: number }
  | { readonly kind: 'hang' };

/** One entry of the fault plan. */
export interface Fault {
  readonly operation: SimulatedOperation;
  readonly effect: FaultEffect;
  /** Matches transfers that touch [startBytes, endBytes); the whole disk when undefined. Flushes match always. */
  readonly startBytes?: number | undefined;
  readonly endBytes?: number | undefined;
  /** Matching operations that pass unharmed first; 0 when undefined. */
  readonly after?: number | undefined;
  /** Matching operations that are harmed; all when undefined. */
  readonly times?: number | undefined;
}

/** When an operation completes: awaited between its begin and its effect. Also the place to count operations and to crash inside one. */
export type Delay = (operation: SimulatedOperation, offsetBytes: number, lengthBytes: number) => Promise<void>;

/** Which unflushed writes survive a crash. `any`: an arbitrary subset, torn at 512 B or 4 KiB; `newest`: the last one alone. */
export type CrashKeeps = 'any' | 'all' | 'none' | 'newest';

export interface SimulatedDiskOptions {
  readonly capacityBytes: number;
  /** 4 KiB when undefined. */
  readonly blockSizeBytes?: number | undefined;
  /** Drives tearing and what a failed write leaves; print its seed. */
  readonly random: Random;
  /** Completes at once (a microtask later) when undefined. */
  readonly delay?: Delay | undefined;
}

/** The content of a disk at one moment. */
export interface DiskSnapshot {
  readonly stable: ReadonlyMap<number, Uint8Array>;
}

const SECTOR_BYTES = 512;
const SCRIBBLE = 0xa5;
const WRITTEN_PLACES_MAX = 64;

/** A write that the disk knows of and that no flush has covered. */
interface PendingWrite {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

interface PlannedFault {
  readonly fault: Fault;
  toPass: number;
  toHarm: number;
}

export class SimulatedDisk {
  readonly capacityBytes: number;
  readonly blockSizeBytes: number;
  /** Operations begun since the disk was made. */
  readonly counts: Record<SimulatedOperation | 'discard', number> = { read: 0, write: 0, flush: 0, discard: 0 };
  /** Faults that struck, by name, such as `write EIO`; crashes and what they tore among them. */
  readonly struck = new Map<string, number>();
  readonly #random: Random;
  readonly #delay: Delay;
  /** Sectors by number; a missing one is zero. An array is replaced, never changed, so that a snapshot is a copy of the map. */
  #stable = new Map<number, Uint8Array>();
  /** Completed writes that no flush has covered, oldest first. */
  #cache: PendingWrite[] = [];
  /** What reads see: the newest version of each cached sector. */
  #cachedSectors = new Map<number, Uint8Array>();
  readonly #inFlight = new Set<PendingWrite>();
  readonly #faults: PlannedFault[] = [];
  readonly #hung: (() => void)[] = [];
  /** Where the last writes were meant to go, for faults that mistake one place for another. */
  #places: number[] = [];
  /** Writes that will be done again, and how many later ones come first. */
  #repeats: { readonly write: PendingWrite; left: number }[] = [];
  #writer: SimulatedDevice | undefined;
  /** Counts crashes; a device opened in an earlier epoch is dead. */
  #epoch = 0;

  constructor(options: SimulatedDiskOptions) {
    this.capacityBytes = options.capacityBytes;
    this.blockSizeBytes = options.blockSizeBytes ?? 4 * KIB;
    assert(isAligned(this.capacityBytes, this.blockSizeBytes), 'SimulatedDisk: capacity is whole blocks');
    this.#random = options.random;
    this.#delay = options.delay ?? (() => Promise.resolve());
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Writes that a crash now could lose. */
  get unflushedWrites(): number {
    return this.#cache.length + this.#inFlight.size;
  }

  /** Operations that a `hang` fault holds. */
  get hungOperations(): number {
    return this.#hung.length;
  }

  /** Where the last WRITTEN_PLACES_MAX writes were meant to go, oldest first. */
  get writtenPlaces(): readonly number[] {
    return this.#places;
  }

  /** Opens the disk as a new process would. @throws EdgeError DEVICE_HELD while another device has it open for writing */
  open(access: 'read-write' | 'read-only' = 'read-write'): SimulatedDevice {
    if (access === 'read-write' && this.#writer !== undefined) throw new EdgeError('DEVICE_HELD', 'The simulated disk is held');
    const device = new SimulatedDevice(this, access === 'read-only');
    if (access === 'read-write') this.#writer = device;
    return device;
  }

  /** Adds to the fault plan. @returns a function that takes it out again */
  addFault(fault: Fault): () => void {
    const planned = { fault, toPass: fault.after ?? 0, toHarm: fault.times ?? Number.POSITIVE_INFINITY };
    this.#faults.push(planned);
    return () => {
      const index = this.#faults.indexOf(planned);
      if (index >= 0) this.#faults.splice(index, 1);
    };
  }

  clearFaults(): void {
    this.#faults.length = 0;
  }

  /** Lets operations that hang go on: all, or the `count` that hang the longest. */
  resumeHung(count = Number.POSITIVE_INFINITY): void {
    for (const resume of this.#hung.splice(0, count)) resume();
  }

  /**
   * Power fails: every open device is dead (its operations fail with ENODEV and change nothing), and of the writes that no flush covered,
   * those in flight included, `keeps` says what remains.
   */
  crash(random: Random, keeps: CrashKeeps = 'any'): void {
    this.#epoch += 1;
    this.#writer = undefined;
    this.#repeats = [];
    this.#strike('crash');
    const share = keeps === 'all' ? 4 : keeps === 'any' ? random.integerBelow(5) : 0;
    const writes = [...this.#cache, ...this.#inFlight];
    const newest = keeps === 'newest' ? writes.pop() : undefined;
    if (newest !== undefined) this.#applyTo(this.#stable, newest, () => true);
    for (const write of writes) {
      if (keeps !== 'any' || random.integerBelow(2) === 0) {
        if (random.integerBelow(4) < share) this.#applyTo(this.#stable, write, () => true);
        continue;
      }
      const unitBytes = random.integerBelow(2) === 0 ? SECTOR_BYTES : 4 * KIB;
      const fates = new Map<number, boolean>();
      this.#strike(unitBytes === SECTOR_BYTES ? 'write torn at 512 B' : 'write torn at 4 KiB');
      this.#applyTo(this.#stable, write, (offsetBytes) => {
        const unit = divFloor(offsetBytes, unitBytes);
        const fate = fates.get(unit) ?? random.integerBelow(4) < share;
        fates.set(unit, fate);
        return fate;
      });
    }
    this.#dropCache();
    this.#inFlight.clear();
    this.resumeHung();
  }

  /** What a crash now would leave if sectors remain as `isKept` says, the oldest unflushed write being number 0. Nothing changes. */
  afterCrash(isKept: (writeNumber: number, offsetBytes: number) => boolean): DiskSnapshot {
    const stable = new Map(this.#stable);
    for (const [writeNumber, write] of [...this.#cache, ...this.#inFlight].entries()) {
      this.#applyTo(stable, write, (offsetBytes) => isKept(writeNumber, offsetBytes));
    }
    return { stable };
  }

  /** The stable content: what a crash now would leave at least. */
  snapshot(): DiskSnapshot {
    return { stable: new Map(this.#stable) };
  }

  /** Puts a snapshot back; what was not flushed is gone. No device may have the disk open for writing. */
  restore(snapshot: DiskSnapshot): void {
    assert(this.#writer === undefined, 'SimulatedDisk.restore: no device is open for writing');
    this.#stable = new Map(snapshot.stable);
    this.#dropCache();
  }

  /** Bytes as a read would return them, past every fault. */
  peek(offsetBytes: number, lengthBytes: number): Buffer {
    assert(offsetBytes >= 0 && offsetBytes + lengthBytes <= this.capacityBytes, 'SimulatedDisk.peek: within the disk');
    const bytes = Buffer.alloc(lengthBytes);
    const first = divFloor(offsetBytes, SECTOR_BYTES);
    for (let sector = first; sector * SECTOR_BYTES < offsetBytes + lengthBytes; sector += 1) {
      const content = this.#cachedSectors.get(sector) ?? this.#stable.get(sector);
      if (content === undefined) continue;
      const at = sector * SECTOR_BYTES - offsetBytes;
      bytes.set(content.subarray(Math.max(0, -at), Math.min(SECTOR_BYTES, lengthBytes - at)), Math.max(0, at));
    }
    return bytes;
  }

  /** Changes stable bytes behind everybody's back: golden images, planted records, rot. Cached versions of the sectors are dropped. */
  poke(offsetBytes: number, bytes: Uint8Array): void {
    const start = divFloor(offsetBytes, SECTOR_BYTES) * SECTOR_BYTES;
    const end = Math.ceil((offsetBytes + bytes.length) / SECTOR_BYTES) * SECTOR_BYTES;
    assert(end <= this.capacityBytes, 'SimulatedDisk.poke: within the disk');
    const sectors = this.peek(start, end - start);
    sectors.set(bytes, offsetBytes - start);
    const write = { offsetBytes: start, bytes: sectors };
    this.#applyTo(this.#stable, write, () => true);
    for (const [sector] of sectorsOf(write)) this.#cachedSectors.delete(sector);
  }

  /** Inverts one bit (0 to 7) of one byte. */
  flipBit(offsetBytes: number, bit: number): void {
    const byte = must(this.peek(offsetBytes, 1)[0], 'one byte');
    this.poke(offsetBytes, Uint8Array.of(byte ^ (1 << bit)));
  }

  /** Rot at rest: flips one bit of each of `count` sectors that were ever written in [startBytes, endBytes). */
  rot(random: Random, range: { readonly startBytes: number; readonly endBytes: number }, count: number): void {
    const sectors = [...this.#stable.keys()].filter(
      (sector) => sector * SECTOR_BYTES >= range.startBytes && sector * SECTOR_BYTES < range.endBytes,
    );
    for (let flips = 0; flips < count && sectors.length > 0; flips += 1) {
      const sector = must(sectors[random.integerBelow(sectors.length)], 'a written sector');
      this.flipBit(sector * SECTOR_BYTES + random.integerBelow(SECTOR_BYTES), random.integerBelow(8));
      this.#strike('rot');
    }
  }

  // What follows is for SimulatedDevice.

  released(device: SimulatedDevice): void {
    if (this.#writer === device) this.#writer = undefined;
  }

  async performRead(epoch: number, buffers: readonly Buffer[], offsetBytes: number, lengthBytes: number): Promise<void> {
    for (const buffer of buffers) buffer.fill(SCRIBBLE);
    const effect = await this.#begin('read', epoch, offsetBytes, lengthBytes);
    this.#refuseDead('read', epoch, offsetBytes, lengthBytes);
    const place = effect?.kind === 'misdirected' ? this.#aimed(effect.aim, offsetBytes, lengthBytes) : offsetBytes;
    const bytes = this.peek(place, lengthBytes);
    this.#mixInFlight(bytes, place);
    if (effect?.kind === 'short') {
      // The second piece is read later: a write may have come between.
      await this.#delay('read', offsetBytes, lengthBytes);
      this.#refuseDead('read', epoch, offsetBytes, lengthBytes);
      const rest = this.peek(place, lengthBytes);
      rest.copy(bytes, lengthBytes / 2, lengthBytes / 2);
    }
    let done = 0;
    for (const buffer of buffers) {
      bytes.copy(buffer, 0, done, done + buffer.length);
      done += buffer.length;
    }
  }

  async performWrite(epoch: number, buffers: readonly Buffer[], offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#refuseDead('write', epoch, offsetBytes, lengthBytes);
    const write = { offsetBytes, bytes: Buffer.concat(buffers) };
    for (const other of this.#inFlight) {
      const isApart = other.offsetBytes + other.bytes.length <= offsetBytes || offsetBytes + lengthBytes <= other.offsetBytes;
      assert(isApart, () => `two writes in flight overlap at ${offsetBytes}`);
    }
    this.#inFlight.add(write);
    try {
      const effect = await this.#begin('write', epoch, offsetBytes, lengthBytes);
      this.#refuseDead('write', epoch, offsetBytes, lengthBytes);
      assert(write.bytes.equals(Buffer.concat(buffers)), 'a buffer changed while its write was in flight');
      await this.#land(write, effect, epoch);
    } catch (error) {
      // Nobody knows which sectors a failed write reached.
      if (epoch === this.#epoch && error instanceof EdgeError) this.#rememberPart(write);
      throw error;
    } finally {
      this.#inFlight.delete(write);
    }
  }

  /** Blocks that hold nothing any more: of each sector the old bytes or zeros remain, and nobody may count on which. */
  performDiscard(offsetBytes: number, lengthBytes: number): void {
    for (const { offsetBytes: start, bytes } of this.#inFlight) {
      const isApart = start + bytes.length <= offsetBytes || offsetBytes + lengthBytes <= start;
      assert(isApart, () => `a discard at ${offsetBytes} overlaps a write in flight`);
    }
    this.counts.discard += 1;
    for (const [sector] of sectorsOf({ offsetBytes, bytes: new Uint8Array(lengthBytes) })) {
      if (this.#random.integerBelow(2) === 0) continue;
      this.#stable.delete(sector);
      this.#cachedSectors.delete(sector);
    }
    // What was written there and never flushed may still come back at a crash: it stays in the cache.
  }

  /** A write reaches the cache, in whichever way the effect says. */
  async #land(write: PendingWrite, effect: FaultEffect | undefined, epoch: number): Promise<void> {
    const { offsetBytes, bytes } = write;
    this.#places.push(offsetBytes);
    if (this.#places.length > WRITTEN_PLACES_MAX) this.#places.shift();
    const aside = (aim: Aim): PendingWrite => ({ bytes, offsetBytes: this.#aimed(aim, offsetBytes, bytes.length) });
    if (effect?.kind === 'lost') return;
    if (effect?.kind === 'short') {
      this.#remember({ offsetBytes, bytes: bytes.subarray(0, bytes.length / 2) });
      await this.#delay('write', offsetBytes, bytes.length);
      this.#refuseDead('write', epoch, offsetBytes, bytes.length);
    }
    if (effect?.kind === 'misdirected') this.#remember(aside(effect.aim));
    else this.#remember(write);
    if (effect?.kind === 'duplicated') this.#remember(aside(effect.aim));
    for (const repeat of this.#repeats.splice(0)) {
      repeat.left -= 1;
      if (repeat.left > 0) this.#repeats.push(repeat);
      else this.#remember(repeat.write);
    }
    if (effect?.kind === 'repeated') this.#repeats.push({ write, left: effect.after });
  }

  /**
   * What a device wants after its disk has crashed is never begun: it is not counted, and no later crash may keep it. Asked with no await
   * between the answer and the deed, since the power may fail between any two steps of an operation.
   */
  #refuseDead(operation: SimulatedOperation, epoch: number, offsetBytes: number, lengthBytes: number): void {
    if (epoch !== this.#epoch) throw faultError(operation, offsetBytes, lengthBytes, 'ENODEV');
  }

  #aimed(aim: Aim, offsetBytes: number, lengthBytes: number): number {
    const place = typeof aim === 'number' ? offsetBytes + aim : aim(offsetBytes, lengthBytes);
    return Math.max(0, Math.min(place, this.capacityBytes - lengthBytes));
  }

  #strike(name: string): void {
    this.struck.set(name, (this.struck.get(name) ?? 0) + 1);
  }

  async performFlush(epoch: number): Promise<void> {
    const covered = new Set(this.#cache);
    await this.#begin('flush', epoch, 0, 0);
    this.#refuseDead('flush', epoch, 0, 0);
    // What another flush has covered meanwhile is stable already, and something newer may lie over it.
    for (const write of this.#cache) if (covered.has(write)) this.#applyTo(this.#stable, write, () => true);
    this.#cache = this.#cache.filter((write) => !covered.has(write));
    this.#cachedSectors.clear();
    for (const write of this.#cache) this.#applyTo(this.#cachedSectors, write, () => true);
  }

  /** Counts, waits and applies the fault plan. @returns an effect that the caller must bring about */
  async #begin(operation: SimulatedOperation, epoch: number, offsetBytes: number, lengthBytes: number): Promise<FaultEffect | undefined> {
    this.#refuseDead(operation, epoch, offsetBytes, lengthBytes);
    this.counts[operation] += 1;
    const effect = this.#nextEffect(operation, offsetBytes, lengthBytes);
    if (effect !== undefined) this.#strike(`${operation} ${effect.kind === 'error' ? effect.errno : effect.kind}`);
    for (let left = effect?.kind === 'slow' ? effect.times : 1; left > 0; left -= 1) await this.#delay(operation, offsetBytes, lengthBytes);
    if (effect?.kind === 'hang' && epoch === this.#epoch) await new Promise<void>((resolve) => this.#hung.push(resolve));
    this.#refuseDead(operation, epoch, offsetBytes, lengthBytes);
    if (effect?.kind === 'error') throw faultError(operation, offsetBytes, lengthBytes, effect.errno);
    return effect;
  }

  #nextEffect(operation: SimulatedOperation, offsetBytes: number, lengthBytes: number): FaultEffect | undefined {
    for (const planned of this.#faults) {
      const { startBytes = 0, endBytes = this.capacityBytes } = planned.fault;
      const isTouched = operation === 'flush' || (offsetBytes < endBytes && startBytes < offsetBytes + lengthBytes);
      if (planned.fault.operation !== operation || !isTouched || planned.toHarm === 0) continue;
      if (planned.toPass > 0) {
        planned.toPass -= 1;
        continue;
      }
      planned.toHarm -= 1;
      return planned.fault.effect;
    }
    return undefined;
  }

  #remember(write: PendingWrite): void {
    assert(write.offsetBytes >= 0 && write.offsetBytes + write.bytes.length <= this.capacityBytes, 'a write lands within the disk');
    this.#cache.push(write);
    this.#applyTo(this.#cachedSectors, write, () => true);
  }

  #rememberPart(write: PendingWrite): void {
    for (const [sector, bytes] of sectorsOf(write)) {
      if (this.#random.integerBelow(2) === 0) this.#remember({ offsetBytes: sector * SECTOR_BYTES, bytes });
    }
  }

  /** A read beside a write in flight sees some of its sectors, and of some the beginning only. */
  #mixInFlight(bytes: Buffer, offsetBytes: number): void {
    for (const write of this.#inFlight) {
      for (const [sector, content] of sectorsOf(write)) {
        const at = sector * SECTOR_BYTES - offsetBytes;
        if (at < 0 || at >= bytes.length) continue;
        const fate = this.#random.integerBelow(4);
        if (fate === 0) bytes.set(content.subarray(0, this.#random.integerBelow(SECTOR_BYTES)), at);
        else if (fate === 1) bytes.set(content, at);
      }
    }
  }

  #applyTo(sectors: Map<number, Uint8Array>, write: PendingWrite, isReached: (offsetBytes: number) => boolean): void {
    for (const [sector, content] of sectorsOf(write)) {
      if (isReached(sector * SECTOR_BYTES)) sectors.set(sector, content);
    }
  }

  #dropCache(): void {
    this.#cache = [];
    this.#cachedSectors.clear();
  }
}

/** One process's view; see BlockDevice. Made by SimulatedDisk.open(). */
export class SimulatedDevice implements BlockDevice {
  readonly path = 'simulated';
  readonly isDirect = true;
  readonly isReadOnly: boolean;
  readonly blockSizeBytes: number;
  readonly capacityBytes: number;
  readonly #disk: SimulatedDisk;
  readonly #epoch: number;
  readonly #inFlight = new Set<Promise<void>>();
  #flushFailure: EdgeError | undefined;
  #closing: Promise<void> | undefined;

  constructor(disk: SimulatedDisk, isReadOnly: boolean) {
    this.#disk = disk;
    this.#epoch = disk.epoch;
    this.isReadOnly = isReadOnly;
    this.blockSizeBytes = disk.blockSizeBytes;
    this.capacityBytes = disk.capacityBytes;
  }

  async read(buffers: readonly Buffer[], offsetBytes: number): Promise<void> {
    const lengthBytes = checkTransfer(this, buffers, offsetBytes);
    await this.#track(() => this.#disk.performRead(this.#epoch, buffers, offsetBytes, lengthBytes));
  }

  async write(buffers: readonly Buffer[], offsetBytes: number): Promise<void> {
    assert(!this.isReadOnly, 'write: the device was opened read-only');
    const lengthBytes = checkTransfer(this, buffers, offsetBytes);
    await this.#track(() => this.#disk.performWrite(this.#epoch, buffers, offsetBytes, lengthBytes));
  }

  async flush(): Promise<void> {
    if (this.#flushFailure !== undefined) throw this.#flushFailure;
    try {
      await this.#track(() => this.#disk.performFlush(this.#epoch));
    } catch (error) {
      if (error instanceof EdgeError) this.#flushFailure = error;
      throw error;
    }
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<DiscardOutcome> {
    assert(!this.isReadOnly, 'discard: the device was opened read-only');
    assert(this.#closing === undefined, 'the device is closed');
    checkRange(this, offsetBytes, lengthBytes);
    if (this.#epoch !== this.#disk.epoch) return 'unable';
    this.#disk.performDiscard(offsetBytes, lengthBytes);
    return 'done';
  }

  close(): Promise<void> {
    this.#closing ??= Promise.allSettled([...this.#inFlight]).then(() => this.#disk.released(this));
    return this.#closing;
  }

  async #track(begin: () => Promise<void>): Promise<void> {
    assert(this.#closing === undefined, 'the device is closed');
    const operation = begin();
    this.#inFlight.add(operation);
    try {
      await operation;
    } finally {
      this.#inFlight.delete(operation);
    }
  }
}

function* sectorsOf(write: PendingWrite): Generator<[sector: number, content: Uint8Array]> {
  for (let done = 0; done < write.bytes.length; done += SECTOR_BYTES) {
    yield [(write.offsetBytes + done) / SECTOR_BYTES, write.bytes.subarray(done, done + SECTOR_BYTES)];
  }
}

function faultError(operation: SimulatedOperation, offsetBytes: number, lengthBytes: number, errno: string): EdgeError {
  const context = { path: 'simulated', operation, offsetBytes, lengthBytes, errno };
  return new EdgeError('DEVICE_FAULT', `The ${operation} of the simulated disk failed with ${errno}`, { context });
}
