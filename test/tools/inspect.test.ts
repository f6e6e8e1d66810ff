/** `rawslice inspect` and `rawslice fsck` on caches that a real proxy has filled, whole and damaged. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFile, open, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Edge } from '../../src/app/edge.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom, SystemRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { loadConfig } from '../../src/config/load.ts';
import { renderSliceMap } from '../../tools/inspect/slice-map.ts';
import { request } from '../helpers/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { loopObstacle, withLoopDevice } from '../helpers/loop-device.ts';
import { Origin } from '../helpers/origin.ts';
import { type ProgramRun, runWords } from '../helpers/run-program.ts';
import { temporaryDirectory } from '../helpers/temp.ts';

const loopSkip = loopObstacle() ?? false;
const LABEL_BYTES = MIB;

let folder = '';
let cache = '';
let site = '';
const cleanups: (() => Promise<void>)[] = [];

/** Fills a device with /whole (3 slices), /part (2 of 10 slices), /empty; closes it, or leaves it to `beside` first. */
async function fill(device: string, beside?: (edge: Edge) => Promise<void>): Promise<string> {
  await using origin = await Origin.start();
  origin.setObject('/whole', { lengthBytes: 3 * 64 * KIB - 5, cacheControl: 'max-age=3600' });
  origin.setObject('/part?a=1', { lengthBytes: 640 * KIB, cacheControl: 'max-age=3600' });
  origin.setObject('/empty', { lengthBytes: 0, cacheControl: 'max-age=3600' });
  const set = { 'upstream.url': origin.url, 'device.path': device, 'slice.size': '64KiB', 'memory.arena': '16MiB', 'log.access': 'false' };
  const loaded = loadConfig({ environment: {}, overrides: Object.entries(set).map(([key, text]) => [key, text, 'test'] as const) });
  assert.ok(loaded.kind === 'ok');
  const edge = await Edge.start({
    config: loaded.config,
    isSizeChosen: false,
    clock: new SystemClock(),
    random: new SystemRandom(),
    logger: createSilentLogger(),
    listen: { host: '127.0.0.1', port: 0 },
    adminListen: undefined,
  });
  try {
    await eventually(() => edge.store.state === 'online', { what: 'the store' });
    assert.ok(typeof edge.address === 'object');
    const { port } = edge.address;
    const asks: readonly [target: string, range: Record<string, string>][] = [
      ['/whole', {}],
      ['/part?a=1', { range: 'bytes=65536-196607' }],
      ['/empty', {}],
    ];
    for (const [target, headers] of asks) {
      const answer = await request({ port, path: target, headers });
      assert.ok(answer.status === 200 || answer.status === 206, `${target}: ${answer.status}`);
    }
    await eventually(() => edge.proxy.services.resolver.liveCount === 0, { what: 'the end of the fills' });
    await beside?.(edge);
  } finally {
    await edge.close();
  }
  return `127.0.0.1:${origin.port}`;
}

before(async () => {
  folder = await temporaryDirectory({ after: (callback) => cleanups.push(callback) });
  cache = path.join(folder, 'cache.img');
  assert.equal((await runWords(['format', cache, '--size', '64MiB'])).code, 0);
  site = await fill(cache);
});
after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

async function inspect(...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runWords(['inspect', ...words]);
  assert.equal(code, 0, stderr);
  return stdout;
}

test('superblock, zones and usage, as text and as JSON', async () => {
  assert.match(
    await inspect('superblock', cache),
    /^device UUID +[0-9a-f-]{36}\n[\s\S]*^closed in order +yes$[\s\S]*^label 3 +valid, \d+ superblocks/m,
  );
  assert.equal(JSON.parse(await inspect('superblock', cache, '--json')).isClean, true);
  assert.doesNotMatch(await inspect('superblock', cache, '--json'), /mackey/i, 'no secret is shown');
  assert.match(await inspect('zones', cache), /^label 0 +at +0 {2}1 MiB \(1048576 bytes\)\n[\s\S]*^label 3 +at 66060288 /m);
  assert.equal(JSON.parse(await inspect('zones', cache, '--json')).zones.length, 8);
  assert.match(await inspect('usage', cache), /^objects +3\nslices +5\nused +\d+/);
  const usage = JSON.parse(await inspect('usage', cache, '--json'));
  assert.deepEqual([usage.objects, usage.slices, usage.entriesUsed, usage.entriesMax], [3, 5, 11, 8192]);
});

test('without a word more it shows an overview, as the first line on the device promises', async () => {
  assert.match(await inspect(cache), /^device UUID[\s\S]*^closed in order +yes\nobjects +3\nslices +5\n/m);
  const { usage, isClean } = JSON.parse(await inspect(cache, '--json'));
  assert.deepEqual([usage.objects, isClean], [3, true]);
});

test('objects by prefix and limit', async () => {
  const all = JSON.parse(await inspect('objects', cache, '--json'));
  const keys = all.objects.map((object: { key: string }) => object.key).sort();
  assert.deepEqual([keys, all.more, all.unreadable], [[`${site}/empty`, `${site}/part?a=1`, `${site}/whole`], false, 0]);
  assert.match(
    await inspect('objects', cache, '--prefix', '/who'),
    /^ +length +slices .*key\n +192\.0 KiB +3\/3 {2}20\d\d-.*Z .*\/whole\n$/,
  );
  assert.equal((await inspect('objects', cache, '--prefix', `${site}/part`)).split('\n').length, 3);
  const cut = await runWords(['inspect', 'objects', cache, '--limit', '2']);
  assert.match(cut.stderr, /there are more than 2; --limit shows more/);
  assert.match((await runWords(['inspect', 'objects', cache, '--prefix', '/none'])).stderr, /no object begins with \/none/);
});

test('an object by key, URL or path, with its map', async () => {
  for (const name of [`${site}/part?a=1`, `http://${site}/part?a=1`, '/part?a=1', '/x/../part?a=1']) {
    const text = await inspect('object', cache, name);
    assert.match(text, /^key +127\.0\.0\.1:\d+\/part\?a=1\n/, name);
    assert.match(text, /^slices +2 of 10 stored, 64 KiB each$/m);
    assert.match(text, /^ {2}cache-control +max-age=3600$/m);
    assert.match(text, /\nmap, each character a slice \(64 KiB\): # stored, \. not\n {2}\.##\.{7}\n$/);
  }
  assert.deepEqual(JSON.parse(await inspect('object', cache, '/part?a=1', '--json')).storedRuns, [{ start: 1, end: 3 }]);
  assert.match(await inspect('object', cache, '/empty'), /\nno slices: the object is empty\n$/);
  const absent = await runWords(['inspect', 'object', cache, '/part?a=2']);
  assert.equal(absent.code, 1);
  assert.match(absent.stderr, /"\/part\?a=2" is not stored on the device; rawslice inspect objects/);
});

test('a map of many slices has a character for each range of them', () => {
  const runs = [
    { start: 0, end: 5000 },
    { start: 9999, end: 10_000 },
  ];
  const [legend, ...lines] = renderSliceMap(runs, { sliceCount: 10_000, columns: 80, sliceSizeBytes: MIB });
  assert.equal(legend, 'map, each character 9 slices (9 MiB): # stored, + in part, . not');
  assert.equal(lines.length, 16);
  assert.ok(lines.every((line) => line.length < 80));
  const cells = lines.join('').replaceAll(' ', '');
  // 10,000 slices are 1111 ranges of 9 and one of a single slice.
  assert.equal(cells, `${'#'.repeat(555)}+${'.'.repeat(555)}#`);
});

test('what cannot be inspected is refused with advice', async () => {
  const blank = path.join(folder, 'blank');
  await writeFile(blank, new Uint8Array(MIB));
  const cases: readonly [words: readonly string[], code: number, message: RegExp][] = [
    [['inspect', 'usage', path.join(folder, 'absent')], 1, /does not exist/],
    [['inspect', 'usage', blank], 1, /is blank; format it/],
    [['inspect'], 2, /missing required argument 'path'/],
    [['inspect', 'objects', cache, '--limit', '0'], 2, /--limit takes a number/],
    [['inspect', 'zoens', cache], 2, /inspect has no subcommand "zoens"; it has overview, superblock, zones, .*hex\b/],
  ];
  for (const [words, code, message] of cases) {
    const run = await runWords(words);
    assert.equal(run.code, code, words.join(' '));
    assert.match(run.stderr, message);
  }
});

test('inspect and fsck run beside a server, which goes on', { skip: loopSkip }, async () => {
  await withLoopDevice(64 * MIB, async (loop) => {
    assert.equal((await runWords(['format', loop.path, '--yes'])).code, 0);
    await fill(loop.path, async (edge) => {
      await edge.store.drain();
      assert.match(await inspect('superblock', loop.path), /^closed in order +no/m);
      const check = await runWords(['fsck', loop.path]);
      assert.equal(check.code, 0, check.stdout + check.stderr);
      assert.match(check.stdout, /^remark {2}it was not closed in order: a server is running on it/m);
      assert.equal(edge.store.state, 'online');
    });
    assert.equal(JSON.parse(await inspect('usage', loop.path, '--json')).slices, 5);
  });
});

test('fsck finds a closed cache clean', async () => {
  const { code, stdout, stderr } = await runWords(['fsck', cache]);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^3 objects, 5 slices, .* used, .* free, 11 of 8192 entries\n.*cache\.img is clean\n$/);
  assert.equal(stderr, '');
  const json = JSON.parse((await runWords(['fsck', cache, '--json'])).stdout);
  assert.deepEqual([json.result, json.notes, json.usage.objects, json.recovery.records], ['clean', [], 3, 8]);
});

/** Checks a copy of the cache with zeros in some places. */
async function checkDamaged(name: string, places: readonly (readonly [offsetBytes: number, lengthBytes: number])[]): Promise<ProgramRun> {
  const copy = path.join(folder, name);
  await copyFile(cache, copy);
  const file = await open(copy, 'r+');
  for (const [offsetBytes, lengthBytes] of places) await file.write(new Uint8Array(lengthBytes), 0, lengthBytes, offsetBytes);
  await file.close();
  return runWords(['fsck', copy, '--json']);
}

test('fsck tells damage by code and ends with 4', async () => {
  const zones = JSON.parse(await inspect('zones', cache, '--json')).zones;
  const offsetOf = (zone: string): number => zones.find((row: { zone: string }) => row.zone === zone).offsetBytes;
  const { checkpoint } = JSON.parse(await inspect('superblock', cache, '--json'));
  const checkpointOffset = offsetOf(checkpoint.zone === 0 ? 'checkpoint A' : 'checkpoint B');
  const labels = ['label 0', 'label 1', 'label 2', 'label 3'].map(offsetOf);
  const cases: readonly [name: string, places: readonly (readonly [number, number])[], codes: readonly string[]][] = [
    ['label', [[labels[1] ?? 0, LABEL_BYTES]], ['label-damaged']],
    ['ring', [[(labels[2] ?? 0) + 4096, LABEL_BYTES - 4096]], ['superblock-lost']],
    ['checkpoint', [[checkpointOffset, 64 * KIB]], ['checkpoint-part-damaged']],
    ['labels', labels.map((offset) => [offset + 4096, LABEL_BYTES - 4096] as const), ['no-label']],
  ];
  for (const [name, places, codes] of cases) {
    const { code, stdout, stderr } = await checkDamaged(name, places);
    assert.equal(code, 4, `${name}: ${stdout}${stderr}`);
    const { result, notes } = JSON.parse(stdout);
    assert.equal(result, 'damaged');
    for (const wanted of codes)
      assert.ok(
        notes.some((note: { code: string }) => note.code === wanted),
        `${name}: ${stdout}`,
      );
  }
});

test('of many places with the same damage fsck shows a person ten, and counts all', async () => {
  const copy = path.join(folder, 'many');
  await copyFile(cache, copy);
  const handle = await open(copy, 'r+');
  try {
    await handle.write(Buffer.alloc(LABEL_BYTES - 4096, 1), 0, LABEL_BYTES - 4096, 4096);
  } finally {
    await handle.close();
  }
  const [text, json] = [await runWords(['fsck', copy]), await runWords(['fsck', copy, '--json'])];
  assert.deepEqual([text.code, json.code], [4, 4]);
  assert.equal(text.stdout.match(/superblock place \d+ of label 0 is damaged/g)?.length, 10, text.stdout);
  const blocks = LABEL_BYTES / 4096 - 1;
  assert.ok(text.stdout.includes(`        and ${blocks - 10} more of them\n`), text.stdout);
  assert.equal(JSON.parse(json.stdout).notes.filter(({ code }: { code: string }) => code === 'superblock-damaged').length, 100);
});

test('whatever bytes change, fsck ends with a verdict', async (context) => {
  const seed = 20_261;
  context.diagnostic(`seed ${seed}`);
  const random = new SeededRandom(seed);
  const copy = path.join(folder, 'fuzzed');
  await copyFile(cache, copy);
  const file = await open(copy, 'r+');
  for (let round = 0; round < 20; round += 1) {
    const undo: (readonly [position: number, bytes: Buffer])[] = [];
    for (let change = random.integerBelow(4); change >= 0; change -= 1) {
      const lengthBytes = 1 + random.integerBelow(64);
      // Labels, journal and checkpoints are in the first 4 MiB, two labels in the last 2.
      const position = random.integerBelow(3) > 0 ? random.integerBelow(4 * MIB) : 62 * MIB + random.integerBelow(2 * MIB - 64);
      const before = Buffer.from(new Uint8Array(lengthBytes));
      await file.read(before, 0, lengthBytes, position);
      undo.unshift([position, before]);
      await file.write(random.bytes(lengthBytes), 0, lengthBytes, position);
    }
    const { code, stderr } = await runWords(['fsck', copy]);
    assert.ok(code === 0 || code === 4, `round ${round}: ${code} ${stderr}`);
    for (const [position, bytes] of undo) await file.write(bytes, 0, bytes.length, position);
  }
  await file.close();
  assert.equal((await runWords(['fsck', copy])).code, 0);
});

test('fsck of a device that was cut short says so', async () => {
  const copy = path.join(folder, 'short');
  await copyFile(cache, copy);
  await truncate(copy, 40 * MIB);
  const { code, stdout } = await runWords(['fsck', copy]);
  assert.equal(code, 4);
  assert.match(
    stdout,
    /^damage {2}.* has become shorter[\s\S]*cannot be used as it is; its content is only a cache: tools\/rawslice format/,
  );
});

test('fsck has the exit codes of fsck for what cannot be checked and for wrong usage', async () => {
  const absent = await runWords(['fsck', path.join(folder, 'absent')]);
  assert.equal(absent.code, 8);
  assert.match(absent.stderr, /does not exist/);
  assert.equal((await runWords(['fsck', path.join(folder, 'absent'), '--json'])).code, 8);
  assert.equal((await runWords(['fsck'])).code, 16);
  assert.equal((await runWords(['fsck', cache, '--full', '--deep'])).code, 16);
  assert.equal((await runWords(['fsck', cache, '--rebuild', '--repair'])).code, 16);
  assert.equal((await runWords(['fsck', '--help'])).code, 0);
  const cli = path.resolve(import.meta.dirname, '../../tools/cli.ts');
  assert.equal(spawnSync(process.execPath, [cli, 'fsck', cache, cache]).status, 16);
});
