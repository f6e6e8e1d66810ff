/** `headers`: sets and removes fields of requests and of answers, the same for everybody. */
import type { OptionFault, OptionValues } from '../../base/module-options.ts';
import { FRAMING_FIELDS } from '../editable-head.ts';
import type { AnswerHead, Exchange, Fields, Middleware, MiddlewareModule } from '../middleware.ts';

const OPTIONS = {
  setRequest: {
    kind: 'fields',
    meaning: 'Fields that the origin is sent with every request, instead of what clients say there; what fills the cache carries them too',
  },
  removeRequest: { kind: 'names', meaning: 'Fields of clients that neither cache nor origin sees' },
  setResponse: { kind: 'fields', meaning: 'Fields of answers, instead of what the origin says there' },
  addResponse: { kind: 'fields', meaning: 'Lines that are added to answers' },
  removeResponse: { kind: 'names', meaning: 'Fields that answers do not have' },
} as const;

type Options = OptionValues<typeof OPTIONS>;

/** What this program writes itself in requests to the origin, or chooses objects and parts by. */
const NOT_FOR_ORIGINS: ReadonlySet<string> = new Set([
  ...FRAMING_FIELDS,
  'accept-encoding',
  'cdn-loop',
  'expect',
  'forwarded',
  'host',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'range',
  'via',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
]);
/** Without them a request means something else. */
const NEVER_REMOVED: ReadonlySet<string> = new Set([...FRAMING_FIELDS, 'host', 'expect']);

/** The module. */
export const HEADERS: MiddlewareModule<typeof OPTIONS> = {
  interfaceVersion: 1,
  options: OPTIONS,
  check: findFaults,
  originFields: ({ setRequest }) => setRequest ?? [],
  create: (options) => new Headers(options),
};

class Headers implements Middleware {
  readonly #removed: readonly string[];
  readonly #set: Fields;
  readonly #added: Fields;
  readonly #removedResponse: readonly string[];

  constructor({ removeRequest = [], setResponse = [], addResponse = [], removeResponse = [] }: Options) {
    this.#removed = removeRequest;
    this.#set = setResponse;
    this.#added = addResponse;
    this.#removedResponse = removeResponse;
  }

  onRequest(exchange: Exchange): undefined {
    for (const name of this.#removed) exchange.removeField(name);
  }

  onResponse(_exchange: Exchange, head: AnswerHead): void {
    for (const name of this.#removedResponse) head.remove(name);
    for (const [name, value] of this.#set) head.set(name, value);
    for (const [name, value] of this.#added) head.append(name, value);
  }
}

function findFaults(options: Options): readonly OptionFault[] {
  const faults: OptionFault[] = [];
  const look = (option: keyof Options, names: readonly string[], forbidden: ReadonlySet<string>): void => {
    for (const name of names) if (forbidden.has(name)) faults.push({ option, message: `names ${name}, which this program writes itself` });
  };
  const { setRequest = [], removeRequest = [], setResponse = [], addResponse = [], removeResponse = [] } = options;
  look(
    'setRequest',
    setRequest.map(([name]) => name),
    NOT_FOR_ORIGINS,
  );
  look('removeRequest', removeRequest, NEVER_REMOVED);
  look(
    'setResponse',
    setResponse.map(([name]) => name),
    FRAMING_FIELDS,
  );
  look(
    'addResponse',
    addResponse.map(([name]) => name),
    FRAMING_FIELDS,
  );
  look('removeResponse', removeResponse, FRAMING_FIELDS);
  if (Object.values(options).every((value) => value === undefined)) faults.push({ message: 'change nothing; give one at least' });
  return faults;
}
