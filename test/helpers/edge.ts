/**
 * A whole proxy in this process, from listener to store, in front of a scripted origin. Scenarios run over the model store, which is quick
 * and exact, or over a real device. Closing it checks what must hold after every scenario: no lease, no live object, no pin and no buffer is left.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Registry } from 'prom-client';
import { loadEdgeConfig } from '../../src/app/load-config.ts';
import { AssembledProxy } from '../../src/app/proxy-assembly.ts';
import { must } from '../../src/base/assert.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger, type Logger } from '../../src/base/log.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import type { SiteRule } from '../../src/cache/site-rule.ts';
import type { LoadResult } from '../../src/config/load.ts';
import { formatProblem } from '../../src/config/problem.ts';
import { Arena } from '../../src/memory/arena.ts';
import type { Listener } from '../../src/proxy/listener.ts';
import { DeviceStore } from '../../src/store/device-store.ts';
import { DeviceSet } from '../../src/store/devices/device-set.ts';
import type { SliceStore } from '../../src/store/slice-store.ts';
import { type ClientResponse, type RequestOptions, request } from './client.ts';
import { eventually } from './eventually.ts';
import { MemoryStore } from './memory-store.ts';
import type { Origin } from './origin.ts';
import { parseMetrics } from './rawslice-process.ts';
import { withTemporaryDirectory } from './temp.ts';

/** What a scenario may choose. */
export interface EdgeOptions {
  /** What `upstream.url` leads to; undefined where `yaml` says what is fronted. */
  readonly origin?: Origin | undefined;
  /** Lists of a configuration file: services, routes, upstreams. */
  readonly yaml?: string | undefined;
  /** Options by dotted key, as `--set` takes them. */
  readonly set?: Readonly<Record<string, string>> | undefined;
  /** As in a configuration file, tried before those of `preset`. */
  readonly rules?: readonly SiteRule[] | undefined;
  readonly arenaBytes?: number | undefined;
  /** Makes the store over the edge's arena; the model store when undefined. */
  readonly makeStore?: ((arena: Arena) => Promise<SliceStore>) | undefined;
  /** Silent when undefined. */
  readonly logger?: Logger | undefined;
}

/** A running proxy. */
export async function startEdge(options: EdgeOptions) {
  const clock = new SystemClock();
  const loaded = await load(options);
  const arena = new Arena({ sizeBytes: options.arenaBytes ?? 16 * MIB, clock });
  const logger = options.logger ?? createSilentLogger();
  const store = (await options.makeStore?.(arena)) ?? new MemoryStore(arena);
  const routes = loaded.config.routes.map((route) => ({ ...route, rules: [...(options.rules ?? []), ...route.rules] }));
  const config = { ...loaded.config, routes };
  const proxy = new AssembledProxy({ config, store, arena, clock, random: new SystemRandom(), logger });
  const listeners: Listener[] = [];
  const ports = new Map<string, number>();
  for (const { name } of config.services) {
    const listener = proxy.createListener(name);
    listeners.push(listener);
    const address = await listener.listen({ host: '127.0.0.1', port: 0 });
    assert(typeof address === 'object');
    ports.set(name, address.port);
  }
  const port = must([...ports.values()][0], 'a configuration has a service');
  const registry = new Registry();
  for (const metrics of proxy.metricSets) metrics.register(registry);
  return {
    /** Of the first service. */
    port,
    /** By service. */
    ports,
    proxy,
    arena,
    store,
    services: proxy.services,
    /** What the first route fronts. */
    site: must(proxy.services.service.router.routes[0], 'there is a route').site,
    resolver: proxy.services.resolver,
    upstreamMetrics: proxy.upstreamMetrics,
    abilities: proxy.abilities,
    /** Sends one request, verifying the body against the origin's present version when `verify` says so. */
    get(target: string, headers: Record<string, string> = {}, more: Partial<RequestOptions> = {}): Promise<ClientResponse> {
      return request({ port, path: target, headers, ...more });
    },
    /** The present value of a series, such as `rawslice_purges_total{kind="url"}`. */
    async metric(series: string): Promise<number> {
      const found = parseMetrics(await registry.metrics()).get(series);
      assert(found !== undefined, `no series ${series}`);
      return found;
    },
    /** Waits until nothing is going on. */
    async settle(): Promise<void> {
      await eventually(() => proxy.services.load.requests === 0 && proxy.services.resolver.liveCount === 0, { what: 'an idle edge' });
    },
    listeners,
    /** Begins the drain; what holds after a scenario is looked at when the edge is disposed of. */
    async close(deadlineMs: number): Promise<void> {
      await Promise.all(listeners.map((listener) => listener.close({ deadlineMs })));
    },
    async [Symbol.asyncDispose](): Promise<void> {
      try {
        await this.settle();
      } finally {
        // A scenario that failed may have left clients behind, and they would keep the process.
        await Promise.all(listeners.map((listener) => listener.close({ deadlineMs: 1000 })));
      }
      await proxy.close();
      await store.drain();
      await eventually(
        () => arena.leasedSlots === 0 || arena.usedBytes('fill') + arena.usedBytes('device-read') + arena.usedBytes('staging') === 0,
        { what: 'the end of all leases' },
      );
      assert.equal(proxy.services.pins.taken, 0, 'no pin is left');
      assert.equal(proxy.services.copies.takenCount, 0, 'no copy is left');
      assert.ok(proxy.services.answers.isIdle, 'no answer is being sent');
      assert.equal(proxy.services.buffers.takenCount, 0, 'no private buffer is left');
      assert.equal(heldGenerations(store), 0, 'no generation is held');
      await store.close();
    },
  };
}

async function load({ origin, yaml, set = {} }: EdgeOptions): Promise<Extract<LoadResult, { kind: 'ok' }>> {
  const all = {
    ...(origin === undefined ? {} : { 'upstream.url': origin.url }),
    'device.path': 'none',
    'slice.size': '64KiB',
    'log.access': 'false',
    ...set,
  };
  const overrides = Object.entries(all).map(([key, text]) => [key, text, 'test'] as const);
  const loaded = await withTemporaryDirectory(async (folder) => {
    const file = yaml === undefined ? undefined : path.join(folder, 'edge.yaml');
    if (file !== undefined) await writeFile(file, yaml ?? '');
    return loadEdgeConfig({ file, environment: {}, overrides });
  });
  assert(loaded.kind === 'ok', loaded.kind === 'ok' ? '' : loaded.problems.map(formatProblem).join('\n'));
  return loaded;
}

/** Generations that readers hold in the store. */
function heldGenerations(store: SliceStore): number {
  if (store instanceof MemoryStore) return store.heldCount;
  if (store instanceof DeviceSet) return store.count('heldGenerations') + store.count('retiredGenerations');
  return store instanceof DeviceStore ? store.metrics.value('heldGenerations') + store.metrics.value('retiredGenerations') : 0;
}

/** A running proxy, as startEdge() returns it. */
export type TestEdge = Awaited<ReturnType<typeof startEdge>>;
