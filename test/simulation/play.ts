/**
 * A play: from one seed, a random device, random work on it by many at a time, crashes, restarts and faults, judged by the model after every
 * step. The same seed and number of steps give the same play, to the last operation of the disk.
 */
import { EdgeError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { FaultPlanner } from './fault-planner.ts';
import { demand, type Expectation, Model, Violation } from './model.ts';
import { DISK_PROMISES, type Profile, type Promises, profileOf, shapeOf } from './profiles.ts';
import type { CrashKeeps } from './simulated-device.ts';
import { countLost, Work } from './work.ts';
import { demandNoLeases, type Mount, type Stage, World, watchRejections } from './world.ts';

/** What to play. */
export interface PlayOptions {
  readonly seed: number;
  readonly steps: number;
  readonly stage: Stage;
  /** Chosen by the seed when undefined. */
  readonly profile?: Profile | undefined;
  readonly log?: ((line: string) => void) | undefined;
}

/** What was played. */
export interface PlayReport {
  readonly seed: number;
  readonly profile: Profile;
  readonly steps: number;
  readonly traceHash: string;
  readonly operations: number;
  readonly crashes: number;
  readonly recoveries: number;
  /** Records and slices that had to be found after a crash, and were. */
  readonly foundAgain: number;
  /** Purges that were acknowledged. */
  readonly purges: number;
  readonly hits: number;
  readonly bytesChecked: number;
  readonly evictions: number;
  readonly checkpoints: number;
  /** Slices that were read before the index was loaded. */
  readonly loadingHits: number;
  readonly struck: Readonly<Record<string, number>>;
}

const KEEPS: readonly CrashKeeps[] = ['any', 'any', 'any', 'all', 'none', 'newest'];
/** Crashes while the store comes back, one after the other. */
const CRASHES_IN_RECOVERY_MAX = 3;

/** Plays it. @throws Violation, or whatever an assertion of the store throws; its message begins with the command that replays it */
export async function runPlay(options: PlayOptions): Promise<PlayReport> {
  const play = new Play(options);
  const rejections = watchRejections();
  let step = 0;
  try {
    await play.begin();
    for (; step < options.steps; step += 1) {
      await play.step();
      rejections.check();
    }
    await play.end();
    rejections.check();
    return play.report();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new Violation(`npm run sim -- ${replayArguments(options, play.profile)} : step ${step}: ${text}`, { cause: error });
  } finally {
    rejections.stop();
  }
}

function replayArguments({ seed, steps, profile }: PlayOptions, played: Profile): string {
  return `--seed ${seed} --steps ${steps}${profile === undefined ? '' : ` --profile ${played}`}`;
}

class Play {
  readonly profile: Profile;
  readonly #options: PlayOptions;
  readonly #random: SeededRandom;
  readonly #world: World;
  readonly #model = new Model();
  readonly #faults: FaultPlanner;
  readonly #promises: Promises;
  readonly #work: Work;
  /** What the next start has to find. */
  #expected: readonly Expectation[] = [];
  #recoveries = 0;
  #foundAgain = 0;
  #evictions = 0;
  #checkpoints = 0;
  #loadingHits = 0;

  constructor(options: PlayOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    this.profile = options.profile ?? profileOf(this.#random);
    const shape = shapeOf(this.#random);
    this.#world = new World({ stage: options.stage, random: this.#random, shape, log: options.log ?? (() => undefined) });
    this.#faults = new FaultPlanner(this.#world, this.profile);
    this.#work = new Work(this.#world, this.#model, this.profile);
    this.#promises = DISK_PROMISES[this.profile];
    this.#world.onLoading = (mount) => this.#work.askWhileLoading(mount);
    this.#world.onCrash = () => {
      if (this.#world.mount !== undefined) this.#expected = this.#model.expectations(this.#world.mount.store);
    };
  }

  async begin(): Promise<void> {
    this.#world.note(`seed ${this.#options.seed}, profile ${this.profile}, ${JSON.stringify(this.#world.shape)}`);
    await this.#world.format();
    await this.#world.open();
  }

  async step(): Promise<void> {
    const { mount } = this.#world;
    if (mount === undefined) throw new Error('a step begins mounted');
    const choice = this.#random.integerBelow(100);
    if (choice < 2) this.#world.planCrash(1 + this.#random.integerBelow(60), this.#keeps());
    else if (choice < 4) this.#world.planCrash(1 + this.#random.integerBelow(20), this.#keeps(), true);
    else if (choice < 6) this.#world.crash(this.#keeps());
    else if (choice < 8) await this.#restart(mount);
    else if (choice < 10) this.#work.burst(mount);
    else if (choice < 17) this.#faults.plan();
    else this.#work.begin(mount);
    for (let events = this.#random.integerBelow(12); events > 0 && !this.#world.hasCrashed; events -= 1)
      await this.#world.stage.clock.step();
    if (this.#world.hasCrashed) await this.#recover();
    else if (this.#world.mount === mount && mount.store.state !== 'online') await this.#replaceDegraded(mount);
    this.#checkInvariants();
  }

  async end(): Promise<void> {
    this.#world.planCrash(undefined);
    if (this.#world.mount !== undefined) await this.#restart(this.#world.mount);
    if (this.#world.mount !== undefined) await this.#finish(this.#world.mount);
  }

  report(): PlayReport {
    const { disk } = this.#world;
    return {
      seed: this.#options.seed,
      profile: this.profile,
      steps: this.#options.steps,
      traceHash: this.#world.traceHash,
      operations: disk.counts.read + disk.counts.write + disk.counts.flush,
      crashes: disk.struck.get('crash') ?? 0,
      recoveries: this.#recoveries,
      foundAgain: this.#foundAgain,
      purges: this.#work.purges,
      hits: this.#work.hits,
      bytesChecked: this.#model.bytesChecked,
      evictions: this.#evictions,
      checkpoints: this.#checkpoints,
      loadingHits: this.#loadingHits,
      struck: Object.fromEntries(disk.struck),
    };
  }

  #keeps(): CrashKeeps {
    return KEEPS[this.#random.integerBelow(KEEPS.length)] ?? 'any';
  }

  /** Closes in order and opens again; work in progress finds the door closed. */
  async #restart(mount: Mount): Promise<void> {
    this.#world.note('restart');
    if (this.#random.integerBelow(3) > 0) await this.#world.wait(this.#work.idle(), 'work in progress');
    await this.#finish(mount);
    if (this.#world.mount === undefined) await this.#reopen();
  }

  /** The store has given the device up, or writes no more: somebody mends the disk and starts anew. */
  async #replaceDegraded(mount: Mount): Promise<void> {
    demand(!this.#promises.isHealthy, () => `the store is ${mount.store.state} on a healthy disk`);
    if (this.#random.integerBelow(8) > 0) return;
    await this.#restart(mount);
  }

  /** Ends a mount in order, and everything that still works with it; what is expected of the next one is known afterwards. */
  async #finish(mount: Mount): Promise<void> {
    this.#faults.end();
    const wasOnline = mount.store.state === 'online';
    this.#expected = this.#model.expectations(mount.store);
    await this.#endMount(mount);
    const isClean = wasOnline && !this.#world.hasCrashed && !mount.complaints.some((line) => line.includes('not closed cleanly'));
    if (isClean) this.#expected = this.#model.close(mount.store, { hasLostRecords: countLost(mount) > 0 });
    else this.#model.crash(this.#expected);
    this.#world.hasCrashed = false;
    this.#world.note(`closed ${isClean ? 'cleanly' : 'somehow'}`);
  }

  /** The power failed inside a step. */
  async #recover(): Promise<void> {
    const { mount } = this.#world;
    this.#faults.end();
    if (mount !== undefined) await this.#endMount(mount);
    this.#model.crash(this.#expected);
    this.#world.hasCrashed = false;
    if (this.#world.mount === undefined) await this.#reopen();
  }

  async #endMount(mount: Mount): Promise<void> {
    await this.#world.closeMount(mount);
    await this.#world.wait(this.#work.idle(), 'work in progress');
    this.#world.planCrash(undefined);
    demandNoLeases(this.#world.stage.arena, 'after the close');
    const { metrics } = mount.store;
    this.#evictions += metrics.value('evicted', 'blocks') + metrics.value('evicted', 'entries');
    this.#checkpoints += metrics.value('checkpoints');
    this.#loadingHits += metrics.value('loadingHits');
  }

  /** Opens what the last mount left; the power may fail meanwhile, more than once. */
  async #reopen(): Promise<void> {
    const expected = this.#expected;
    for (let crashes = 0; this.#world.mount === undefined; crashes += 1) {
      const mayCrash = crashes < CRASHES_IN_RECOVERY_MAX && this.#random.integerBelow(3) === 0;
      this.#world.planCrash(mayCrash ? 1 + this.#random.integerBelow(25) : undefined, this.#keeps());
      try {
        await this.#world.open();
      } catch (error) {
        if (!this.#world.hasCrashed) await this.#replaceRotten(error);
      }
      const { mount } = this.#world;
      if (this.#world.hasCrashed && mount !== undefined) await this.#endMount(mount);
      this.#world.hasCrashed = false;
    }
    this.#world.planCrash(undefined);
    this.#recoveries += 1;
    await this.#verify(this.#world.mount, expected);
  }

  /** A disk whose root is beyond reading is refused, and formatted anew by its operator. */
  async #replaceRotten(error: unknown): Promise<void> {
    const isRefusal = error instanceof EdgeError && ['FORMAT_DAMAGED', 'FORMAT_VERSION', 'DEVICE_TRUNCATED'].includes(error.code);
    if (!isRefusal || this.profile !== 'rotten') throw error;
    this.#world.note(`formatted anew: ${error.message}`);
    this.#model.forgetAll();
    await this.#world.format();
  }

  /** After a start: nothing is back that must not be, everything is there that must be. */
  async #verify(mount: Mount, expected: readonly Expectation[]): Promise<void> {
    const { store } = mount;
    demand(!this.#promises.isHealthy || store.state === 'online', () => `the store is ${store.state} after a start on a healthy disk`);
    this.#checkInvariants();
    if (this.#promises.isOrderKept) this.#work.judgeAll(mount);
    if (!this.#promises.isFoundAgain || store.state !== 'online') return;
    // Objects under a purge by prefix or tag leave the index without a record; replay has them still, and may have to give up others.
    const isExcused = store.metrics.value('recoveryDropped', 'surplus') > 0;
    for (const { version, sliceNumbers } of expected) {
      if (isExcused && this.#model.forgetLost(version, store)) continue;
      const name = `${version.keyText}/${version.generation}`;
      demand(store.extentState(version.generation) !== 'absent', () => `${name} was durable and is lost`);
      for (const sliceNumber of sliceNumbers) {
        if (!version.durable.has(sliceNumber)) continue;
        demand(store.extentState(version.generation, sliceNumber) !== 'absent', () => `${name}/${sliceNumber} was durable and is lost`);
        await this.#world.wait(this.#work.mustRead(mount, version, sliceNumber), 'reading what was durable');
        this.#foundAgain += 1;
      }
      await this.#world.wait(this.#work.mustReadManifest(mount, version), 'reading what was durable');
      this.#foundAgain += 1;
    }
  }

  #checkInvariants(): void {
    const { mount, shape } = this.#world;
    if (mount === undefined) return;
    const { store } = mount;
    const contradiction = store.findContradiction();
    demand(contradiction === undefined, () => `contradiction: ${contradiction}`);
    const { usage, metrics } = store;
    demand(usage.entries <= usage.entriesMax && usage.entriesMax === shape.entryCount, 'entries are bounded');
    demand(metrics.value('queuedSlices') <= (shape.limits.queueSlices ?? 0), 'the write queue is bounded');
    demand(metrics.value('pendingManifests') <= (shape.limits.pendingManifests ?? 0), 'waiting manifests are bounded');
    demand(metrics.value('journalBlocks') <= shape.journalBlocks, 'the journal is bounded');
    if (!this.#promises.isHealthy) return;
    demand(metrics.value('reads', 'corrupt') === 0, 'nothing is corrupt on a healthy disk');
    const errors = (['read', 'write', 'flush'] as const).reduce((sum, operation) => sum + metrics.value('deviceErrors', operation), 0);
    demand(errors === 0 || this.#world.hasCrashed, 'a healthy disk reports no errors');
  }
}
