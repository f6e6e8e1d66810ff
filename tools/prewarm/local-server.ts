/**
 * For `prewarm --device`: a whole rawslice in this process over a device that no server holds, on a port of the loopback that nobody else
 * knows, so that a device is filled by exactly the code that will serve it.
 */
import { Edge } from '../../src/app/edge.ts';
import { assert } from '../../src/base/assert.ts';
import { EdgeError } from '../../src/base/errors.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SystemRandom } from '../../src/base/random.ts';
import type { ConfigOverride } from '../../src/config/environment.ts';
import { mayOpen } from '../../src/device/guard.ts';
import { probeDevice } from '../../src/device/probe.ts';
import { DEFAULT_STORE_LIMITS } from '../../src/store/store-limits.ts';
import type { CommandIo } from '../command-io.ts';
import { loadConfigOrFail } from '../config-options.ts';

/** Ten times what the index of the largest device should take. */
const LOAD_MS_MAX = 300_000;
const LOAD_PAUSE_MS = 10;
const PACE_PAUSE_MS = 5;

/** A server of our own. `close` stores what is still in memory; the device is free afterwards. */
export interface LocalServer {
  readonly base: URL;
  /** Waits while the device is behind: a store that has no room for a slice declines it, and prewarm has time. */
  pace(signal: AbortSignal): Promise<void>;
  /** After close: slices that were not kept, for want of room, in spite of that. */
  countDeclined(): number;
  close(): Promise<void>;
}

/** What to serve. */
export interface LocalServerOptions {
  readonly device: string;
  readonly upstream: string;
  readonly preset: string | undefined;
  readonly overrides: readonly ConfigOverride[];
}

/**
 * Opens the device, loads its index and listens. Environment variables count as for `serve`.
 *
 * @throws EdgeError CONFIG_INVALID, DEVICE_* (DEVICE_ABSENT too: a misspelt path must not become a new cache), FORMAT_*
 */
export async function startLocalServer(io: CommandIo, options: LocalServerOptions): Promise<LocalServer> {
  const { device, upstream, preset } = options;
  const { config } = loadConfigOrFail(io, undefined, [
    ['device.path', device, 'flag --device'],
    ['upstream.url', upstream, 'flag --upstream'],
    ...(preset === undefined ? [] : [['preset', preset, 'flag --preset'] as const]),
    ['log.access', 'false', 'prewarm'],
    ...options.overrides,
  ]);
  const verdict = mayOpen(await probeDevice(device), 'read-write');
  if (verdict.kind === 'refused') throw verdict.error;
  const edge = await startEdge({
    config,
    isSizeChosen: false,
    clock: io.clock,
    random: new SystemRandom(),
    logger: createSilentLogger(),
    listen: { host: '127.0.0.1', port: 0 },
    adminListen: undefined,
    admitsEverything: true,
  });
  try {
    await untilLoaded(io, edge, device);
  } catch (error) {
    await edge.close();
    throw error;
  }
  const { address, store } = edge;
  assert(typeof address === 'object', 'a listener on a port has an address');
  const queuedBytesMax = Math.min(DEFAULT_STORE_LIMITS.queueBytes, config.memory.arenaBytes / 4) / 2;
  return {
    base: new URL(`http://127.0.0.1:${address.port}`),
    async pace(signal) {
      while (!signal.aborted && store.state === 'online' && store.count('queuedBytes') > queuedBytesMax) {
        await io.clock.sleep(PACE_PAUSE_MS, signal);
      }
    },
    // What was declined for want of room may have been admitted from memory since.
    countDeclined: () => store.count('declinedLost') + store.count('declined', 'no-space') + store.count('declined', 'unavailable'),
    async close() {
      await store.drain();
      await edge.close();
    },
  };
}

/** Until the index is loaded everything looks absent and would be fetched again. */
async function untilLoaded(io: CommandIo, edge: Edge, device: string): Promise<void> {
  const endMs = io.clock.monotonicMs() + LOAD_MS_MAX;
  while (edge.store.state === 'loading' && io.clock.monotonicMs() < endMs) await io.clock.sleep(LOAD_PAUSE_MS);
  const { state } = edge.store;
  if (state === 'online') return;
  const message = `${device} cannot be written (the store is ${state}); rawslice fsck ${device} may say why`;
  throw new EdgeError('STORE_UNAVAILABLE', message, { context: { state } });
}

async function startEdge(options: Parameters<typeof Edge.start>[0]): Promise<Edge> {
  try {
    return await Edge.start(options);
  } catch (cause) {
    if (!(cause instanceof EdgeError) || cause.code !== 'DEVICE_HELD') throw cause;
    const message = `${cause.message}; or, if a rawslice server holds it, warm it through that server: --server http://HOST:PORT without --device`;
    throw new EdgeError('DEVICE_HELD', message, { context: cause.context, cause });
  }
}
