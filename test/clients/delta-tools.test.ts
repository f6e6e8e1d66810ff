/** zsync and zckdl, which fetch what differs from an older file in many ranges at once, against the real program: cold, warm, without the origin. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { hasTool } from '../helpers/loop-device.ts';
import { Origin } from '../helpers/origin.ts';
import { type RawsliceProcess, startRawslice } from '../helpers/rawslice-process.ts';
import { mustRunTool } from '../helpers/run-tool.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

const SEED = 8128;
const LENGTH = 6 * MIB + 4321;
/** Places at which the newer file differs. */
const CHANGES = 60;

interface Stage {
  readonly directory: string;
  readonly older: Buffer;
  readonly newer: Buffer;
}

/** Two versions of a file that differ in many small places, on disk as `older` and `newer`. */
async function setUp(context: TestContext): Promise<Stage> {
  const directory = await temporaryDirectory(unwinding(context));
  const random = new SeededRandom(SEED);
  context.diagnostic(`seed ${SEED}`);
  const older = Buffer.from(random.bytes(LENGTH));
  const newer = Buffer.from(older);
  for (let change = 0; change < CHANGES; change += 1) {
    newer.set(random.bytes(100), Math.floor(((change + 0.5) * LENGTH) / CHANGES));
  }
  await writeFile(path.join(directory, 'older'), older);
  await writeFile(path.join(directory, 'newer'), newer);
  return { directory, older, newer };
}

async function startFor(context: TestContext, origin: Origin, directory: string): Promise<RawsliceProcess> {
  const flags = ['--size', '128MiB'];
  return startRawslice(context, { upstream: origin.url, device: path.join(directory, 'cache'), flags });
}

/** Fetches twice, the second time without an origin: then everything comes from the cache. */
async function coldAndWarm(origin: Origin, rawslice: RawsliceProcess, fetchOnce: (name: string) => Promise<void>): Promise<void> {
  await fetchOnce('cold');
  const lines = await rawslice.untilAccessLines(3);
  assert.ok(
    lines.some((line) => String(line['http.request.range']).includes(',')),
    'the client asks for several ranges at a time',
  );
  await origin.stop();
  await fetchOnce('warm');
}

test('zsync fetches what differs, cold and from the cache', {
  skip: hasTool('zsync') && hasTool('zsyncmake') ? false : 'zsync is not installed',
}, async (context) => {
  const { directory, newer } = await setUp(context);
  await using origin = await Origin.start();
  await mustRunTool('zsyncmake', ['-b', '2048', '-u', 'newer', '-o', 'newer.zsync', 'newer'], { cwd: directory });
  origin.setObject('/newer', { body: newer, cacheControl: 'max-age=3600' });
  origin.setObject('/newer.zsync', { body: await readFile(path.join(directory, 'newer.zsync')), cacheControl: 'max-age=3600' });
  const rawslice = await startFor(context, origin, directory);
  await coldAndWarm(origin, rawslice, async (name) => {
    await mustRunTool('zsync', ['-q', '-i', 'older', '-o', name, `${rawslice.url}/newer.zsync`], { cwd: directory });
    assert.ok((await readFile(path.join(directory, name))).equals(newer), `${name}: the file is the newer one`);
  });
});

test('zckdl fetches the chunks that differ, cold and from the cache', {
  skip: hasTool('zck') && hasTool('zckdl') ? false : 'zchunk is not installed',
}, async (context) => {
  const { directory } = await setUp(context);
  await using origin = await Origin.start();
  for (const name of ['older', 'newer']) {
    await mustRunTool('zck', ['--compression-format=none', '-o', `${name}.zck`, name], { cwd: directory });
  }
  const newer = await readFile(path.join(directory, 'newer.zck'));
  assert.ok(newer.length > 100 * KIB);
  origin.setObject('/newer.zck', { body: newer, cacheControl: 'max-age=3600' });
  const rawslice = await startFor(context, origin, directory);
  await coldAndWarm(origin, rawslice, async (name) => {
    const cwd = await temporaryDirectory(unwinding(context));
    await mustRunTool('zckdl', ['--fail-no-ranges', '-s', path.join(directory, 'older.zck'), `${rawslice.url}/newer.zck`], { cwd });
    assert.ok((await readFile(path.join(cwd, 'newer.zck'))).equals(newer), `${name}: the file is the newer one`);
  });
});
