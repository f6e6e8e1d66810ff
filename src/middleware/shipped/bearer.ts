/** `bearer`: tokens that are known here (RFC 6750). They are looked up by their hash, so that the time tells nothing of them. */
import { hash } from 'node:crypto';
import type { OptionFault, OptionValues } from '../../base/module-options.ts';
import type { AnswerHead, EarlyAnswer, Exchange, Middleware, MiddlewareModule, MiddlewareServices } from '../middleware.ts';
import { CREDENTIAL_OPTIONS, challenge, credentialsOf, makePrivate } from './credentials.ts';
import { WatchedFile } from './watched-file.ts';

const OPTIONS = {
  tokens: { kind: 'secrets', meaning: 'Names, each with its token' },
  file: { kind: 'file', meaning: 'Lines `name:token`, or `name:sha256:HEX` with the hash of one; read again when they change' },
  nameField: { kind: 'name', meaning: "Field that tells the origin the token's name, where a request is passed on" },
  ...CREDENTIAL_OPTIONS,
} as const;

type Options = OptionValues<typeof OPTIONS>;
type Event = 'absent' | 'refused';
/** By the token's SHA-256. */
type Names = ReadonlyMap<string, string>;

const TOKENS_MAX = 10_000;

/** The module. */
export const BEARER: MiddlewareModule<typeof OPTIONS, Event> = {
  interfaceVersion: 1,
  options: OPTIONS,
  events: ['absent', 'refused'],
  check: ({ tokens, file }): readonly OptionFault[] =>
    tokens === undefined && file === undefined ? [{ message: 'let nobody in; give tokens or file' }] : [],
  create: (options, services) => new Bearer(options, services),
};

class Bearer implements Middleware {
  readonly #options: Options;
  readonly #count: (event: Event) => void;
  readonly #own: Names;
  readonly #file: WatchedFile<Names> | undefined;

  constructor(options: Options, services: MiddlewareServices<Event>) {
    this.#options = options;
    this.#count = services.count;
    this.#own = new Map(options.tokens?.map(([name, token]) => [digest(token), name]));
    this.#file = options.file === undefined ? undefined : new WatchedFile(options.file, parseTokens, services);
  }

  onRequest(exchange: Exchange): EarlyAnswer | undefined {
    const { realm, strip, nameField } = this.#options;
    if (nameField !== undefined) exchange.removeField(nameField);
    const token = credentialsOf(exchange, 'bearer');
    if (token === undefined) {
      this.#count('absent');
      return challenge('Bearer', realm);
    }
    const key = digest(token);
    const name = this.#own.get(key) ?? this.#file?.content.get(key);
    if (name === undefined) {
      this.#count('refused');
      return challenge('Bearer', realm, ', error="invalid_token"');
    }
    if (strip) exchange.removeField('authorization');
    if (nameField !== undefined) exchange.setField(nameField, name);
    return undefined;
  }

  onResponse(_exchange: Exchange, head: AnswerHead): void {
    if (this.#options.private) makePrivate(head);
  }
}

function digest(token: string): string {
  return hash('sha256', token, 'hex');
}

/** @throws Error with the line */
function parseTokens(text: string): Names {
  const names = new Map<string, string>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, name, hashed, token] = /^([\w.@-]{1,64}):(?:sha256:([0-9a-f]{64})|([\x21-\x7e]{8,512}))$/.exec(line.trim()) ?? [];
    if (name === undefined) throw new Error(`line ${index + 1} is not name:token, or name:sha256:HEX`);
    names.set(hashed ?? digest(token ?? ''), name);
  }
  if (names.size > TOKENS_MAX) throw new Error(`there are ${names.size} tokens; the limit is ${TOKENS_MAX}`);
  return names;
}
