/**
 * The origin's side of the torture: objects of every kind, all versions that they ever had, what the origin did wrong and when, and the
 * oldest version that may still be served after a purge. Clients judge what they get against it.
 */
import type { SeededRandom } from '../../src/base/random.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour, ObjectDefinition, OriginRequest } from '../helpers/origin-script.ts';

/** How an object is offered by its origin. */
export const KINDS = [
  'strong',
  'strong',
  'strong',
  'dated',
  'weak',
  'bare',
  'chunked',
  'chunked-weak',
  'closing',
  'rangeless',
  'no-store',
] as const;
export type Kind = (typeof KINDS)[number];

/** One version of an object. */
export interface Version {
  readonly number: number;
  readonly lengthBytes: number;
}

/** An object with its past. */
export interface Subject {
  readonly path: string;
  readonly kind: Kind;
  readonly versions: Version[];
  /** Versions before this one may not answer a request that begins now: a purge was acknowledged. */
  oldestServable: number;
  /** Monotonic time at which something happened that excuses a broken response. */
  excusedUntilMs: number;
  /** Whether a head that lies may reach clients past the cache. */
  liedUntilMs: number;
}

/** Faults combined with an object's kind for one response. `isLie`: the head says what is not so. */
interface Plan {
  readonly misbehaviour: Misbehaviour;
  readonly isLie?: boolean;
  readonly isHarmless?: boolean;
}

/** For how long after a fault a broken response is taken to come from it. */
const EXCUSE_MS = 8000;

export interface WorldOptions {
  readonly random: SeededRandom;
  readonly sliceBytes: number;
  readonly subjects: number;
  readonly slicesMax: number;
}

/** Objects and their origin. */
export class World {
  readonly subjects: Subject[] = [];
  readonly random: SeededRandom;
  readonly #options: WorldOptions;
  origin!: Origin;
  /** Of 1000 responses, how many go wrong. */
  faultsPerMille = 0;

  private constructor(options: WorldOptions) {
    this.random = options.random;
    this.#options = options;
  }

  static async start(options: WorldOptions): Promise<World> {
    const world = new World(options);
    world.origin = await Origin.start({ improvise: (request) => world.#improvise(request) });
    for (let number = 0; number < options.subjects; number += 1) {
      const kind = world.pick(KINDS);
      const subject: Subject = { path: `/${kind}/${number}`, kind, versions: [], oldestServable: 1, excusedUntilMs: 0, liedUntilMs: 0 };
      world.subjects.push(subject);
      world.#place(subject, 1);
    }
    return world;
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.random.integerBelow(items.length)]!;
  }

  chance(perMille: number): boolean {
    return this.random.integerBelow(1000) < perMille;
  }

  current(subject: Subject): Version {
    return subject.versions.at(-1)!;
  }

  excuse(subject: Subject): void {
    subject.excusedUntilMs = performance.now() + EXCUSE_MS;
  }

  /** A new version takes the place of the present one. */
  change(subject: Subject): void {
    this.excuse(subject);
    this.#place(subject, this.current(subject).number + 1);
  }

  #place(subject: Subject, number: number): void {
    const lengthBytes = this.#length();
    subject.versions.push({ number, lengthBytes });
    this.origin.setObject(subject.path, { ...DEFINITIONS[subject.kind], lengthBytes, version: number, ...this.#freshness(subject) });
  }

  #freshness(subject: Subject): ObjectDefinition {
    if (subject.kind === 'no-store') return { cacheControl: 'no-store' };
    return {
      cacheControl: this.pick(['max-age=3600', 'max-age=3600', 'max-age=3600', 'max-age=1', 'no-cache', 'max-age=60, must-revalidate']),
    };
  }

  #length(): number {
    const { sliceBytes, slicesMax } = this.#options;
    const choice = this.random.integerBelow(12);
    if (choice < 6) return [0, 1, sliceBytes - 1, sliceBytes, sliceBytes + 1, 4096][choice]!;
    if (choice < 8) return this.random.integerBelow(sliceBytes * 2);
    return this.random.integerBelow(sliceBytes * slicesMax);
  }

  #improvise(request: OriginRequest): Misbehaviour {
    const subject = this.subjects.find(({ path }) => path === request.path);
    if (subject === undefined) return {};
    const base = BASE_MISBEHAVIOURS[subject.kind] ?? {};
    if (!this.chance(this.faultsPerMille)) return this.chance(30) ? { ...base, splitHead: true } : base;
    const plan = this.#plan(subject);
    if (plan.isHarmless !== true) this.excuse(subject);
    if (plan.isLie === true) subject.liedUntilMs = performance.now() + EXCUSE_MS;
    return { ...base, ...plan.misbehaviour };
  }

  #plan(subject: Subject): Plan {
    const { random } = this;
    const { lengthBytes } = this.current(subject);
    const somewhere = random.integerBelow(lengthBytes + 1);
    const isCloseDelimited = subject.kind === 'closing';
    const plans: readonly (() => Plan)[] = [
      () => ({ misbehaviour: { resetAfterBytes: somewhere } }),
      () => ({ misbehaviour: { resetAfterBytes: random.integerBelow(lengthBytes + 1) } }),
      // The end of such a body cannot be told from a cut.
      () => ({ misbehaviour: isCloseDelimited ? { resetAfterBytes: somewhere } : { closeAfterBytes: somewhere } }),
      () => ({ misbehaviour: { raw: '', rawThen: this.pick(['close', 'reset']) } }),
      () => ({ misbehaviour: { dropAfterResponse: true }, isHarmless: true }),
      () => ({ misbehaviour: { connectionClose: true }, isHarmless: true }),
      () => ({ misbehaviour: { bytesPerSecond: Math.max(64 * 1024, lengthBytes) }, isHarmless: true }),
      () => ({ misbehaviour: { interim: [103] }, isHarmless: true }),
      () => ({ misbehaviour: { headBytes: 8000 }, isHarmless: true }),
      () => ({ misbehaviour: { ignoreRange: true } }),
      () => ({ misbehaviour: { ignoreConditions: true }, isHarmless: true }),
      () => ({ misbehaviour: { chunked: 5000 }, isHarmless: true }),
      () => ({
        misbehaviour: { contentRange: this.pick(['missing', 'unknown-total', 'wrong-start', 'wrong-end', 'wrong-total', 'garbage']) },
        isLie: true,
      }),
      () => ({ misbehaviour: { partLengthDeltaBytes: this.pick([-1, 1, -100, 100]) }, isLie: true }),
      () => ({ misbehaviour: { multipart: true }, isLie: true }),
      // Without a length all that comes is the body.
      () => ({ misbehaviour: subject.kind in BASE_MISBEHAVIOURS && subject.kind !== 'rangeless' ? {} : { extraBytes: 10 }, isLie: true }),
      () => ({ misbehaviour: { validators: this.pick(['none', 'weak', 'changing']) } }),
      () => ({ misbehaviour: { headers: { 'X-Lately': `${random.integerBelow(1000)}` } }, isHarmless: true }),
      () => ({ misbehaviour: this.chance(250) ? { status: this.pick([500, 503, 404]) } : { splitHead: true } }),
      () => {
        this.change(subject);
        return { misbehaviour: {} };
      },
    ];
    return this.pick(plans)();
  }
}

const DEFINITIONS: Readonly<Record<Kind, ObjectDefinition>> = {
  strong: {},
  dated: { etag: 'none' },
  weak: { etag: 'weak', lastModified: 'none' },
  bare: { etag: 'none', lastModified: 'none' },
  chunked: {},
  'chunked-weak': { etag: 'weak', lastModified: 'none' },
  closing: {},
  rangeless: {},
  'no-store': {},
};

const BASE_MISBEHAVIOURS: Readonly<Partial<Record<Kind, Misbehaviour>>> = {
  chunked: { chunked: true, ignoreRange: true },
  'chunked-weak': { chunked: 3000, ignoreRange: true },
  closing: { closeDelimited: true, ignoreRange: true },
  rangeless: { ignoreRange: true },
};

/** Whether missing bytes of it can be had again for certain. */
export function isStrong(kind: Kind): boolean {
  return kind !== 'weak' && kind !== 'bare' && kind !== 'chunked-weak';
}
