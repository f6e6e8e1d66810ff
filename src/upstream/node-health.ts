/**
 * What the answers of a node say about it (passive health, with the states of a circuit breaker), and what its checks say (active health). One that failed
 * rests: it is left alone, twice as long after each further failure, and then has to answer one request before it gets others. Pure but for the clock.
 *
 *   well -> resting -> probed -> well        resting: open; probed: half open, one request at a time; a failure brings a longer rest
 *     `-----> down -----> well               by checks alone: `fall` in a row that fail, then `rise` that do not
 */
import type { Clock } from '../base/clock.ts';

/** When a node is left alone because of its answers. */
export interface OutlierLimits {
  /** Failures in a row, at least 1. */
  readonly failuresMax: number;
  /** Failures among the last RECENT requests, in percent; 0: not looked at. */
  readonly errorPercent: number;
  /** How many times slower than the median of the group, by the time to the head; 0: not looked at. */
  readonly slowFactor: number;
  readonly restMs: number;
  readonly restMsMax: number;
}

/** Requests that the share of errors is taken of. */
const RECENT = 50;
/** Answers that a node must have given before it is called slow. */
const SLOW_SAMPLES_MIN = 10;
/** A head that comes within this time is never slow. */
const SLOW_MS_MIN = 20;
/** Share of the newest answer in the mean time to the head. */
const LATENCY_SHARE = 0.1;

/** For people and for the balancer. */
export type NodeState = 'well' | 'resting' | 'probed' | 'down';

/** The health of one node. */
export class NodeHealth {
  readonly #clock: Clock;
  readonly #limits: OutlierLimits;
  readonly #onChange: (state: NodeState, why: string) => void;
  /** Failures in a row, and rests in a row. */
  #failures = 0;
  #rests = 0;
  #restUntilMs = 0;
  #isProbed = false;
  /** It began an answer as it should since it rested last. */
  #isProved = true;
  /** The last requests, true for those that failed. */
  readonly #recent: boolean[] = [];
  #latencyMs = 0;
  #samples = 0;
  #isDown = false;
  #checksInRow = 0;
  /** When it came, or came back. */
  #sinceMs: number;

  constructor(clock: Clock, limits: OutlierLimits, onChange: (state: NodeState, why: string) => void) {
    this.#clock = clock;
    this.#limits = limits;
    this.#onChange = onChange;
    this.#sinceMs = clock.monotonicMs();
  }

  get state(): NodeState {
    if (this.#isDown) return 'down';
    if (this.#isProved) return 'well';
    return this.#isProbed || this.#clock.monotonicMs() >= this.#restUntilMs ? 'probed' : 'resting';
  }

  /** Whether it should get a request now. */
  get isAvailable(): boolean {
    const { state } = this;
    return state === 'well' || (state === 'probed' && !this.#isProbed);
  }

  /** Mean time to the head; undefined while too little is known. */
  get latencyMs(): number | undefined {
    return this.#samples < SLOW_SAMPLES_MIN ? undefined : this.#latencyMs;
  }

  /** How long it has been well without a break. */
  get wellForMs(): number {
    return this.#clock.monotonicMs() - this.#sinceMs;
  }

  /** Milliseconds of its rest that are left. */
  get restLeftMs(): number {
    return this.#isProved ? 0 : Math.max(0, this.#restUntilMs - this.#clock.monotonicMs());
  }

  noteRequest(): void {
    if (!this.#isProved) this.#isProbed = true;
  }

  /** A request is over that says nothing about the node. */
  noteNothing(): void {
    this.#isProbed = false;
  }

  /** It did not answer, or the answer says that it cannot. @param why for the log */
  noteFailure(why: string): void {
    this.#isProbed = false;
    this.#failures += 1;
    this.#remember(true);
    // What fails together with the first one says nothing new.
    if (this.#clock.monotonicMs() < this.#restUntilMs) return;
    if (!this.#isProved || this.#failures >= this.#limits.failuresMax || this.#hasTooManyErrors()) this.#rest(why);
  }

  /** It began an answer as it should. @param medianMs of the group, to compare with; undefined where nothing is to be compared */
  noteHead(latencyMs: number, medianMs: number | undefined): void {
    this.#samples += 1;
    this.#latencyMs += (latencyMs - this.#latencyMs) * (this.#samples === 1 ? 1 : LATENCY_SHARE);
    this.#isProbed = false;
    const { slowFactor } = this.#limits;
    const isSlow = slowFactor > 0 && medianMs !== undefined && this.latencyMs !== undefined && this.#latencyMs > slowFactor * medianMs;
    if (isSlow && this.#latencyMs > SLOW_MS_MIN && this.#isProved) {
      // Measured anew after the rest.
      this.#samples = 0;
      return this.#rest('slow');
    }
    if (!this.#isProved) this.#prove();
  }

  /** An answer came to its proper end: the rests before it are forgotten. */
  noteEnd(): void {
    this.#isProbed = false;
    this.#remember(false);
    if (!this.#isProved) this.#prove();
    if (!this.#isProved) return;
    this.#failures = 0;
    this.#rests = 0;
  }

  /** @param limits how many checks in a row make a difference */
  noteCheck(isPassed: boolean, limits: { readonly rise: number; readonly fall: number }): void {
    // Checks that say what is known already begin anew to count.
    this.#checksInRow = isPassed === this.#isDown ? this.#checksInRow + 1 : 0;
    if (this.#checksInRow < (this.#isDown ? limits.rise : limits.fall)) return;
    this.#checksInRow = 0;
    this.#isDown = !isPassed;
    if (isPassed) this.#sinceMs = this.#clock.monotonicMs();
    this.#onChange(this.state, 'checks');
  }

  /** What answers before its rest is over was asked before it failed. */
  #prove(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#restUntilMs) return;
    this.#isProved = true;
    this.#sinceMs = nowMs;
    this.#onChange('well', 'answers');
  }

  #rest(why: string): void {
    this.#isProved = false;
    const { restMs, restMsMax } = this.#limits;
    this.#restUntilMs = this.#clock.monotonicMs() + Math.min(restMsMax, restMs * 2 ** this.#rests);
    this.#rests += 1;
    this.#onChange('resting', why);
  }

  #remember(isFailure: boolean): void {
    if (this.#limits.errorPercent === 0) return;
    this.#recent.push(isFailure);
    if (this.#recent.length > RECENT) this.#recent.shift();
  }

  #hasTooManyErrors(): boolean {
    if (this.#limits.errorPercent === 0 || this.#recent.length < RECENT) return false;
    const failed = this.#recent.filter((isFailure) => isFailure).length;
    if (failed * 100 < this.#limits.errorPercent * RECENT) return false;
    this.#recent.length = 0;
    return true;
  }
}
