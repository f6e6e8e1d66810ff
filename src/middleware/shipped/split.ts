/**
 * `split`: shares the requests of a route among upstream groups, for canary releases and A/B tests: by weight, and the same group for the same client; by a field
 * for who tests. Each group has a cache of its own, so what one of them answered is never given to clients of another.
 */
import { hash } from 'node:crypto';
import type { OptionFault, OptionValues } from '../../base/module-options.ts';
import type { AnswerHead, Exchange, Middleware, MiddlewareModule, MiddlewareServices } from '../middleware.ts';
import { COOKIE_NAME, cookieOf, removeCookie } from './cookies.ts';

const OPTIONS = {
  weights: {
    kind: 'weights',
    isRequired: true,
    meaning:
      'Upstream groups with their shares, such as `{ stable: 95, canary: 5 }`; 0: only who asks for it by `header` or has its cookie',
  },
  by: {
    kind: 'choice',
    choices: ['client', 'random'],
    default: 'client',
    meaning:
      'Who has no field and no cookie: `client` by its address (/64 of IPv6), so that it stays where it is, also while the last group grows; `random`',
  },
  cookie: { kind: 'text', meaning: 'Cookie that keeps a client at its group; neither cache nor origin sees it' },
  cookieAge: { kind: 'duration', default: '7d', min: '1s', max: '365d', meaning: 'How long it is kept' },
  header: { kind: 'name', meaning: 'Field of requests that names a group and is followed' },
} as const;

type Options = OptionValues<typeof OPTIONS>;
type Event = 'by-header' | 'by-cookie' | 'by-weight';

const FRACTION = 2 ** 32;

/** The module. */
export const SPLIT: MiddlewareModule<typeof OPTIONS, Event> = {
  interfaceVersion: 1,
  options: OPTIONS,
  events: ['by-header', 'by-cookie', 'by-weight'],
  check: findFaults,
  create: (options, services) => new Split(options, services),
};

class Split implements Middleware {
  readonly #options: Options;
  readonly #services: MiddlewareServices<Event>;
  readonly #total: number;
  /** Who is to be given a cookie. */
  readonly #newcomers = new WeakMap<Exchange, string>();

  constructor(options: Options, services: MiddlewareServices<Event>) {
    this.#options = options;
    this.#services = services;
    this.#total = options.weights.reduce((sum, [, weight]) => sum + weight, 0);
  }

  onRequest(exchange: Exchange): undefined {
    const { cookie } = this.#options;
    const kept = cookie === undefined ? undefined : cookieOf(exchange, cookie);
    if (cookie !== undefined) removeCookie(exchange, cookie);
    exchange.chooseUpstream(this.#choose(exchange, kept));
  }

  onResponse(exchange: Exchange, head: AnswerHead): void {
    const { cookie, cookieAge, header } = this.#options;
    // Whatever is in front has to tell apart what is told apart here.
    if (header !== undefined) head.appendMember('vary', header);
    if (cookie === undefined) return;
    head.appendMember('vary', 'Cookie');
    const group = this.#newcomers.get(exchange);
    if (group === undefined) return;
    const secure = exchange.isSecure ? '; Secure' : '';
    head.append('set-cookie', `${cookie}=${group}; Path=/; Max-Age=${Math.floor(cookieAge / 1000)}; HttpOnly; SameSite=Lax${secure}`);
  }

  #choose(exchange: Exchange, kept: string | undefined): string {
    const { header, cookie } = this.#options;
    const asked = header === undefined ? undefined : exchange.field(header);
    if (this.#isGroup(asked)) {
      this.#services.count('by-header');
      return asked;
    }
    if (this.#isGroup(kept)) {
      this.#services.count('by-cookie');
      return kept;
    }
    this.#services.count('by-weight');
    const group = this.#groupAt(this.#place(exchange) * this.#total);
    if (cookie !== undefined) this.#newcomers.set(exchange, group);
    return group;
  }

  /** From 0, below 1. */
  #place(exchange: Exchange): number {
    const { name, random } = this.#services;
    if (this.#options.by === 'random') return random();
    return hash('sha256', `${name} ${exchange.clientNetwork}`, 'buffer').readUInt32BE(0) / FRACTION;
  }

  #groupAt(place: number): string {
    let left = place;
    for (const [group, weight] of this.#options.weights) {
      if (left < weight) return group;
      left -= weight;
    }
    return this.#options.weights[0]?.[0] ?? '';
  }

  #isGroup(name: string | undefined): name is string {
    return name !== undefined && this.#options.weights.some(([group]) => group === name);
  }
}

function findFaults({ weights, cookie }: Options): readonly OptionFault[] {
  const faults: OptionFault[] = [];
  if (weights.every(([, weight]) => weight === 0))
    faults.push({ option: 'weights', message: 'are all 0; one group at least has to have a share' });
  if (weights.length < 2) faults.push({ option: 'weights', message: 'name one group; two at least can share requests' });
  if (cookie !== undefined && !COOKIE_NAME.test(cookie)) faults.push({ option: 'cookie', message: 'must be the name of a cookie' });
  return faults;
}
