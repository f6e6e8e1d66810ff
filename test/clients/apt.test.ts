/** Real apt-get against the real program with the preset for Debian, in front of an archive of packages built here. */
import assert from 'node:assert/strict';
import { readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { type AptRepository, aptObstacle, buildPackage, IsolatedApt, publish } from '../helpers/apt-repository.ts';
import { hasTool } from '../helpers/loop-device.ts';
import { Origin } from '../helpers/origin.ts';
import { type RawsliceProcess, startRawslice } from '../helpers/rawslice-process.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

const SMALL_COUNT = 12;
const noGpg = hasTool('gpg') ? undefined : 'gpg is not installed';

interface Stage {
  readonly repository: AptRepository;
  readonly rawslice: RawsliceProcess;
  readonly apt: IsolatedApt;
}

async function setUp(context: TestContext, origin: Origin, isSigned: boolean): Promise<Stage> {
  const directory = await temporaryDirectory(unwinding(context));
  const packages = await Promise.all([
    buildPackage(directory, { name: 'noise-large', version: '1.0', payloadBytes: 12 * MIB }),
    ...Array.from({ length: SMALL_COUNT }, (_, index) =>
      buildPackage(directory, { name: `noise-${index}`, version: '1.0', payloadBytes: 20_000 + index * 7919 }),
    ),
  ]);
  const repository = await publish(origin, directory, { packages, isSigned });
  const flags = ['--size', '256MiB', '--preset', 'debian'];
  const rawslice = await startRawslice(context, { upstream: origin.url, device: path.join(directory, 'cache'), flags });
  const apt = await IsolatedApt.create(path.join(directory, 'apt'), `${repository.sourceOptions} ${rawslice.url}/debian`);
  return { repository, rawslice, apt };
}

/** The packages that apt has fetched are those of the archive, to the byte. */
async function assertDownloaded({ apt, repository }: Stage): Promise<void> {
  for (const { name, version, bytes } of repository.packages) {
    const file = await readFile(path.join(apt.archives, `${name}_${version}_all.deb`));
    assert.ok(file.equals(bytes), `${name}: ${file.length} bytes differ from the archive's ${bytes.length}`);
  }
}

async function clean(apt: IsolatedApt): Promise<void> {
  for (const name of await readdir(apt.archives)) if (name.endsWith('.deb')) await rm(path.join(apt.archives, name));
}

function names({ repository }: Stage): string[] {
  return repository.packages.map(({ name }) => name);
}

test('apt-get updates, downloads with pipelining, resumes, and downloads again without the origin', {
  skip: aptObstacle() ?? false,
}, async (context) => {
  await using origin = await Origin.start();
  const stage = await setUp(context, origin, false);
  const { repository, rawslice, apt } = stage;
  const [large] = repository.packages;
  assert.ok(large !== undefined);
  const target = `/debian/${large.poolPath}`;
  assert.equal((await apt.run('update')).exit, 0);
  assert.equal(origin.requestsFor(`/debian/${repository.byHashPath}`).length, 1, 'apt asked for the index by its hash');

  // A download that was broken off before: apt dates the part with the Last-Modified of what it has.
  const partBytes = 5_000_001;
  const part = path.join(apt.archives, 'partial', `${large.name}_${large.version}_all.deb`);
  const modified = new Date('2025-01-01T00:00:00Z');
  await writeFile(part, large.bytes.subarray(0, partBytes));
  await utimes(part, modified, modified);
  await apt.mustRun('install', '--download-only', large.name);
  const [resumed] = await rawslice.untilAccessLines(1, (line) => line['url.path'] === target);
  assert.equal(resumed?.['http.request.range'], `bytes=${partBytes}-`);
  assert.equal(resumed?.['http.response.status_code'], 206);
  const cost = origin.bytesSent(target);
  assert.ok(cost <= large.bytes.length - partBytes + MIB, `the resume cost the origin ${cost} bytes`);

  await apt.mustRun('install', '--download-only', ...names(stage));
  await assertDownloaded(stage);
  // The beginning that the resume did not need is missing yet.
  assert.equal((await rawslice.get(target)).body.equals(large.bytes), true);
  await rawslice.untilStored();

  await origin.stop();
  await clean(apt);
  const linesBefore = (await rawslice.untilAccessLines(await rawslice.requestCount())).length;
  await apt.mustRun('install', '--download-only', ...names(stage));
  await assertDownloaded(stage);
  const again = (await rawslice.untilAccessLines(linesBefore + repository.packages.length)).slice(linesBefore);
  assert.equal(again.length, repository.packages.length);
  assert.deepEqual(new Set(again.map((line) => line['cache.result'])), new Set(['HIT']));
});

test('a signed archive is updated and downloaded again from the cache alone', {
  skip: aptObstacle() ?? noGpg ?? false,
}, async (context) => {
  await using origin = await Origin.start();
  const stage = await setUp(context, origin, true);
  const { apt, rawslice, repository } = stage;
  await apt.mustRun('update');
  await apt.mustRun('install', '--download-only', ...names(stage));
  await assertDownloaded(stage);
  const signed = await rawslice.untilAccessLines(1, (line) => String(line['url.path']).endsWith('/InRelease'));
  assert.deepEqual(
    signed.map((line) => line['cache.result']),
    ['MISS'],
  );
  await rawslice.untilStored();
  const costBefore = origin.requests.length;
  await apt.mustRun('update');
  assert.equal(origin.requests.length, costBefore, 'the preset ignores max-age=0 of a request within the minute that indexes are fresh');

  await origin.stop();
  await clean(apt);
  const fresh = await IsolatedApt.create(
    path.join(path.dirname(path.dirname(path.dirname(apt.archives))), 'apt-2'),
    `${repository.sourceOptions} ${rawslice.url}/debian`,
  );
  await fresh.mustRun('update');
  await fresh.mustRun('install', '--download-only', ...names(stage));
  await assertDownloaded({ ...stage, apt: fresh });
  const byHash = await rawslice.get(`/debian/${repository.byHashPath}`, { 'Cache-Control': 'max-age=0' });
  assert.deepEqual([byHash.status, byHash.headers['x-cache'], byHash.body.equals(repository.packagesGz)], [200, 'HIT', true]);
});
