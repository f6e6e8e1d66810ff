/**
 * A middleware of one's own: clients name themselves by a key. Who has none is answered here; the origin is told who asks, and not the key; the answer says
 * for whom it is; and what each consumer was sent is counted and logged. `own-middleware.yaml` uses it. Only types are imported, so the file may lie anywhere.
 */
import type { EarlyAnswer, Exchange, Middleware, MiddlewareModule, OptionValues } from '../../src/middleware/middleware.ts';

const OPTIONS = {
  keys: { kind: 'fields', isRequired: true, meaning: 'Consumers with their keys' },
  header: { kind: 'text', default: 'x-api-key', meaning: 'Field that carries the key' },
  large: { kind: 'size', default: '1GiB', meaning: 'Answers from here on are logged' },
} as const;

type Event = 'refused' | 'broken-off';

const module: MiddlewareModule<typeof OPTIONS, Event> = {
  interfaceVersion: 1,
  options: OPTIONS,
  events: ['refused', 'broken-off'],
  check: ({ keys }) => (new Set(keys.map(([, key]) => key)).size < keys.length ? [{ option: 'keys', message: 'has one key twice' }] : []),
  create(options: OptionValues<typeof OPTIONS>, { count, log }): Middleware {
    const consumers = new Map(options.keys.map(([consumer, key]) => [key, consumer]));
    // What belongs to one request is kept by the exchange, which is the same object in all hooks.
    const consumerOf = new WeakMap<Exchange, string>();
    return {
      onRequest(exchange): EarlyAnswer | undefined {
        const consumer = consumers.get(exchange.field(options.header) ?? '');
        if (consumer === undefined) {
          count('refused');
          return { status: 401, fields: [['www-authenticate', 'ApiKey']], text: `Send a key in ${options.header}\n` };
        }
        consumerOf.set(exchange, consumer);
        exchange.removeField(options.header);
        exchange.setField('x-consumer', consumer);
        return undefined;
      },
      onResponse(exchange, head) {
        const consumer = consumerOf.get(exchange);
        if (consumer !== undefined) head.set('x-served-for', consumer);
      },
      onEnd(exchange, { sentBytes, isComplete, cache }) {
        if (!isComplete) count('broken-off');
        if (sentBytes >= options.large)
          log('info', 'a large answer', { consumer: consumerOf.get(exchange), path: exchange.path, sentBytes, cache });
      },
    };
  },
};

export default module;
