/** `bandwidth`: how fast bodies are sent: each response, all of a client together, all together. */
import type { OptionFault, OptionValues } from '../../base/module-options.ts';
import type { BodyPacer, Exchange, Middleware, MiddlewareModule, MiddlewareServices } from '../middleware.ts';
import { BucketMemory, TokenBucket } from './token-bucket.ts';

const OPTIONS = {
  perResponse: { kind: 'rate', min: '1k/s', meaning: 'Of each response' },
  perClient: { kind: 'rate', min: '1k/s', meaning: 'Of all responses of a client (address, or /64 of IPv6) together' },
  total: { kind: 'rate', min: '1k/s', meaning: 'Of all responses together' },
  burst: { kind: 'size', default: '256KiB', min: '1KiB', max: '1TiB', meaning: 'What is sent at full speed before that, for each of them' },
  keys: {
    kind: 'count',
    default: '16384',
    min: '1',
    max: '1000000',
    meaning: 'Clients that are remembered; past it, the one that came longest ago is forgotten',
  },
} as const;

type Options = OptionValues<typeof OPTIONS>;
type Event = 'evicted';

/** The module. */
export const BANDWIDTH: MiddlewareModule<typeof OPTIONS, Event> = {
  interfaceVersion: 1,
  options: OPTIONS,
  events: ['evicted'],
  check: ({ perResponse, perClient, total }): readonly OptionFault[] =>
    perResponse === undefined && perClient === undefined && total === undefined
      ? [{ message: 'limit nothing; give perResponse, perClient or total' }]
      : [],
  create: (options, services) => new Bandwidth(options, services),
};

class Bandwidth implements Middleware {
  readonly #options: Options;
  readonly #services: MiddlewareServices<Event>;
  readonly #clients: BucketMemory | undefined;
  readonly #all: TokenBucket | undefined;

  constructor(options: Options, services: MiddlewareServices<Event>) {
    const { perClient, total, burst, keys } = options;
    this.#options = options;
    this.#services = services;
    this.#all = total === undefined ? undefined : new TokenBucket({ perSecond: total, capacity: burst }, services.monotonicMs());
    if (perClient === undefined) return;
    this.#clients = new BucketMemory({
      shape: { perSecond: perClient, capacity: burst },
      max: keys,
      nowMs: services.monotonicMs,
      onLoss: () => services.count('evicted'),
    });
  }

  get entryCount(): number {
    return this.#clients?.size ?? 0;
  }

  onRequest(exchange: Exchange): undefined {
    exchange.paceBody(this.#pacerOf(exchange.clientNetwork));
  }

  #pacerOf(client: string): BodyPacer {
    const { perResponse, burst } = this.#options;
    const { monotonicMs } = this.#services;
    const own = perResponse === undefined ? undefined : new TokenBucket({ perSecond: perResponse, capacity: burst }, monotonicMs());
    return {
      take: (bytes) => {
        const nowMs = monotonicMs();
        // Looked up each time: a bucket that was forgotten meanwhile would be one's own.
        const shared = this.#clients?.of(client, nowMs);
        return Math.max(own?.take(bytes, nowMs) ?? 0, shared?.take(bytes, nowMs) ?? 0, this.#all?.take(bytes, nowMs) ?? 0);
      },
    };
  }
}
