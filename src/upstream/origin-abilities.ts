/**
 * What origins have shown that they can and cannot do, by *place*: an origin and the first segment of the path, since one host may put several
 * servers behind its paths. A place that ignores ranges, or whose nodes give one object different tags, is believed to do so for a while and
 * then tried again. Bounded; the place that was seen longest ago is forgotten first. Fills tell and ask; the admin port shows.
 */
import type { Clock } from '../base/clock.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { PLACE_MARKS, UPSTREAM_METRICS } from './upstream-metrics.ts';

/** What is known of a place, for people. Times are wall-clock milliseconds. */
export interface PlaceFacts {
  /** `host[:port]/segment/` */
  readonly place: string;
  readonly answers: number;
  /** Whether ranges are answered with parts; undefined while nobody has asked for one. */
  readonly answersRanges: boolean | undefined;
  /** Until when no ranges are asked for, because they were ignored. */
  readonly rangelessUntilMs: number | undefined;
  /** What a range past the end is answered with. */
  readonly pastEnd: 200 | 416 | undefined;
  /** Whether the last answer left its connection open. */
  readonly keepsAlive: boolean;
  /** Answers in which an object of the same date and length had another strong tag. */
  readonly tagFlaps: number;
  /** Until when tags are not relied on, because they differed between nodes. */
  readonly tagsFlapUntilMs: number | undefined;
}

type PlaceMark = (typeof PLACE_MARKS)[number];

const PLACES_MAX = 1024;
/** A mark needs as many in a row, none of them longer before the next than a mark lasts: one odd object says nothing of its neighbours. */
const STREAK = 3;
/** How long a place is marked. */
const MARK_MS = 10 * 60_000;

interface Place {
  answers: number;
  answersRanges: boolean | undefined;
  pastEnd: 200 | 416 | undefined;
  keepsAlive: boolean;
  tagFlaps: number;
  readonly streaks: Record<PlaceMark, number>;
  /** When the streak last grew; this and the next by the monotonic clock. */
  readonly lastMs: Record<PlaceMark, number>;
  readonly untilMs: Record<PlaceMark, number>;
}

/** The place of a target. @param authority of the origin; @param path origin-form */
export function placeOf(authority: string, path: string): string {
  return `${authority}${/^\/(?:[^/?]*\/)?/.exec(path)?.[0] ?? '/'}`;
}

/** What one proxy has learnt. */
export class OriginAbilities {
  readonly #clock: Clock;
  readonly #metrics: MetricSet<typeof UPSTREAM_METRICS>;
  /** The place that was seen last comes last. */
  readonly #places = new Map<string, Place>();

  constructor(clock: Clock, metrics: MetricSet<typeof UPSTREAM_METRICS>) {
    this.#clock = clock;
    this.#metrics = metrics;
    metrics.setGauge('places', () => this.#places.size);
  }

  /** A response head came. */
  noteAnswer(name: string, keepsAlive: boolean): void {
    const place = this.#place(name);
    place.answers += 1;
    place.keepsAlive = keepsAlive;
  }

  /** A range that is less than everything was answered with a part, or with everything. */
  noteRange(name: string, isAnswered: boolean): void {
    const place = this.#place(name);
    place.answersRanges = isAnswered;
    if (isAnswered) place.streaks.rangeless = 0;
    else this.#hold(place, 'rangeless');
  }

  /** A range past the end was asked for. */
  notePastEnd(name: string, status: 200 | 416): void {
    this.#place(name).pastEnd = status;
  }

  /** An object of the same date and length has another strong tag now. */
  noteTagFlap(name: string): void {
    const place = this.#place(name);
    place.tagFlaps += 1;
    this.#hold(place, 'tags-flap');
  }

  /** Ranges asked for here are likely to be answered with everything. */
  isRangeless(name: string): boolean {
    return this.#isMarked(name, 'rangeless');
  }

  /** A tag that differs here says little: parts with different tags come from different nodes. */
  areTagsFlapping(name: string): boolean {
    return this.#isMarked(name, 'tags-flap');
  }

  /** All places, the one that was seen last first. */
  list(): readonly PlaceFacts[] {
    const nowMs = this.#clock.monotonicMs();
    const wallMs = this.#clock.wallMs();
    const until = (untilMs: number): number | undefined => (untilMs > nowMs ? Math.round(wallMs + untilMs - nowMs) : undefined);
    return [...this.#places].reverse().map(([place, { answers, answersRanges, pastEnd, keepsAlive, tagFlaps, untilMs }]) => ({
      place,
      answers,
      answersRanges,
      rangelessUntilMs: until(untilMs.rangeless),
      pastEnd,
      keepsAlive,
      tagFlaps,
      tagsFlapUntilMs: until(untilMs['tags-flap']),
    }));
  }

  #isMarked(name: string, mark: PlaceMark): boolean {
    const untilMs = this.#places.get(name)?.untilMs[mark];
    return untilMs !== undefined && this.#clock.monotonicMs() < untilMs;
  }

  #hold(place: Place, mark: PlaceMark): void {
    const nowMs = this.#clock.monotonicMs();
    place.streaks[mark] = nowMs - place.lastMs[mark] > MARK_MS ? 1 : place.streaks[mark] + 1;
    place.lastMs[mark] = nowMs;
    if (place.streaks[mark] < STREAK) return;
    place.streaks[mark] = 0;
    place.untilMs[mark] = nowMs + MARK_MS;
    this.#metrics.add('placeMarks', 1, mark);
  }

  #place(name: string): Place {
    const known = this.#places.get(name);
    const place = known ?? {
      answers: 0,
      answersRanges: undefined,
      pastEnd: undefined,
      keepsAlive: true,
      tagFlaps: 0,
      streaks: { rangeless: 0, 'tags-flap': 0 },
      lastMs: { rangeless: 0, 'tags-flap': 0 },
      untilMs: { rangeless: 0, 'tags-flap': 0 },
    };
    this.#places.delete(name);
    this.#places.set(name, place);
    const [oldest] = this.#places.keys();
    if (this.#places.size > PLACES_MAX && oldest !== undefined) {
      this.#places.delete(oldest);
      this.#metrics.add('placesForgotten');
    }
    return place;
  }
}
