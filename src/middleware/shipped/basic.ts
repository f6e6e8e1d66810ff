/**
 * `basic`: users with passwords (RFC 7617). A check takes milliseconds on purpose, so it is done for one request at a time, and its outcome is remembered by a
 * keyed hash of what was sent; who sends names that there are not waits as long as who sends a wrong password.
 */
import { createHmac } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { OptionValues } from '../../base/module-options.ts';
import type { AnswerHead, EarlyAnswer, Exchange, Middleware, MiddlewareModule, MiddlewareServices } from '../middleware.ts';
import { CREDENTIAL_OPTIONS, challenge, credentialsOf, makePrivate } from './credentials.ts';
import { type PasswordHash, parsePasswordHash } from './password-hash.ts';
import { WatchedFile } from './watched-file.ts';

const OPTIONS = {
  file: {
    kind: 'file',
    isRequired: true,
    meaning:
      'Lines `user:hash`, read again when they change; hashes as `openssl passwd -6` makes them (also -5), or argon2id or scrypt in PHC form',
  },
  userField: { kind: 'name', meaning: 'Field that tells the origin the user, where a request is passed on' },
  ...CREDENTIAL_OPTIONS,
} as const;

type Options = OptionValues<typeof OPTIONS>;
type Event = 'absent' | 'refused' | 'busy';

const USERS_MAX = 10_000;
const REMEMBERED_MAX = 4096;
/** Checks that wait for their turn. */
const WAITING_MAX = 64;
const CREDENTIALS_CHARACTERS_MAX = 2048;

interface User {
  readonly line: string;
  readonly hash: PasswordHash;
}

/** The module. */
export const BASIC: MiddlewareModule<typeof OPTIONS, Event> = {
  interfaceVersion: 1,
  options: OPTIONS,
  events: ['absent', 'refused', 'busy'],
  create: (options, services) => new Basic(options, services),
};

class Basic implements Middleware {
  readonly #options: Options;
  readonly #count: (event: Event) => void;
  readonly #users: WatchedFile<ReadonlyMap<string, User>>;
  readonly #key: Uint8Array;
  /** Whether what was sent is right, by its keyed hash. */
  readonly #remembered = new LRUCache<string, boolean>({ max: REMEMBERED_MAX });
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: Options, services: MiddlewareServices<Event>) {
    this.#options = options;
    this.#count = services.count;
    this.#users = new WatchedFile(options.file, parseUsers, services);
    this.#key = services.bytes(32);
  }

  get entryCount(): number {
    return this.#remembered.size;
  }

  onRequest(exchange: Exchange): EarlyAnswer | undefined | Promise<EarlyAnswer | undefined> {
    const { userField } = this.#options;
    if (userField !== undefined) exchange.removeField(userField);
    const given = decode(credentialsOf(exchange, 'basic'));
    if (given === undefined) {
      this.#count('absent');
      return this.#refusal();
    }
    const [user, password] = given;
    const known = this.#users.content.get(user);
    const key = createHmac('sha256', this.#key)
      .update(`${known?.line ?? ''}\0${user}\0${password}`)
      .digest('hex');
    const remembered = this.#remembered.get(key);
    if (remembered !== undefined) return this.#decide(remembered, exchange, user);
    if (this.#waiting >= WAITING_MAX) {
      this.#count('busy');
      return { status: 503, fields: [['retry-after', '1']], text: 'Too many passwords are being checked; try again\n' };
    }
    return this.#check(known, password).then((isRight) => {
      this.#remembered.set(key, isRight);
      return this.#decide(isRight, exchange, user);
    });
  }

  onResponse(_exchange: Exchange, head: AnswerHead): void {
    if (this.#options.private) makePrivate(head);
  }

  /** One after the other. */
  async #check(user: User | undefined, password: string): Promise<boolean> {
    // A user that there is not costs as much as one that there is.
    const hash = user?.hash ?? [...this.#users.content.values()][0]?.hash;
    this.#waiting += 1;
    const turn = this.#last.then(() => hash?.verify(password) ?? false);
    this.#last = turn.catch(() => undefined).finally(() => (this.#waiting -= 1));
    return (await turn) && user !== undefined;
  }

  #decide(isRight: boolean, exchange: Exchange, user: string): EarlyAnswer | undefined {
    const { strip, userField } = this.#options;
    if (!isRight) {
      this.#count('refused');
      return this.#refusal();
    }
    if (strip) exchange.removeField('authorization');
    if (userField !== undefined) exchange.setField(userField, user);
    return undefined;
  }

  #refusal(): EarlyAnswer {
    return challenge('Basic', this.#options.realm, ', charset="UTF-8"');
  }
}

/** RFC 7617 s2: the first colon ends the user. */
function decode(text: string | undefined): readonly [user: string, password: string] | undefined {
  if (text === undefined || text.length > CREDENTIALS_CHARACTERS_MAX || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(text)) return undefined;
  const pair = Buffer.from(text, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  return colon < 1 ? undefined : [pair.slice(0, colon), pair.slice(colon + 1)];
}

/** @throws Error with the line */
function parseUsers(text: string): ReadonlyMap<string, User> {
  const users = new Map<string, User>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, user, hash] = /^([\x21-\x39\x3b-\x7e]{1,128}):(\S+)$/.exec(line.trim()) ?? [];
    if (user === undefined || hash === undefined) throw new Error(`line ${index + 1} is not user:hash`);
    try {
      users.set(user, { line, hash: parsePasswordHash(hash) });
    } catch (cause) {
      throw new Error(`line ${index + 1}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }
  if (users.size === 0 || users.size > USERS_MAX) throw new Error(`there are ${users.size} users; 1 to ${USERS_MAX} are possible`);
  return users;
}
