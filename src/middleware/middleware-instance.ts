/**
 * One middleware at work, and the wall around it: whatever a module does wrong (it throws, it hangs, it returns nonsense, it changes what it may not) becomes
 * an EdgeError of the request or a line in the log, with a count, and nothing else. It lives from the reload that brings it to the end of the last request
 * that began with it. Made by app, asked by the stage *middlewares* and at the commit of heads.
 */
import { unlessGone } from '../base/abort.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { MetricSet } from '../base/metrics.ts';
import type { AnyOptions, OptionTable } from '../base/module-options.ts';
import type { Random } from '../base/random.ts';
import { checkedField, type EditableHead } from './editable-head.ts';
import type { Client, EarlyAnswer, Exchange, ExchangeEnd, Middleware, MiddlewareModule, MiddlewareServices } from './middleware.ts';
import { EVENT_METRICS, type HookName, MIDDLEWARE_METRICS } from './middleware-metrics.ts';

/** What it is made of. */
export interface InstanceOptions {
  readonly name: string;
  readonly module: MiddlewareModule<OptionTable>;
  /** As the module's table declares them. */
  readonly options: AnyOptions;
  readonly timeoutMs: number;
  /** Groups that it may choose. */
  readonly upstreams: ReadonlySet<string>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** How long a middleware may take to close. */
const CLOSE_MS = 5000;
const FRACTION = 2 ** 32;

/** A middleware with its accounts. */
export class MiddlewareInstance {
  readonly name: string;
  readonly metrics = new MetricSet(MIDDLEWARE_METRICS);
  /** By the event's name. */
  readonly events: ReadonlyMap<string, MetricSet<typeof EVENT_METRICS>>;
  /** Groups that it may choose. */
  readonly upstreams: ReadonlySet<string>;
  readonly #options: InstanceOptions;
  readonly #middleware: Middleware;
  readonly #timers: Timer[] = [];
  #inUse = 0;
  #whenIdle: (() => void) | undefined;

  /** @throws EdgeError CONFIG_INVALID when the module cannot make it */
  constructor(options: InstanceOptions) {
    const { name, module, upstreams } = options;
    this.name = name;
    this.#options = options;
    this.upstreams = upstreams;
    this.events = new Map((module.events ?? []).map((event) => [event, new MetricSet(EVENT_METRICS)]));
    try {
      this.#middleware = module.create(options.options, this.#services());
    } catch (cause) {
      this.#stopTimers();
      throw new EdgeError('CONFIG_INVALID', `The middleware ${name} cannot be made: ${messageOf(cause)}`, { cause });
    }
    if (typeof this.#middleware !== 'object' || this.#middleware === null || isPromise(this.#middleware)) {
      this.#stopTimers();
      throw new EdgeError('CONFIG_INVALID', `The middleware ${name} cannot be made: create() of its module returned no object`);
    }
    this.metrics.setGauge('inUse', () => this.#inUse);
    this.metrics.setGauge('entries', () => this.#middleware.entryCount ?? 0);
  }

  /** Whether it is asked before a purge. */
  get guardsPurges(): boolean {
    return this.#middleware.onPurge !== undefined;
  }

  get answersPreflights(): boolean {
    return this.#middleware.answersPreflights === true;
  }

  get changesHeads(): boolean {
    return this.#middleware.onResponse !== undefined;
  }

  /** A request has begun with it; end() follows, or leave(). */
  enter(): void {
    this.#inUse += 1;
  }

  /**
   * What it decides.
   *
   * @throws EdgeError MIDDLEWARE_FAILED, CLIENT_GONE
   */
  ask(exchange: Exchange): EarlyAnswer | undefined | Promise<EarlyAnswer | undefined> {
    try {
      const given = this.#middleware.onRequest?.(exchange);
      return isPromise(given) ? this.#wait(Promise.resolve(given), exchange.signal) : this.#decided(given);
    } catch (cause) {
      throw this.#failed('request', cause);
    }
  }

  /** @throws EdgeError MIDDLEWARE_FAILED */
  askForPurge(client: Client): EarlyAnswer | undefined {
    try {
      return this.#decided(this.#middleware.onPurge?.(client));
    } catch (cause) {
      throw this.#failed('purge', cause);
    }
  }

  /** @throws EdgeError MIDDLEWARE_FAILED; what was changed until then does not count */
  change(exchange: Exchange, head: EditableHead): void {
    const before = head.fields;
    try {
      mustNotWait(this.#middleware.onResponse?.(exchange, head));
    } catch (cause) {
      head.fields = before;
      throw this.#failed('response', cause);
    }
  }

  /** The request has ended. Never throws. */
  end(exchange: Exchange, end: ExchangeEnd): void {
    try {
      mustNotWait(this.#middleware.onEnd?.(exchange, end));
    } catch (cause) {
      this.#failed('end', cause);
    }
    this.leave();
  }

  /** As end(), for a request that did not come as far as this. */
  leave(): void {
    this.#inUse -= 1;
    if (this.#inUse === 0) this.#whenIdle?.();
  }

  /** Closes it when no request uses it any more, after `drainMs` at the latest. Never rejects. */
  async close(drainMs: number): Promise<void> {
    const { clock, name, logger } = this.#options;
    if (this.#inUse > 0) {
      const idle = Promise.withResolvers<void>();
      this.#whenIdle = idle.resolve;
      const timer = clock.startTimer(drainMs, idle.resolve);
      await idle.promise;
      timer.stop();
    }
    this.#stopTimers();
    const wait = new AbortController();
    const late = clock.sleep(CLOSE_MS, wait.signal).then(() => !wait.signal.aborted);
    try {
      const closing = Promise.resolve(this.#middleware.close?.());
      closing.catch(() => undefined);
      if ((await Promise.race([closing.then(() => false), late])) === true) {
        this.metrics.add('failures', 1, 'close');
        logger.error({ middleware: name }, 'a middleware did not close in time');
      }
    } catch (cause) {
      this.#failed('close', cause);
    } finally {
      wait.abort();
    }
  }

  async #wait(given: Promise<EarlyAnswer | undefined>, signal: AbortSignal): Promise<EarlyAnswer | undefined> {
    const { clock, timeoutMs } = this.#options;
    // It may fail when nobody waits any more.
    given.catch(() => undefined);
    const late = Promise.withResolvers<never>();
    const timer = clock.startTimer(timeoutMs, () => {
      this.metrics.add('timeouts');
      late.reject(new Error(`no decision within ${timeoutMs} ms`));
    });
    try {
      return this.#decided(await unlessGone(Promise.race([given, late.promise]), signal));
    } catch (cause) {
      if (cause instanceof EdgeError && cause.code === 'CLIENT_GONE' && signal.aborted) throw cause;
      throw this.#failed('request', cause);
    } finally {
      timer.stop();
    }
  }

  #decided(given: EarlyAnswer | undefined): EarlyAnswer | undefined {
    if (given !== undefined) checkAnswer(given);
    this.metrics.add('requests', 1, given === undefined ? 'passed' : 'answered');
    return given;
  }

  #failed(hook: HookName, cause: unknown): EdgeError {
    const { name, logger } = this.#options;
    this.metrics.add('failures', 1, hook);
    if (hook !== 'end' && hook !== 'close') this.metrics.add('requests', 1, 'failed');
    logger.error({ middleware: name, hook, err: cause instanceof Error ? cause : new Error(String(cause)) }, 'a middleware failed');
    return new EdgeError('MIDDLEWARE_FAILED', undefined, { context: { middleware: name, hook }, cause });
  }

  #services(): MiddlewareServices {
    const { name, clock, random, logger } = this.#options;
    return {
      name,
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs(),
      every: (periodMs, callback) => {
        const guarded = (): void => {
          try {
            callback();
          } catch (cause) {
            logger.error(
              { middleware: name, err: cause instanceof Error ? cause : new Error(String(cause)) },
              'a timer of a middleware failed',
            );
          }
        };
        this.#timers.push(clock.startInterval(Math.max(1, periodMs), guarded));
      },
      random: () => random.integerBelow(FRACTION) / FRACTION,
      count: (event) => {
        const set = this.events.get(event);
        if (set === undefined) throw new TypeError(`${event} is not among the events of the module`);
        set.add('events');
      },
      log: (level, message, facts) => logger[level]({ middleware: name, ...facts }, message),
    };
  }

  #stopTimers(): void {
    for (const timer of this.#timers.splice(0)) timer.stop();
  }
}

/** @throws TypeError */
function checkAnswer(answer: EarlyAnswer): void {
  if (typeof answer !== 'object' || answer === null) throw new TypeError('onRequest() returns an answer, or undefined');
  const { status, fields = [], text } = answer;
  if (!Number.isInteger(status) || status < 200 || status > 599) throw new TypeError(`${String(status)} is no final status`);
  if (text !== undefined && typeof text !== 'string') throw new TypeError('the text of an answer is a string');
  if (!Array.isArray(fields)) throw new TypeError('the fields of an answer are a list');
  for (const [name, value] of fields) checkedField(name, value);
}

function mustNotWait(given: unknown): void {
  if (!isPromise(given)) return;
  Promise.resolve(given).catch(() => undefined);
  throw new TypeError('this hook cannot wait; it returns nothing');
}

function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
