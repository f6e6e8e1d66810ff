/**
 * The middlewares of a configuration, made when it is prepared. One that is configured as before goes on over a reload, with all that it knows; one that is
 * not used any more is closed when the requests that began with it have ended. Used by proxy-assembly.ts.
 */
import type { Registry } from 'prom-client';
import type { Clock } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { registerSets } from '../base/metrics.ts';
import type { Random } from '../base/random.ts';
import type { ConfigMiddleware } from '../config/edge-config.ts';
import type { FieldList } from '../http/header-fields.ts';
import { MiddlewareInstance } from '../middleware/middleware-instance.ts';
import { EVENT_METRICS, MIDDLEWARE_METRICS } from '../middleware/middleware-metrics.ts';
import { MODULES } from './module-catalogue.ts';

/** The middlewares of one configuration, by name. */
export interface MiddlewareLine {
  readonly instances: ReadonlyMap<string, MiddlewareInstance>;
  /** What the origin is told by each of them. */
  readonly originFields: ReadonlyMap<string, FieldList>;
}

/** None. */
export const NO_MIDDLEWARES: MiddlewareLine = { instances: new Map(), originFields: new Map() };

/** What middlewares are made with. */
export interface MiddlewareBase {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Those that are served now, and those that are still needed. */
export class MiddlewareSet {
  readonly #base: MiddlewareBase;
  #line = NO_MIDDLEWARES;
  /** How each of them was configured. */
  readonly #shapes = new WeakMap<MiddlewareInstance, string>();
  readonly #closing = new Set<Promise<void>>();

  constructor(base: MiddlewareBase) {
    this.#base = base;
  }

  /** Makes those that are new or configured otherwise. Nothing changes yet. @throws EdgeError CONFIG_INVALID */
  prepare(configs: readonly ConfigMiddleware[]): MiddlewareLine {
    const instances = new Map<string, MiddlewareInstance>();
    const originFields = new Map<string, FieldList>();
    try {
      for (const config of configs) {
        const known = this.#line.instances.get(config.name);
        const isKept = known !== undefined && this.#shapes.get(known) === shapeOf(config);
        instances.set(config.name, isKept ? known : this.#make(config));
        const fields = MODULES.module(config.use)?.originFields?.(config.options) ?? [];
        if (fields.length > 0) originFields.set(config.name, fields);
      }
    } catch (error) {
      this.discard({ instances, originFields });
      throw error;
    }
    return { instances, originFields };
  }

  /** What was prepared is not served after all. */
  discard({ instances }: MiddlewareLine): void {
    const served = new Set(this.#line.instances.values());
    for (const instance of instances.values()) if (!served.has(instance)) this.#close(instance, 0);
  }

  /** From now on these are asked. */
  commit(line: MiddlewareLine, drainMs: number): void {
    const next = new Set(line.instances.values());
    for (const instance of this.#line.instances.values()) if (!next.has(instance)) this.#close(instance, drainMs);
    this.#line = line;
  }

  /** No request is in progress any more, or is waited for. */
  async close(): Promise<void> {
    for (const instance of this.#line.instances.values()) this.#close(instance, 0);
    await Promise.all(this.#closing);
  }

  register(registry: Registry): void {
    const all = (): readonly MiddlewareInstance[] => [...this.#line.instances.values()];
    registerSets(registry, MIDDLEWARE_METRICS, { labels: ['middleware'], sets: () => all().map(({ name, metrics }) => [[name], metrics]) });
    registerSets(registry, EVENT_METRICS, {
      labels: ['middleware', 'event'],
      sets: () => all().flatMap(({ name, events }) => [...events].map(([event, metrics]) => [[name, event], metrics] as const)),
    });
  }

  #make(config: ConfigMiddleware): MiddlewareInstance {
    const { name, use, options, timeoutMs, upstreams } = config;
    const module = MODULES.module(use);
    if (module === undefined) throw new EdgeError('CONFIG_INVALID', `The module ${use} of the middleware ${name} is gone`);
    const instance = new MiddlewareInstance({ ...this.#base, name, module, options, timeoutMs, upstreams: new Set(upstreams) });
    this.#shapes.set(instance, shapeOf(config));
    return instance;
  }

  #close(instance: MiddlewareInstance, drainMs: number): void {
    const closed = instance.close(drainMs).finally(() => this.#closing.delete(closed));
    this.#closing.add(closed);
  }
}

function shapeOf({ use, options, timeoutMs }: ConfigMiddleware): string {
  return JSON.stringify([use, timeoutMs, options], (_key, value: unknown) =>
    value instanceof RegExp ? `/${value.source}/${value.flags}` : value,
  );
}
