/** The end of device threads that are still starting: a process in which nothing else goes on must live until they have ended. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from '../helpers/temp.ts';

/** Closed at many moments of the start, so that some meet the message of a thread that gets ready. */
const PROGRAM = `
import { openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
const { ThreadEngine } = await import(process.argv[1]);
const fd = openSync(process.argv[2], 'r+');
const silent = new Proxy({}, { get: () => () => undefined });
for (let round = 0; round < 40; round += 1) {
  const engine = new ThreadEngine({ fd, memory: new SharedArrayBuffer(65536), path: 'x', logger: silent, metrics: silent });
  await sleep(15 + round * 3);
  await engine.close();
}
console.log('done');
`;

test('threads that are stopped while they start are waited for', async (context) => {
  const file = path.join(await temporaryDirectory(context), 'device');
  await writeFile(file, new Uint8Array(65536));
  const engine = new URL('../../src/device/thread-engine.ts', import.meta.url).href;
  const words = ['--input-type=module', '--eval', PROGRAM, engine, file];
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  assert.deepEqual([status, stdout], [0, 'done\n'], stderr);
});
