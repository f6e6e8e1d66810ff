/** The real program loads its file again: when it changes, and on SIGHUP. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { Origin } from '../helpers/origin.ts';
import { type RawsliceProcess, startRawslice } from '../helpers/rawslice-process.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

test('a changed file is loaded, a bad one is not, and SIGHUP loads it at any time', async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10, cacheControl: 'max-age=60' }) });
  const directory = await temporaryDirectory(unwinding(context));
  const file = path.join(directory, 'edge.yaml');
  const write = (routes: string): Promise<void> => writeFile(file, `reload: { interval: 50ms }\nroutes:\n${routes}`);
  await write('  - { name: a, prefix: /a }\n');
  const flags = ['--size', '64MiB', '--config', file];
  const rawslice = await startRawslice(context, { upstream: origin.url, device: path.join(directory, 'cache'), flags });
  const statusOf = async (target: string): Promise<number | undefined> => (await rawslice.get(target)).status;
  assert.deepEqual([await statusOf('/a'), await statusOf('/b')], [200, 404]);
  const reloaded = (outcome: string, cause: string, server: RawsliceProcess = rawslice): Promise<void> =>
    server.untilAdmin('/readyz', ({ body }) => {
      const { reload } = JSON.parse(body.toString());
      return reload?.outcome === outcome && reload.cause === cause;
    });
  await write('  - { name: b, prefix: /b }\n');
  await reloaded('applied', 'file');
  assert.deepEqual([await statusOf('/a'), await statusOf('/b')], [404, 200]);
  await write('  - { nmae: c, prefix: /c }\n');
  await reloaded('invalid', 'file');
  assert.equal(await statusOf('/b'), 200);
  process.kill(rawslice.processId, 'SIGHUP');
  await reloaded('invalid', 'signal');
  assert.equal((await rawslice.scrape()).get('rawslice_config_current'), 0);
  assert.equal(await statusOf('/b'), 200);
});
