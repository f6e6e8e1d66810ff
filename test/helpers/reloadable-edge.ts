/** A real program in this process with a configuration file, for plays that change the file and reload. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Edge } from '../../src/app/edge.ts';
import { loadEdgeConfig } from '../../src/app/load-config.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger, type Logger } from '../../src/base/log.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { request } from './client.ts';
import { withTemporaryDirectory } from './temp.ts';

/** The program while it runs. */
export interface EdgePlay {
  readonly edge: Edge;
  readonly file: string;
  /** Writes the file and reloads. */
  change(text: string): ReturnType<Edge['reload']>;
  port(service?: string): number;
  /** Asks the admin port. */
  admin(target: string): Promise<{ readonly status: number; readonly text: string; readonly body: Record<string, unknown> }>;
}

/** Runs a play. @param yaml everything but the device */
export async function withReloadableEdge(
  yaml: string,
  run: (play: EdgePlay) => Promise<void>,
  logger: Logger = createSilentLogger(),
): Promise<void> {
  await withTemporaryDirectory(async (folder) => {
    const file = path.join(folder, 'edge.yaml');
    const write = (text: string): Promise<void> => writeFile(file, text);
    await write(yaml);
    const overrides = Object.entries({
      'device.path': path.join(folder, 'cache'),
      'device.size': '64MiB',
      'memory.arena': '16MiB',
      'slice.size': '64KiB',
      'log.access': 'false',
      'log.level': logger.level,
      'admin.listen': '127.0.0.1:0',
      'reload.interval': '0',
    }).map(([key, text]) => [key, text, 'test'] as const);
    const load = () => loadEdgeConfig({ file, environment: {}, overrides });
    const loaded = load();
    assert(loaded.kind === 'ok', JSON.stringify(loaded));
    const { config } = loaded;
    const base = { isSizeChosen: true, clock: new SystemClock(), random: new SystemRandom(), logger };
    const edge = await Edge.start({ ...base, config, adminListen: config.admin.listen, source: { file, load } });
    const port = (service?: string): number => {
      const open = edge.listeners.open.find((listener) => service === undefined || listener.service === service);
      assert(typeof open?.address === 'object');
      return open.address.port;
    };
    const change = async (text: string) => {
      await write(text);
      return edge.reload('file');
    };
    const admin = async (target: string) => {
      const { status, body } = await request({ port: edge.adminAddress?.port ?? 0, path: target });
      const text = body.toString();
      return { status, text, body: text.startsWith('{') ? JSON.parse(text) : {} };
    };
    try {
      await run({ edge, file, change, port, admin });
    } finally {
      await edge.close();
    }
  });
}
