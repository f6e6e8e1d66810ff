/**
 * The programming interface: what a module writes to take part in requests, and what it is given. This file is all that is public; what stands here
 * changes only with INTERFACE_VERSION. A module is TypeScript or JavaScript with one default export, a MiddlewareModule, and is named in the
 * configuration (`middlewares: [{ name, use: ./file.ts, options }]`). It needs nothing of this program but types.
 *
 *   route -> onRequest (in order) -> the cache, the origin -> onResponse (in reverse) -> the body -> onEnd (in reverse)
 *
 * Bytes of bodies are not a middleware's, nor is what says which bytes these are (FRAMING_FIELDS in editable-head.ts). A middleware that throws, or does
 * not decide in its time, costs its request a 500 and nobody else anything.
 */
import type { OptionFault, OptionTable, OptionValues } from '../base/module-options.ts';

export type { ModuleOption, NetworkValue, OptionFault, OptionTable, OptionValues } from '../base/module-options.ts';

/** A module says for which version it was written. */
export const INTERFACE_VERSION = 1;

/** Header fields: lower-case names, trimmed values, in their order, repetitions kept. */
export type Fields = readonly (readonly [name: string, value: string])[];

/** Who asks. */
export interface Client {
  /** By the word of trusted proxies; undefined for a Unix socket. */
  readonly clientAddress: string | undefined;
  /** Who counts as one client: the address, or the /64 of an IPv6 address. */
  readonly clientNetwork: string;
  /** Whether the client's own request came by TLS. */
  readonly isSecure: boolean;
  /** Of the request as the client sent it, changed by middlewares so far. */
  readonly fields: Fields;
  /** The value of a field (lower-case name), lines joined with commas; undefined when it is absent. */
  field(name: string): string | undefined;
}

/** One request and its answer; the same object in all hooks. What it can change, it can change in onRequest, before that has decided. */
export interface Exchange extends Client {
  readonly service: string;
  readonly route: string;
  /** The upstream group that would be asked. */
  readonly upstream: string;
  readonly method: string;
  /** In its normal form, as the client sees it, without query. */
  readonly path: string;
  readonly query: string | undefined;
  /** Lower-case, perhaps with a port. */
  readonly host: string | undefined;
  /** Aborts when the client leaves. */
  readonly signal: AbortSignal;
  /** Replaces a field of the request, as if the client had sent it so: cache and origin see no other. */
  setField(name: string, value: string): void;
  removeField(name: string): void;
  /** Asks another upstream group; it is one that an option of this middleware names (kinds `upstream` and `weights`), and has a cache of its own. */
  chooseUpstream(group: string): void;
  /** The body waits for this as it is sent; of several pacers the slowest counts. */
  paceBody(pacer: BodyPacer): void;
}

/** Says how fast a body may go. */
export interface BodyPacer {
  /** Takes so many bytes that are about to be sent. @returns milliseconds to wait before anything more is sent; 0 for none */
  take(bytes: number): number;
}

/** An answer instead of that of cache or origin. */
export interface EarlyAnswer {
  /** 200 to 599. */
  readonly status: number;
  /** `cache-control: no-store` is among them unless they say otherwise. */
  readonly fields?: Fields | undefined;
  /** The content, as UTF-8. */
  readonly text?: string | undefined;
}

/** The head of an answer, before it is sent. */
export interface AnswerHead {
  readonly status: number;
  readonly fields: Fields;
  field(name: string): string | undefined;
  /** Replaces all lines of a field. */
  set(name: string, value: string): void;
  /** Adds a line. */
  append(name: string, value: string): void;
  /** Adds a member to a list such as Vary, unless it is there. */
  appendMember(name: string, member: string): void;
  remove(name: string): void;
}

/** How a request ended. */
export interface ExchangeEnd {
  /** Undefined when no head was sent. */
  readonly status: number | undefined;
  /** Of the body. */
  readonly sentBytes: number;
  /** What the cache contributed, in the word of X-Cache. */
  readonly cache: string;
  readonly durationMs: number;
  /** The client has the whole answer. */
  readonly isComplete: boolean;
  /** The error that was answered or that ended it, by its code in README. */
  readonly error: string | undefined;
}

/** What a module makes for each place in the configuration that names it. Hooks are called with it as `this`. */
export interface Middleware {
  /** Whether it answers CORS preflights (OPTIONS with Access-Control-Request-Method), also where a route does not take OPTIONS. */
  readonly answersPreflights?: boolean | undefined;
  /** How many things it remembers (clients, keys), for a metric. */
  readonly entryCount?: number | undefined;
  /** The route is known and the cache has not been asked. Undefined: go on. A promise has the time that the configuration gives it (`timeout`). */
  onRequest?(exchange: Exchange): EarlyAnswer | undefined | Promise<EarlyAnswer | undefined>;
  /** As onRequest, for a PURGE that is about to be carried out. */
  onPurge?(client: Client): EarlyAnswer | undefined;
  /** The head is about to be sent: an answer of cache, origin, this program or a middleware behind this one. What is changed is stored for nobody. */
  onResponse?(exchange: Exchange, head: AnswerHead): void;
  /** The response has ended, or the client has left. */
  onEnd?(exchange: Exchange, end: ExchangeEnd): void;
  /** It is used no more: after a reload that changed it or left it out, and at the stop. */
  close?(): void | Promise<void>;
}

/** What a middleware is made with, beside its options. */
export interface MiddlewareServices<Event extends string = string> {
  /** As the configuration calls it. */
  readonly name: string;
  /** Milliseconds from an arbitrary start, never going back. */
  monotonicMs(): number;
  /** Milliseconds since 1970. */
  wallMs(): number;
  /** Calls back every so often, until close(). */
  every(periodMs: number, callback: () => void): void;
  /** From 0, below 1. */
  random(): number;
  /** Counts one of the module's events (`rawslice_middleware_events_total`). */
  count(event: Event): void;
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, facts?: Readonly<Record<string, unknown>>): void;
}

/** The default export of a module. */
export interface MiddlewareModule<Table extends OptionTable = OptionTable, Event extends string = string> {
  readonly interfaceVersion: typeof INTERFACE_VERSION;
  readonly options: Table;
  /** What it counts, 16 at most: lower-case words with hyphens. */
  readonly events?: readonly Event[] | undefined;
  /** What is wrong with options taken together. */
  check?(options: OptionValues<Table>): readonly OptionFault[];
  /**
   * Fields that every request to the origin carries with these options, whoever asks: those that fill the cache, too. With any, the middleware is one for
   * routes, since what is stored belongs to a route and not to a service.
   */
  originFields?(options: OptionValues<Table>): Fields;
  /** @throws anything, when it cannot be made; then the configuration is not valid */
  create(options: OptionValues<Table>, services: MiddlewareServices<Event>): Middleware;
}
