/**
 * Nodes by etcd: what stands under the keys that begin with a prefix. The first question reads all of them; those that follow wait for what the watch tells since the
 * revision that was read. When the watch ends, when its revision was compacted, or when it says nothing for a while, all is read anew. Over the JSON
 * gateway of etcd 3.4 and later, where keys and values are base64. Made by app/discovery-set.ts.
 */
import type { Clock } from '../../base/clock.ts';
import { ANSWER_BYTES_MAX, type ApiClient } from './api-client.ts';
import { type DiscoveredNode, type DiscoveryFailure, type DiscoverySource, type DiscoveryVerdict, failed } from './discovery-source.ts';
import { readNodeValue, VALUE_CHARS_MAX } from './etcd-value.ts';
import { JsonLines } from './json-lines.ts';
import { isObject, type JsonObject, listAt, numberAt, objectAt, parseJson, textAt } from './json-shape.ts';

/** What is asked for. */
export interface EtcdSourceOptions {
  readonly client: ApiClient;
  /** Not empty. */
  readonly prefix: string;
  /** Who asks; undefined: nobody in particular. `password` is that of now. @throws Error when it cannot be read */
  readonly user: { readonly name: string; readonly password: () => string } | undefined;
  /** For an answer, but for what a watch waits for. */
  readonly timeoutMs: number;
  /** A watch that is silent for so long may be dead. */
  readonly silenceMs: number;
  readonly clock: Clock;
}

/** Keys that are read and followed. */
const KEYS_MAX = 4096;
/** A token that is not known, or has run out (gRPC: UNAUTHENTICATED). */
const UNAUTHENTICATED = 401;
const KEY_CHARS_NAMED = 60;

/** What came of what the watch told. */
type Told = { readonly kind: 'changed' | 'nothing' | 'compacted' } | DiscoveryFailure;

/** Asks etcd. */
export class EtcdSource implements DiscoverySource {
  readonly about: string;
  readonly #options: EtcdSourceOptions;
  readonly #range: { readonly key: string; readonly range_end: string };
  /** By the key, both in base64. */
  readonly #values = new Map<string, string>();
  /** That was read; undefined: all is to be read. */
  #revision: number | undefined;
  #watch: JsonLines | undefined;
  #token: string | undefined;
  /** Keys for which there was no room. */
  #left = 0;

  constructor(options: EtcdSourceOptions) {
    this.#options = options;
    this.about = `etcd ${options.prefix}`;
    this.#range = { key: Buffer.from(options.prefix).toString('base64'), range_end: endOf(options.prefix).toString('base64') };
  }

  ask(signal: AbortSignal): Promise<DiscoveryVerdict> {
    return this.#revision === undefined ? this.#read(signal) : this.#follow(this.#revision, signal);
  }

  async close(): Promise<void> {
    this.#reset();
    await this.#options.client.close();
  }

  async #read(signal: AbortSignal): Promise<DiscoveryVerdict> {
    const answer = await this.#post('/v3/kv/range', { ...this.#range, limit: String(KEYS_MAX) }, signal);
    if (answer.kind === 'failed') return answer;
    const revision = numberAt(objectAt(answer.value, 'header'), 'revision');
    if (revision === undefined) return failed('invalid', `the answer for ${this.about} has no revision; is url that of etcd 3.4 or later?`);
    this.#values.clear();
    for (const pair of listAt(answer.value, 'kvs')) if (isObject(pair)) this.#put(pair);
    this.#left = Math.max(0, (numberAt(answer.value, 'count') ?? 0) - this.#values.size);
    this.#revision = revision;
    return this.#verdict();
  }

  async #follow(revision: number, signal: AbortSignal): Promise<DiscoveryVerdict> {
    const { clock, silenceMs } = this.#options;
    if (this.#watch === undefined) {
      const opened = await this.#open(revision + 1, signal);
      if (!(opened instanceof JsonLines)) return this.#fail(opened);
      this.#watch = opened;
    }
    const watch = this.#watch;
    for (;;) {
      const heard = await watch.next({ clock, limitMs: silenceMs, signal });
      if (heard.kind === 'ended') return this.#fail(failed('unreachable', `the watch of ${this.about} ended: ${heard.why}`));
      const told = heard.kind === 'idle' ? { kind: 'compacted' as const } : this.#hear(heard.values);
      if (told.kind === 'failed') return this.#fail(told);
      if (told.kind === 'changed') return this.#verdict();
      if (told.kind === 'compacted') {
        this.#reset();
        return this.#read(signal);
      }
    }
  }

  async #open(revision: number, signal: AbortSignal): Promise<JsonLines | DiscoveryFailure> {
    const { client, timeoutMs } = this.#options;
    const body = JSON.stringify({ create_request: { ...this.#range, start_revision: String(revision), progress_notify: true } });
    const stream = await client.open({ method: 'POST', path: '/v3/watch', headers: this.#headers(), body, limitMs: timeoutMs }, signal);
    return stream.kind === 'failed' ? stream : new JsonLines(stream.body, ANSWER_BYTES_MAX);
  }

  #hear(values: readonly unknown[]): Told {
    let isChanged = false;
    for (const value of values) {
      if (!isObject(value)) return failed('invalid', `the watch of ${this.about} said what is no JSON`);
      const result = objectAt(value, 'result');
      if (isObject(value.error)) return failed('refused', `the watch of ${this.about} failed: ${textAt(value.error, 'message')}`);
      if (numberAt(result, 'compact_revision') !== undefined) return { kind: 'compacted' };
      if (result.canceled === true) {
        // The token may have run out; then another one is asked for.
        this.#token = undefined;
        return failed('refused', `the watch of ${this.about} was refused: ${textAt(result, 'cancel_reason')}`);
      }
      for (const event of listAt(result, 'events')) if (isObject(event)) isChanged = this.#apply(event) || isChanged;
      this.#revision = numberAt(objectAt(result, 'header'), 'revision') ?? this.#revision;
    }
    return { kind: isChanged ? 'changed' : 'nothing' };
  }

  #apply(event: JsonObject): boolean {
    const pair = objectAt(event, 'kv');
    if (event.type === 'DELETE') return this.#values.delete(textAt(pair, 'key'));
    if (this.#values.size < KEYS_MAX || this.#values.has(textAt(pair, 'key'))) this.#put(pair);
    else this.#left += 1;
    return true;
  }

  #put(pair: JsonObject): void {
    const value = textAt(pair, 'value');
    // What is too long is kept as what it is, no node.
    this.#values.set(textAt(pair, 'key'), value.length > 2 * VALUE_CHARS_MAX ? '' : value);
  }

  #verdict(): DiscoveryVerdict {
    const nodes: DiscoveredNode[] = [];
    const unusable: string[] = [];
    for (const [key, value] of this.#values) {
      const node = readNodeValue(Buffer.from(value, 'base64').toString());
      if (node === undefined)
        unusable.push(`${JSON.stringify(Buffer.from(key, 'base64').toString().slice(0, KEY_CHARS_NAMED))} has no address with a port`);
      else nodes.push(node);
    }
    if (this.#left > 0) unusable.push(`${this.#left} keys more than ${KEYS_MAX}`);
    return { kind: 'nodes', nodes, unusable, againInMs: 0 };
  }

  /** A question with the token of its user, which is asked for again once when it has run out. */
  async #post(
    path: string,
    question: object,
    signal: AbortSignal,
  ): Promise<{ readonly kind: 'json'; readonly value: JsonObject } | DiscoveryFailure> {
    for (let tries = 0; ; tries += 1) {
      const refused = await this.#authenticate(signal);
      if (refused !== undefined) return refused;
      const answer = await this.#send(path, question, signal);
      if (answer.kind === 'json' || answer.status !== UNAUTHENTICATED || this.#options.user === undefined || tries > 0) return answer;
      this.#token = undefined;
    }
  }

  async #authenticate(signal: AbortSignal): Promise<DiscoveryFailure | undefined> {
    const { user } = this.#options;
    if (user === undefined || this.#token !== undefined) return undefined;
    const password = readPassword(user);
    if (password === undefined) return failed('refused', 'the file with the password cannot be read (passwordFile)');
    const answer = await this.#send('/v3/auth/authenticate', { name: user.name, password }, signal);
    if (answer.kind === 'failed') return answer;
    this.#token = textAt(answer.value, 'token');
    return undefined;
  }

  async #send(
    path: string,
    question: object,
    signal: AbortSignal,
  ): Promise<{ readonly kind: 'json'; readonly value: JsonObject } | DiscoveryFailure> {
    const { client, timeoutMs } = this.#options;
    const body = JSON.stringify(question);
    const answer = await client.ask({ method: 'POST', path, headers: this.#headers(), body, limitMs: timeoutMs }, signal);
    if (answer.kind === 'failed') return answer;
    const value = parseJson(answer.text);
    return isObject(value) ? { kind: 'json', value } : failed('invalid', `the answer for ${this.about} is no JSON; is url that of etcd?`);
  }

  #headers(): Record<string, string> {
    return this.#token === undefined ? {} : { authorization: this.#token };
  }

  #fail(failure: DiscoveryFailure): DiscoveryFailure {
    this.#reset();
    return failure;
  }

  #reset(): void {
    this.#watch?.close();
    this.#watch = undefined;
    this.#revision = undefined;
  }
}

function readPassword({ password }: { readonly password: () => string }): string | undefined {
  try {
    return password();
  } catch {
    // Whatever the reason: there is no question without it.
    return undefined;
  }
}

/** The first key past those with the prefix: its last byte that can be counted up is, and the rest is cut. */
function endOf(prefix: string): Buffer {
  const bytes = Buffer.from(prefix);
  const last = bytes.findLastIndex((byte) => byte < 0xff);
  const end = Buffer.from(bytes.subarray(0, last + 1));
  end[last] = (end[last] ?? 0) + 1;
  return end;
}
