/**
 * The origin's side of the torture: objects of every kind, all versions that they ever had, what the origin did wrong and when, and the
 * oldest version that may still be served after a purge. Clients judge what they get against it.
 */
import type { SeededRandom } from '../../src/base/random.ts';
import { Origin } from '../helpers/origin.ts';
import { objectEtag, variantName } from '../helpers/origin-answer.ts';
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
  'by-language',
  'by-language',
  'by-encoding',
  'moved',
  'missing',
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
  /** Accept-Encoding as the origin was sent it. */
  readonly #encodingsAsked = new Set<string>();
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

  /** Request fields that select among the variants of an object; often none of them. */
  selectingFields({ kind }: Subject): Record<string, string> {
    if (kind === 'by-language' && this.chance(800)) return { 'accept-language': this.pick(['de', 'en', 'fr']) };
    if (kind === 'by-encoding' && this.chance(800)) return { 'accept-encoding': this.pick(['gzip', 'br']) };
    return {};
  }

  /** Names of the bodies that a request with these fields may be given. */
  bodyNames({ path, kind }: Subject, headers: Readonly<Record<string, string>>): readonly string[] {
    const { varyOn } = DEFINITIONS[kind];
    if (varyOn === undefined) return [path];
    if (kind === 'by-language') return [variantName(path, headers, varyOn)];
    // The cache asks in words of its own, and content that is not encoded suits everybody (RFC 9110 s12.5.3).
    return [...this.#encodingsAsked].map((asked) => `${path}|${asked}`);
  }

  /** The honest tag of what such a request selects now. */
  tag(subject: Subject, headers: Readonly<Record<string, string>>): string {
    const identity = { name: this.bodyNames(subject, headers)[0] ?? subject.path, version: this.current(subject).number };
    return objectEtag({ definition: DEFINITIONS[subject.kind], identity }) ?? '"none-such"';
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
      cacheControl: this.pick([
        'max-age=3600',
        'max-age=3600',
        'max-age=3600',
        'max-age=1',
        'max-age=1, stale-while-revalidate=30',
        'max-age=1, stale-if-error=600',
        'no-cache',
        'max-age=60, must-revalidate',
      ]),
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
    this.#encodingsAsked.add(request.headers['accept-encoding'] ?? '-');
    const base = BASE_MISBEHAVIOURS[subject.kind] ?? {};
    if (!this.chance(this.faultsPerMille)) return this.chance(30) ? { ...base, splitHead: true } : base;
    const plan = this.#plan(subject);
    if (plan.isHarmless !== true) this.excuse(subject);
    // What comes behind a response may be taken for the beginning of the next one on that connection, whatever is asked there.
    if (plan.misbehaviour.extraBytes !== undefined) for (const other of this.subjects) this.excuse(other);
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
        // Not `wrong-total`: a length that nothing contradicts is believed.
        misbehaviour: { contentRange: this.pick(['missing', 'unknown-total', 'wrong-start', 'wrong-end', 'garbage']) },
        isLie: true,
      }),
      () => ({ misbehaviour: { partLengthDeltaBytes: this.pick([-1, 1, -100, 100]) }, isLie: true }),
      () => ({ misbehaviour: { multipart: true }, isLie: true }),
      // Without a length all that comes is the body.
      () => ({ misbehaviour: subject.kind in BASE_MISBEHAVIOURS && subject.kind !== 'rangeless' ? {} : { extraBytes: 10 }, isLie: true }),
      // Less than was asked for, which is allowed (RFC 9110 s15.3.7).
      () => ({
        misbehaviour: {
          interval: (asked) =>
            asked === undefined ? undefined : { start: asked.start, end: asked.start + Math.ceil((asked.end - asked.start) / 2) },
        },
        isLie: true,
      }),
      () => ({ misbehaviour: { status: this.pick([500, 502, 503]) } }),
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
  'by-language': { varyOn: ['accept-language'] },
  'by-encoding': { varyOn: ['accept-encoding'] },
  moved: {},
  missing: {},
};

/** What is always answered with a status and its short text. */
export const TEXT_ANSWERS: Readonly<Partial<Record<Kind, { readonly status: number; readonly redirectTo?: string }>>> = {
  moved: { status: 307, redirectTo: '/somewhere/else' },
  missing: { status: 404 },
};

const TEXT_FIELDS = { 'Cache-Control': 'max-age=2' };

const BASE_MISBEHAVIOURS: Readonly<Partial<Record<Kind, Misbehaviour>>> = {
  chunked: { chunked: true, ignoreRange: true },
  'chunked-weak': { chunked: 3000, ignoreRange: true },
  closing: { closeDelimited: true, ignoreRange: true },
  rangeless: { ignoreRange: true },
  moved: { ...TEXT_ANSWERS.moved, headers: TEXT_FIELDS },
  missing: { ...TEXT_ANSWERS.missing, headers: TEXT_FIELDS },
};

/** Whether it is always answered with a status and its short text. */
export function isText(kind: Kind): boolean {
  return kind in TEXT_ANSWERS;
}

/**
 * Whether missing bytes of it can be had again for certain. Content that came unencoded for `br` is completed with what comes for `identity`,
 * which real origins give the same tag and `by-encoding` does not.
 */
export function isStrong(kind: Kind): boolean {
  return kind !== 'weak' && kind !== 'bare' && kind !== 'chunked-weak' && kind !== 'by-encoding';
}
