/** `rawslice inspect` on the parts of a device: labels, journal, checkpoint, groups, extents, map, blocks, dumps. */
import assert from 'node:assert/strict';
import { copyFile, open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { openDirectDevice } from '../../src/device/direct-device.ts';
import { Arena } from '../../src/memory/arena.ts';
import { dumpLines, nameFields, structureOf } from '../../tools/inspect/annotated-dump.ts';
import { runWords } from '../helpers/run-program.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { clock, makeManifest, openBench, storeObject } from '../store/store-bench.ts';

let cache = '';
let running = '';
const cleanups: (() => Promise<void>)[] = [];

/** Five objects of a slice and a bit, two of them behind the last checkpoint, one purged. */
async function fill(file: string, beside?: () => Promise<void>): Promise<void> {
  assert.equal((await runWords(['format', file, '--size', '64MiB'])).code, 0);
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const device = await openDirectDevice({ path: file, access: 'read-write', arena, clock, logger: createSilentLogger() });
  const bench = await openBench(device);
  for (const name of ['a', 'b', 'c']) await storeObject(bench, `site/${name}`, 70_000);
  await bench.store.checkpoint();
  for (const name of ['d', 'e']) await storeObject(bench, `site/${name}`, 70_000);
  await bench.store.purge({ kind: 'object', objectHash: makeManifest('site/b', 1, 1).objectHash });
  await bench.store.drain();
  await beside?.();
  await bench.store.close();
}

/** What a command says as JSON of a device whose server is running. */
const beside = new Map<string, string>();

before(async () => {
  const folder = await temporaryDirectory({ after: (callback) => cleanups.push(callback) });
  cache = path.join(folder, 'cache.img');
  running = path.join(folder, 'running.img');
  await fill(cache);
  await fill(running, async () => {
    for (const words of ['overview', 'labels', 'journal', 'checkpoint --entries', 'purges', 'extents'])
      beside.set(words, await inspect(...words.split(' '), running, '--json'));
    beside.set('text', await inspect(running));
    beside.set('journal text', await inspect('journal', running));
    beside.set('repair', String((await runWords(['fsck', running, '--repair'])).code));
    beside.set('deep', JSON.stringify(await runWords(['fsck', running, '--deep', '--json'])));
  });
});
after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

async function inspect(...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runWords(['inspect', ...words]);
  assert.equal(code, 0, stderr);
  return stdout;
}

test('labels, and every superblock of them', async () => {
  const { labels, superblocksPerLabel } = JSON.parse(await inspect('labels', cache, '--json'));
  assert.equal(labels.length, 4);
  assert.deepEqual([labels[3].formatBlock, labels[3].damaged, labels[3].superblock + labels[3].blank], ['valid', 0, superblocksPerLabel]);
  assert.match(
    await inspect('labels', cache),
    /^label 0 {2}at 0, format block valid, \d+ superblocks, \d+ blank\n {2}newest {2}number \d+, .* clean, /,
  );
  const ring = JSON.parse(await inspect('labels', cache, '--ring', '--json')).blocks;
  assert.equal(ring.length, 4 * (labels[0].superblock + 1));
  const cut = await runWords(['inspect', 'labels', cache, '--ring', '--limit', '3']);
  assert.equal(cut.stdout.trimEnd().split('\n').length, 3);
  assert.match(cut.stderr, /there are more than 3/);
});

test('the journal in words, along its chain and by range', async () => {
  assert.match((await runWords(['inspect', 'journal', cache])).stderr, /the journal is empty: the checkpoint has everything/);
  const all = await inspect('journal', cache, '--from', '1');
  assert.match(all, /^block 1 at \d+ {2}old, \d records?, mount 1, purges before 0\n {2}mount\n/);
  assert.match(all, /^ {2}put {6}slice 0 of generation 1, 17 blocks at \d+, write \d+$/m);
  assert.match(
    all,
    /^ {2}put {6}manifest of generation 1, object [0-9a-f]{16}, 2 blocks at \d+, write \d+, received .*Z, fresh until .*Z$/m,
  );
  assert.match(all, /^ {2}purge {4}object [0-9a-f]{32}, number 1, generations below \d+$/m);
  const two = JSON.parse(await inspect('journal', cache, '--from', '1', '--to', '3', '--json'));
  assert.deepEqual(
    two.blocks.map((block: { header: { sequence: number }; part: string }) => [block.header.sequence, block.part]),
    [
      [1, 'old'],
      [2, 'old'],
    ],
  );
  assert.match(beside.get('journal text') ?? '', /^block \d+ at \d+ {2}replayed, /);
});

test('a damaged journal shows what lies behind its end', async () => {
  const copy = `${cache}.journal`;
  await fill(copy, async () => {
    // What goes into one block is a matter of time, so that only this journal says where its blocks lie.
    const { blocks, chainStart } = JSON.parse(await inspect('journal', copy, '--json'));
    assert.ok(blocks.length >= 3, 'a drain ends a block');
    const file = await open(copy, 'r+');
    await file.write(new Uint8Array([255]), 0, 1, blocks[1].offsetBytes + 80);
    await file.close();
    const text = await inspect('journal', copy);
    assert.match(text, new RegExp(`^block ${chainStart} at \\d+ {2}replayed`));
    assert.match(text, /^block \d+ at \d+ {2}damaged, behind$/m);
    assert.match(text, /^block \d+ at \d+ {2}behind, /m);
  });
});

test('parts of checkpoints and their entries', async () => {
  assert.match(await inspect('checkpoint', cache), /^part 0 at \d+ {2}13 entries\n$/);
  const { entries, damagedParts } = JSON.parse(await inspect('checkpoint', cache, '--entries', '--json'));
  assert.deepEqual([entries.length, damagedParts], [13, 0]);
  assert.match(
    await inspect('checkpoint', cache, '--previous', '--entries'),
    /^manifest {2}manifest of generation 1, 2 blocks at \d+, write \d+$/m,
  );
});

test('groups, extents and where the slices of an object lie', async () => {
  const { groups } = JSON.parse(await inspect('groups', cache, '--json'));
  assert.deepEqual([groups.length, groups[0].manifests, groups[0].slices, groups[0].band], [1, 4, 8, 'large']);
  assert.equal(groups[0].usedBlocks + groups[0].freeBlocks, groups[0].endBlock - groups[0].startBlock);
  assert.ok(groups[0].largestFreeRun <= groups[0].freeBlocks && groups[0].freeRuns >= 1);
  const { extents } = JSON.parse(await inspect('extents', cache, '--json'));
  assert.equal(extents.length, 12);
  assert.ok(extents.every((extent: { state: string }) => extent.state === 'sound'));
  const first = extents[0].block;
  const range = JSON.parse(await inspect('extents', cache, '--from', String(first + 1), '--to', String(extents[2].block), '--json'));
  assert.deepEqual(
    range.extents.map((extent: { block: number }) => extent.block),
    [first, extents[1].block],
  );
  assert.equal(JSON.parse(await inspect('extents', cache, '--object', '/c', '--json')).extents.length, 3);
  const text = await inspect('object', cache, '/c', '--slices');
  assert.match(
    text,
    /^ {2}block +\d+ \+17 +slice 0 of generation 3, bytes 0 to 65536, 64 KiB raw, .*\n {2}block +\d+ \+3 +slice 1 .* bytes 0 to 4464/m,
  );
});

test('what a block belongs to', async () => {
  const { extents } = JSON.parse(await inspect('extents', cache, '--object', '/c', '--json'));
  const slice = extents.find((extent: { sliceNumber: number }) => extent.sliceNumber === 0);
  const inside = JSON.parse(await inspect('block', cache, String(slice.block + 3), '--json'));
  assert.deepEqual([inside.zone, inside.use, inside.key, inside.extent.block], ['group', 'extent', 'site/c', slice.block]);
  assert.match(
    await inspect('block', cache, `@${slice.block * 4096 + 5}`),
    /^use +slice 0 of generation 3, .*its header\nextent +sound\nobject +site\/c\ncontent +extent header: slice 0/m,
  );
  const zones: readonly [place: string, zone: string][] = [
    ['0', 'format block'],
    ['@8KiB', 'superblock'],
    ['s4096', 'journal'],
    ['@0x300000', 'checkpoint'],
    [String(slice.block + 4000), 'group'],
  ];
  for (const [place, zone] of zones) assert.equal(JSON.parse(await inspect('block', cache, place, '--json')).zone, zone, place);
  assert.match(await inspect('block', cache, String(slice.block + 4000)), /^use +free\ncontent +zeros$/m);
  for (const place of ['x', '@', '1e9', '99999999', '-1'])
    assert.equal((await runWords(['inspect', 'block', cache, '--', place])).code, 2, place);
});

test('a dump names the fields of every structure, and keeps the key', async () => {
  const { extents } = JSON.parse(await inspect('extents', cache, '--json'));
  const cases: readonly [place: string, structure: string, line: RegExp][] = [
    ['0', 'format block', /^0000000000b8 .* cacheUuid$/m],
    ['0', 'format block', /\(kept secret\) +macKey$/m],
    ['2', 'superblock', / sequence = \d+$/m],
    ['@2101248', 'journal block', / record 0 type = 5$/m],
    ['@3145728', 'checkpoint part', / entry 8 generation = \d+$/m],
    [String(extents[0].block), 'extent header', / chunk 0 = \d+ bytes, CRC [0-9a-f]{8}$[\s\S]* key = "site\/a"$/m],
  ];
  for (const [place, structure, line] of cases) {
    const text = await inspect('hex', cache, place);
    assert.match(text, new RegExp(`^block \\d+: ${structure}\\n`));
    assert.match(text, line, place);
  }
  const { fields } = JSON.parse(await inspect('hex', cache, '0', '--json'));
  assert.ok(fields.length > 20 && fields.every(({ name }: { name: string }) => name !== 'macKey'));
  const record = JSON.parse(
    await inspect('hex', cache, String(extents.find((e: { sliceNumber: number }) => e.sliceNumber > 9).block + 1), '--json'),
  );
  assert.equal(record.structure, 'manifest record');
});

test('a dump covers every byte once, whatever the bytes', () => {
  for (const magic of ['RSJOURNL', 'RSCHECKP', 'RSEXTENT', 'RSSUPERB', 'RSMANIFE', '']) {
    const block = Buffer.alloc(4096, 0xff);
    block.write(magic, 0, 'latin1');
    const fields = nameFields(block);
    assert.equal(structureOf(block) === undefined, magic === '');
    let end = 0;
    for (const field of fields) {
      assert.ok(field.offset >= end && field.offset + field.size <= block.length, `${magic} ${field.name}`);
      end = field.offset + field.size;
    }
    assert.ok([...dumpLines(block, 0, fields)].length > 1);
  }
});

test('the map shows every zone and what is used', async () => {
  const { cells, blocksPerCell } = JSON.parse(await inspect('map', cache, '--json'));
  const marks = cells.map(({ mark }: { mark: string }) => mark).join('');
  assert.match(marks, /^L+J+A+B+[.#*+-]+\.+L+$/);
  assert.equal(cells.at(-1).endBlock, 16_384);
  assert.ok(cells.every((cell: { usedBlocks: number }) => cell.usedBlocks <= blocksPerCell));
  const lines = (await inspect('map', cache)).trimEnd().split('\n');
  assert.ok(lines.length > 3 && lines.every((line) => line.length <= 80) && !lines.join('').includes('\x1b'));
});

test('purges and blocks out of use', async () => {
  assert.match((await runWords(['inspect', 'bad', cache])).stderr, /no block is out of use/);
  const { purges, newest } = JSON.parse(beside.get('purges') ?? '');
  assert.deepEqual([purges.length, purges[0].kind, newest], [1, 'object', 1]);
});

test('beside a running server everything can be looked at, and nothing repaired', () => {
  assert.match(beside.get('text') ?? '', new RegExp(`^in use +by process ${process.pid}; this is how it was a moment ago$`, 'm'));
  assert.equal(JSON.parse(beside.get('overview') ?? '').usedByProcess, process.pid);
  for (const words of ['labels', 'journal', 'checkpoint --entries', 'extents']) JSON.parse(beside.get(words) ?? '');
  assert.equal(beside.get('repair'), '8');
  const { code, stdout } = JSON.parse(beside.get('deep') ?? '');
  assert.equal(code, 0, stdout);
});

test('Ctrl-C ends a check with 32, and nothing is changed', async () => {
  const before = await readFile(cache);
  for (const words of [['--deep'], ['--deep', '--repair'], ['--rebuild'], ['--json']]) {
    const run = runWords(['fsck', cache, ...words]);
    await new Promise((resolve) => setImmediate(resolve));
    process.emit('SIGINT');
    const { code, stdout, stderr } = await run;
    assert.equal(code, 32, words.join(' '));
    assert.match(stdout + stderr, /cancelled/);
  }
  assert.ok(before.equals(await readFile(cache)));
});

test('whatever bytes change, every look ends with an answer or a refusal', async (context) => {
  const seed = 31_337;
  const rounds = process.env.CI === 'true' ? 40 : 4;
  context.diagnostic(`seed ${seed}, ${rounds} rounds`);
  const random = new SeededRandom(seed);
  const copy = `${cache}.fuzzed`;
  const looks = [
    'overview',
    'labels --ring',
    'journal',
    'journal --from 1',
    'checkpoint --entries',
    'groups',
    'extents',
    'map',
    'bad',
    'purges',
  ];
  for (let round = 0; round < rounds; round += 1) {
    await copyFile(cache, copy);
    const file = await open(copy, 'r+');
    for (let change = 0; change < 6; change += 1) {
      const lengthBytes = 1 + random.integerBelow(3000);
      await file.write(random.bytes(lengthBytes), 0, lengthBytes, 4096 + random.integerBelow(5 * MIB));
    }
    await file.close();
    for (const look of [...looks, 'objects', 'usage', `hex 0`, `hex ${random.integerBelow(1500)}`, `block ${random.integerBelow(1500)}`]) {
      const [name = '', ...rest] = look.split(' ');
      const { code, stderr } = await runWords(['inspect', name, copy, ...rest]);
      assert.ok(code === 0 || code === 1, `round ${round}, ${look}: ${code} ${stderr}`);
      assert.doesNotMatch(stderr, /Internal error/, `round ${round}, ${look}`);
    }
    for (const words of [['--deep'], ['--deep', '--repair'], ['--rebuild']]) {
      const { code, stderr } = await runWords(['fsck', copy, ...words, '--json']);
      assert.ok([0, 1, 4].includes(code), `round ${round}, ${words.join(' ')}: ${code} ${stderr}`);
    }
  }
});
