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
import type { CommandIo } from '../command-io.ts';
import { loadConfigOrFail } from '../config-options.ts';

/** A server of our own. `close` stores what is still in memory; the device is free afterwards. */
export interface LocalServer {
  readonly base: URL;
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
  });
  try {
    // Until then everything would look absent and be fetched again.
    await edge.store.recover();
  } catch (error) {
    await edge.close();
    throw error;
  }
  const { address } = edge;
  assert(typeof address === 'object', 'a listener on a port has an address');
  return { base: new URL(`http://127.0.0.1:${address.port}`), close: () => edge.close() };
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
