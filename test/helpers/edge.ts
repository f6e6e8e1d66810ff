/**
 * A whole proxy in this process, from listener to store, in front of a scripted origin. Scenarios run over the model store, which is quick
 * and exact, or over a real device. Closing it checks what must hold after every scenario: no lease, no live object, no pin is left.
 */
import assert from 'node:assert/strict';
import { Registry } from 'prom-client';
import { assembleProxy } from '../../src/app/proxy-assembly.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger, type Logger } from '../../src/base/log.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import type { SiteRule } from '../../src/cache/site-rule.ts';
import { loadConfig } from '../../src/config/load.ts';
import { Arena } from '../../src/memory/arena.ts';
import { DeviceStore } from '../../src/store/device-store.ts';
import { DeviceSet } from '../../src/store/devices/device-set.ts';
import type { SliceStore } from '../../src/store/slice-store.ts';
import { type ClientResponse, type RequestOptions, request } from './client.ts';
import { eventually } from './eventually.ts';
import { MemoryStore } from './memory-store.ts';
import type { Origin } from './origin.ts';
import { parseMetrics } from './rawslice-process.ts';

/** What a scenario may choose. */
export interface EdgeOptions {
  readonly origin: Origin;
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
  const set = {
    'upstream.url': options.origin.url,
    listen: '127.0.0.1:0',
    'device.path': 'none',
    'slice.size': '64KiB',
    'log.access': 'false',
    ...options.set,
  };
  const loaded = loadConfig({ environment: {}, overrides: Object.entries(set).map(([key, text]) => [key, text, 'test'] as const) });
  assert(loaded.kind === 'ok', loaded.kind === 'ok' ? '' : JSON.stringify(loaded.problems));
  const arena = new Arena({ sizeBytes: options.arenaBytes ?? 16 * MIB, clock });
  const logger = options.logger ?? createSilentLogger();
  const store = (await options.makeStore?.(arena)) ?? new MemoryStore(arena);
  const config = { ...loaded.config, rules: [...(options.rules ?? []), ...loaded.config.rules] };
  const proxy = assembleProxy({ config, store, arena, clock, random: new SystemRandom(), logger });
  const address = await proxy.listener.listen({ host: '127.0.0.1', port: 0 });
  assert(typeof address === 'object');
  const { port } = address;
  const registry = new Registry();
  for (const metrics of proxy.metricSets) metrics.register(registry);
  return {
    port,
    arena,
    store,
    services: proxy.services,
    resolver: proxy.services.resolver,
    upstreamMetrics: proxy.upstreamMetrics,
    abilities: proxy.abilities,
    /** Sends one request, verifying the body against the origin's present version when `verify` says so. */
    get(path: string, headers: Record<string, string> = {}, more: Partial<RequestOptions> = {}): Promise<ClientResponse> {
      return request({ port, path, headers, ...more });
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
    /** Begins the drain; what holds after a scenario is looked at when the edge is disposed of. */
    close(deadlineMs: number): Promise<void> {
      return proxy.listener.close(deadlineMs);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await this.settle();
      await proxy.listener.close(1000);
      await proxy.transport.close();
      await store.drain();
      await eventually(
        () => arena.leasedSlots === 0 || arena.usedBytes('fill') + arena.usedBytes('device-read') + arena.usedBytes('staging') === 0,
        { what: 'the end of all leases' },
      );
      assert.equal(proxy.services.pins.taken, 0, 'no pin is left');
      assert.equal(heldGenerations(store), 0, 'no generation is held');
      await store.close();
    },
  };
}

/** Generations that readers hold in the store. */
function heldGenerations(store: SliceStore): number {
  if (store instanceof MemoryStore) return store.heldCount;
  if (store instanceof DeviceSet) return store.count('heldGenerations') + store.count('retiredGenerations');
  return store instanceof DeviceStore ? store.metrics.value('heldGenerations') + store.metrics.value('retiredGenerations') : 0;
}

/** A running proxy, as startEdge() returns it. */
export type TestEdge = Awaited<ReturnType<typeof startEdge>>;
