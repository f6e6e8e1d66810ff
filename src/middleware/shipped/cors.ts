/**
 * `cors`: the Fetch standard's cross-origin answers. Preflights are answered here; other answers get the fields for the origin that asks, and Vary where the
 * answer depends on it, stored ones too, since both are added when an answer is sent. What the server behind says about it is replaced.
 */
import type { OptionFault, OptionValues } from '../../base/module-options.ts';
import type { AnswerHead, EarlyAnswer, Exchange, Middleware, MiddlewareModule } from '../middleware.ts';

const OPTIONS = {
  origins: {
    kind: 'texts',
    isRequired: true,
    meaning: 'Origins that may read answers: `https://app.example`, `https://*.app.example` for names below, or `*` for all',
  },
  methods: { kind: 'texts', meaning: 'Methods that they may use (default GET, HEAD, POST)' },
  headers: { kind: 'names', meaning: 'Fields that they may send; left out: those that they ask for' },
  expose: { kind: 'names', meaning: 'Fields of answers that their scripts may read, beside the safe ones' },
  credentials: { kind: 'boolean', default: 'false', meaning: 'Whether they may send cookies and the like; not beside the origin `*`' },
  maxAge: { kind: 'duration', default: '10m', max: '1d', meaning: 'How long a browser may remember what a preflight said' },
} as const;

type Options = OptionValues<typeof OPTIONS>;

const METHODS_DEFAULT = ['GET', 'HEAD', 'POST'];
const ORIGIN = /^https?:\/\/(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i;
/** Said by this middleware alone. */
const ANSWERED_FIELDS = ['access-control-allow-origin', 'access-control-allow-credentials', 'access-control-expose-headers'];
const PREFLIGHT_FIELDS = ['access-control-allow-methods', 'access-control-allow-headers', 'access-control-max-age'];

/** The module. */
export const CORS: MiddlewareModule<typeof OPTIONS, 'preflight' | 'foreign'> = {
  interfaceVersion: 1,
  options: OPTIONS,
  events: ['preflight', 'foreign'],
  check: findFaults,
  create: (options, { count }) => new Cors(options, count),
};

class Cors implements Middleware {
  readonly answersPreflights = true;
  readonly #options: Options;
  readonly #count: (event: 'preflight' | 'foreign') => void;
  readonly #isForAll: boolean;
  readonly #exact: ReadonlySet<string>;
  /** Scheme and dotted suffix. */
  readonly #wildcards: readonly (readonly [scheme: string, suffix: string])[];

  constructor(options: Options, count: (event: 'preflight' | 'foreign') => void) {
    this.#options = options;
    this.#count = count;
    const origins = options.origins.map((origin) => origin.toLowerCase());
    this.#isForAll = origins.includes('*');
    this.#exact = new Set(origins);
    this.#wildcards = origins
      .filter((origin) => origin.includes('//*.'))
      .map((origin) => [origin.slice(0, origin.indexOf('*')), origin.slice(origin.indexOf('*') + 1)] as const);
  }

  onRequest(exchange: Exchange): EarlyAnswer | undefined {
    if (!isPreflight(exchange)) return undefined;
    this.#count('preflight');
    // The fields for the origin come with those of any answer.
    return { status: 204, fields: this.#allows(exchange.field('origin')) ? this.#preflightFields(exchange) : [] };
  }

  onResponse(exchange: Exchange, head: AnswerHead): void {
    for (const name of isPreflight(exchange) ? ANSWERED_FIELDS : [...ANSWERED_FIELDS, ...PREFLIGHT_FIELDS]) head.remove(name);
    if (!this.#isForAll) head.appendMember('vary', 'Origin');
    const origin = exchange.field('origin');
    if (!this.#allows(origin)) {
      if (origin !== undefined) this.#count('foreign');
      return;
    }
    // The same for all wherever it can be: then what stands before this program may keep one answer.
    head.set('access-control-allow-origin', this.#isForAll ? '*' : (origin ?? ''));
    if (this.#options.credentials) head.set('access-control-allow-credentials', 'true');
    const { expose } = this.#options;
    if (expose !== undefined) head.set('access-control-expose-headers', expose.join(', '));
  }

  #preflightFields(exchange: Exchange): readonly (readonly [string, string])[] {
    const { methods = METHODS_DEFAULT, headers, maxAge } = this.#options;
    const asked = exchange.field('access-control-request-headers');
    const allowed = headers?.join(', ') ?? asked;
    return [
      ['access-control-allow-methods', methods.join(', ')],
      ...(allowed === undefined ? [] : [['access-control-allow-headers', allowed] as const]),
      ['access-control-max-age', String(Math.floor(maxAge / 1000))],
      ...(headers === undefined ? [['vary', 'Access-Control-Request-Headers'] as const] : []),
    ];
  }

  #allows(origin: string | undefined): boolean {
    if (this.#isForAll) return true;
    const text = origin?.toLowerCase();
    if (text === undefined || text.includes('*')) return false;
    if (this.#exact.has(text)) return true;
    return this.#wildcards.some(
      ([scheme, suffix]) =>
        text.startsWith(scheme) && text.endsWith(suffix) && /^[a-z0-9_.-]+$/.test(text.slice(scheme.length, text.length - suffix.length)),
    );
  }
}

function isPreflight(exchange: Exchange): boolean {
  return (
    exchange.method === 'OPTIONS' && exchange.field('access-control-request-method') !== undefined && exchange.field('origin') !== undefined
  );
}

function findFaults({ origins, methods, credentials }: Options): readonly OptionFault[] {
  const faults: OptionFault[] = [];
  for (const origin of origins)
    if (origin !== '*' && !ORIGIN.test(origin))
      faults.push({
        option: 'origins',
        message: `must be origins such as https://app.example, without path, not ${JSON.stringify(origin)}`,
      });
  for (const method of methods ?? [])
    if (!/^[A-Z][A-Z-]{0,31}$/.test(method))
      faults.push({ option: 'methods', message: `must be methods such as PUT, not ${JSON.stringify(method)}` });
  if (credentials && origins.includes('*'))
    faults.push({ option: 'credentials', message: 'cannot be beside the origin *: browsers refuse that, and it would be everybody' });
  return faults;
}
