/** `rateLimit`: so many requests in a time, by a token bucket for each client or another key; 429 past it, and fields that tell clients how they stand. */
import { BlockList, isIPv6 } from 'node:net';
import type { OptionFault, OptionValues } from '../../base/module-options.ts';
import { formatSfString } from '../../http/cache-status.ts';
import type { AnswerHead, EarlyAnswer, Exchange, Middleware, MiddlewareModule, MiddlewareServices } from '../middleware.ts';
import { BucketMemory, type TokenBucket } from './token-bucket.ts';

const OPTIONS = {
  requests: { kind: 'count', isRequired: true, min: '1', max: '1000000000', meaning: 'Requests in the time of `per`, on the average' },
  per: { kind: 'duration', default: '1s', min: '1ms', max: '1d', meaning: 'That time' },
  burst: { kind: 'count', min: '1', max: '1000000000', meaning: 'Requests that may come at once; left out: as `requests`' },
  by: {
    kind: 'choice',
    choices: ['client', 'header', 'path', 'all'],
    default: 'client',
    meaning:
      'Who has a bucket: each client (address, or /64 of IPv6), each value of `header` (who sends none counts as client), each path, or all together',
  },
  header: { kind: 'name', meaning: 'Field of requests, for `by: header`' },
  exempt: { kind: 'networks', meaning: 'Clients that are not limited' },
  keys: {
    kind: 'count',
    default: '65536',
    min: '1',
    max: '10000000',
    meaning: 'Buckets that are remembered; past it, the one used longest ago is forgotten',
  },
  tell: {
    kind: 'boolean',
    default: 'true',
    meaning: 'Whether answers have `RateLimit` and `RateLimit-Policy`; 429 always has `Retry-After`',
  },
} as const;

type Options = OptionValues<typeof OPTIONS>;
type Event = 'limited' | 'evicted';

/** Longer ones count as what they begin with. */
const KEY_CHARACTERS_MAX = 256;

/** The module. */
export const RATE_LIMIT: MiddlewareModule<typeof OPTIONS, Event> = {
  interfaceVersion: 1,
  options: OPTIONS,
  events: ['limited', 'evicted'],
  check: ({ by, header }): readonly OptionFault[] => {
    if (by === 'header' && header === undefined) return [{ option: 'by', message: 'needs header: the name of the field' }];
    return header !== undefined && by !== 'header' ? [{ option: 'header', message: 'is for by: header' }] : [];
  },
  create: (options, services) => new RateLimit(options, services),
};

class RateLimit implements Middleware {
  readonly #options: Options;
  readonly #services: MiddlewareServices<Event>;
  readonly #memory: BucketMemory;
  readonly #exempt: BlockList | undefined;
  readonly #policy: string;
  /** Of requests in progress. */
  readonly #buckets = new WeakMap<Exchange, TokenBucket>();

  constructor(options: Options, services: MiddlewareServices<Event>) {
    const { requests, per, burst = requests, keys, exempt } = options;
    this.#options = options;
    this.#services = services;
    this.#memory = new BucketMemory({
      shape: { perSecond: (requests * 1000) / per, capacity: burst },
      max: keys,
      nowMs: services.monotonicMs,
      onLoss: () => services.count('evicted'),
    });
    if (exempt !== undefined) {
      this.#exempt = new BlockList();
      for (const { address, prefixBits, family } of exempt) this.#exempt.addSubnet(address, prefixBits, family);
    }
    // draft-ietf-httpapi-ratelimit-headers-10 s3: quota, and window in whole seconds.
    this.#policy = `${formatSfString(services.name)};q=${burst};w=${Math.max(1, Math.ceil((burst * per) / requests / 1000))}`;
  }

  get entryCount(): number {
    return this.#memory.size;
  }

  onRequest(exchange: Exchange): EarlyAnswer | undefined {
    if (this.#isExempt(exchange.clientAddress)) return undefined;
    const nowMs = this.#services.monotonicMs();
    const bucket = this.#memory.of(this.#keyOf(exchange), nowMs);
    this.#buckets.set(exchange, bucket);
    if (bucket.tryTake(1, nowMs)) return undefined;
    this.#services.count('limited');
    const seconds = Math.max(1, Math.ceil(bucket.waitFor(1, nowMs) / 1000));
    return { status: 429, fields: [['retry-after', String(seconds)]], text: 'Too many requests; wait as long as Retry-After says\n' };
  }

  onResponse(exchange: Exchange, head: AnswerHead): void {
    const bucket = this.#buckets.get(exchange);
    if (!this.#options.tell || bucket === undefined) return;
    const nowMs = this.#services.monotonicMs();
    const { requests, burst = requests } = this.#options;
    const resetSeconds = Math.ceil(bucket.waitFor(burst, nowMs) / 1000);
    head.set('ratelimit-policy', this.#policy);
    head.set('ratelimit', `${formatSfString(this.#services.name)};r=${Math.max(0, Math.floor(bucket.level(nowMs)))};t=${resetSeconds}`);
  }

  #keyOf(exchange: Exchange): string {
    const { by, header } = this.#options;
    const value = by === 'header' && header !== undefined ? exchange.field(header) : undefined;
    // Kinds of keys are told apart, so that nobody can take the bucket of another by naming it.
    if (value !== undefined) return `h ${value.slice(0, KEY_CHARACTERS_MAX)}`;
    if (by === 'all') return 'all';
    return by === 'path' ? `p ${exchange.path.slice(0, KEY_CHARACTERS_MAX)}` : `c ${exchange.clientNetwork}`;
  }

  #isExempt(address: string | undefined): boolean {
    return address !== undefined && this.#exempt?.check(address, isIPv6(address) ? 'ipv6' : 'ipv4') === true;
  }
}
