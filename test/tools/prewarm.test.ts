/** `rawslice prewarm` through a real proxy in front of a scripted origin, and straight into a device. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { openDirectDevice } from '../../src/device/direct-device.ts';
import { Arena } from '../../src/memory/arena.ts';
import { FinishedList } from '../../tools/prewarm/finished-list.ts';
import { RateLimit } from '../../tools/prewarm/rate-limit.ts';
import { parseTarget } from '../../tools/prewarm/target.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { runWords } from '../helpers/run-program.ts';
import { temporaryDirectory } from '../helpers/temp.ts';

const CLI = path.resolve(import.meta.dirname, '../../tools/cli.ts');
const LENGTH = 300 * KIB + 7;

test('objects are fetched once, and are hits afterwards', async () => {
  await using origin = await Origin.start();
  for (const name of ['/a', '/b', '/c?x=1']) origin.setObject(name, { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  const server = `127.0.0.1:${edge.port}`;
  const first = await runWords(['prewarm', '/a', `http://${server}/b`, '/c?x=1', '--server', server]);
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stdout, /^3 fetched, 0 already cached; 900\.0 KiB in \d+\.\d s, .*\/s\n$/);
  assert.equal((await edge.get('/b')).headers['x-cache'], 'HIT');
  const second = await runWords(['prewarm', '--file', '-', '--server', `http://${server}`, '--json'], { input: '# list\n\n/a\r\n/b' });
  const { fetched, alreadyCached, failed, bytes } = JSON.parse(second.stdout);
  assert.deepEqual(
    { code: second.code, fetched, alreadyCached, failed, bytes },
    { code: 0, fetched: 0, alreadyCached: 2, failed: 0, bytes: 2 * LENGTH },
  );
  assert.equal(origin.requests.length, 3);
});

test('--host is the host of items that name none, for a server that keeps hosts apart', async () => {
  await using origin = await Origin.start();
  for (const name of ['/a', '/b']) origin.setObject(name, { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin, set: { 'upstream.preserveHost': 'true' } });
  const words = ['prewarm', '/a', 'http://other.example/b', '--host', 'Mirror.example', '--server', `127.0.0.1:${edge.port}`];
  assert.equal((await runWords(words)).code, 0);
  assert.equal((await edge.get('/a', { host: 'mirror.example' })).headers['x-cache'], 'HIT');
  assert.equal((await edge.get('/b', { host: 'other.example' })).headers['x-cache'], 'HIT');
  assert.equal((await runWords(['prewarm', '/a', '--host', 'a/b'])).code, 2);
});

test('what fails is named with its reason, the rest is done, and the code is 4', async () => {
  await using origin = await Origin.start();
  for (const name of ['/a', '/short', '/moved', '/secret']) origin.setObject(name, { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  origin.setObject('/secret', { lengthBytes: 9, cacheControl: 'no-store' });
  origin.misbehave('/short', { closeAfterBytes: 100 * KIB, ignoreRange: true });
  origin.misbehave('/moved', { redirectTo: '/a' });
  await using edge = await startEdge({ origin });
  const words = ['prewarm', '/a', '/short', '/moved', '/absent', '/secret', 'ftp://x/y', '--server', `127.0.0.1:${edge.port}`, '--json'];
  const { code, stdout, stderr } = await runWords(words);
  const summary = JSON.parse(stdout);
  assert.deepEqual([code, summary.fetched, summary.notStorable, summary.failed], [4, 2, 1, 4]);
  const reasons = new Map<string, string>(
    summary.failures.map((failure: { name: string; reason: string }) => [failure.name, failure.reason]),
  );
  assert.match(reasons.get('/short') ?? '', /broke off/);
  assert.match(reasons.get('/moved') ?? '', /redirects \(302\) to \/a; list that URL/);
  assert.match(reasons.get('/absent') ?? '', /status 404/);
  assert.match(reasons.get('ftp://x/y') ?? '', /neither a URL .* nor a path/);
  assert.match(stderr, /^rawslice: \/absent: status 404 Not Found$/m);
});

test('--state skips what was finished, and only that', async (context) => {
  const folder = await temporaryDirectory(context);
  const state = path.join(folder, 'done');
  const list = path.join(folder, 'list');
  await writeFile(list, '/a\n/b\n');
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin });
  const words = ['prewarm', '--file', list, '--state', state, '--server', `127.0.0.1:${edge.port}`, '--json'];
  assert.equal((await runWords(words)).code, 4);
  assert.equal(await readFile(state, 'utf8'), '/a\n');
  origin.setObject('/b', { lengthBytes: 10, cacheControl: 'max-age=60' });
  const again = await runWords(words);
  const { fetched, skipped } = JSON.parse(again.stdout);
  assert.deepEqual([again.code, fetched, skipped], [0, 1, 1], again.stderr);
  assert.equal(await readFile(state, 'utf8'), '/a\n/b\n');
});

test('a state file that a crash cut off counts to its last whole line', async (context) => {
  const file = path.join(await temporaryDirectory(context), 'done');
  await writeFile(file, '/a\n/bc');
  const list = await FinishedList.open(file);
  assert.deepEqual(
    ['/a', '/b', '/bc'].map((name) => list.has(name)),
    [true, false, false],
  );
  await list.add('/d');
  await list.close();
  assert.equal(await readFile(file, 'utf8'), '/a\n/d\n');
});

test('without a server it says how to get one, and ends with 1', async () => {
  const origin = await Origin.start();
  await origin.close();
  const { code, stderr } = await runWords(['prewarm', '/a', '/b', '--server', origin.url]);
  assert.equal(code, 1);
  assert.match(stderr, /^rawslice: No server answers on http:\/\/127\.0\.0\.1:\d+ \(ECONNREFUSED\); start it .*--server.*--device/m);
});

test('a device that no server holds is filled directly, and keeps it', async (context) => {
  const device = path.join(await temporaryDirectory(context), 'cache.img');
  assert.equal((await runWords(['format', device, '--size', '64MiB'])).code, 0);
  await using origin = await Origin.start();
  origin.setObject('/debian/a', { lengthBytes: 5 * MIB + 1, cacheControl: 'max-age=600' });
  const upstream = ['--upstream', `${origin.url}/debian`];
  const words = ['prewarm', `${origin.url}/debian/a`, '--device', device, ...upstream, '--set', 'memory.arena=64MiB', '--json'];
  const first = await runWords(words);
  assert.deepEqual([first.code, JSON.parse(first.stdout).fetched], [0, 1], first.stderr);
  const bytes = origin.bytesSent('/debian/a');
  const second = await runWords(words);
  assert.deepEqual([second.code, JSON.parse(second.stdout).alreadyCached, origin.bytesSent('/debian/a')], [0, 1, bytes], second.stderr);
});

test('inspect tells the hosts of one path apart by the URL', async (context) => {
  const device = path.join(await temporaryDirectory(context), 'cache.img');
  assert.equal((await runWords(['format', device, '--size', '64MiB'])).code, 0);
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=600' });
  const urls = ['http://one.example/a', 'http://Two.example:80/a'];
  const settings = ['--set', 'memory.arena=64MiB', '--set', 'upstream.preserveHost=true'];
  assert.equal((await runWords(['prewarm', ...urls, '--device', device, '--upstream', origin.url, ...settings])).code, 0);
  for (const [url, host] of [
    ['http://one.example/a', 'one.example'],
    ['http://TWO.example/a', 'two.example'],
  ] as const)
    assert.match((await runWords(['inspect', 'object', device, url])).stdout, new RegExp(`127\\.0\\.0\\.1:${origin.port}@${host}/a$`, 'm'));
  assert.match((await runWords(['inspect', 'object', device, '/a'])).stderr, /stored for several origins or hosts; name one by its key/);
  assert.notEqual((await runWords(['inspect', 'object', device, 'http://three.example/a'])).code, 0);
});

test('a device that is not there, blank or held is not filled', async (context) => {
  const folder = await temporaryDirectory(context);
  const file = path.join(folder, 'cache.img');
  const fill = () => runWords(['prewarm', '/a', '--device', file, '--upstream', 'http://127.0.0.1:9']);
  assert.match((await fill()).stderr, /does not exist/);
  await writeFile(file, new Uint8Array(MIB));
  assert.match((await fill()).stderr, /is blank; format it: tools\/rawslice format/);
  await rm(file);
  assert.equal((await runWords(['format', file, '--size', '64MiB'])).code, 0);
  const clock = new SystemClock();
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const device = await openDirectDevice({ path: file, access: 'read-write', arena, clock, logger: createSilentLogger() });
  const held = await fill();
  await device.close();
  assert.equal(held.code, 1);
  assert.match(held.stderr, /is held by process \d+; stop it first; or, .*--server http:\/\/HOST:PORT without --device/);
});

test('usage', async (context) => {
  const folder = await temporaryDirectory(context);
  const cases: readonly [words: readonly string[], message: RegExp][] = [
    [[], /Name what to fetch/],
    [['/a', '--rate', '10MiB'], /--rate takes a rate such as 10MiB\/s, not "10MiB"/],
    [['/a', '--concurrency', '0'], /--concurrency takes a number from 1 to 256/],
    [['/a', '--server', 'http://x/y'], /--server takes an address/],
    [['/a', '--device', '/x'], /--device needs --upstream/],
    [['/a', '--device', '/x', '--server', 'x'], /not both/],
    [['/a', '--preset', 'debian'], /--preset goes with --device/],
    [['--file', path.join(folder, 'absent')], /The list .*absent cannot be read \(ENOENT\)/],
    [['/a', '--state', folder], /The state file .* cannot be used \(EISDIR\)/],
  ];
  for (const [words, message] of cases) {
    const { code, stderr } = await runWords(['prewarm', ...words]);
    assert.equal(code, 2, words.join(' '));
    assert.match(stderr, message);
  }
});

test('Ctrl-C ends it with a summary and code 4', async (context) => {
  await using origin = await Origin.start();
  origin.setObject('/a', { lengthBytes: 10, cacheControl: 'max-age=60' });
  origin.setObject('/slow', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  origin.misbehave('/slow', { pauseAfterBytes: 10 });
  await using edge = await startEdge({ origin });
  const words = [CLI, 'prewarm', '/a', '/slow', '--server', `127.0.0.1:${edge.port}`, '--concurrency', '1', '--json'];
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  context.after(() => child.kill('SIGKILL'));
  let stdout = '';
  child.stdout.on('data', (text: Buffer) => {
    stdout += text.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  await eventually(() => origin.requestsFor('/slow').length === 1, { what: 'the second request', deadlineMs: 20_000 });
  child.kill('SIGINT');
  assert.equal(await ended, 4);
  const { fetched, failed, interrupted } = JSON.parse(stdout);
  assert.deepEqual([fetched, failed, interrupted], [1, 0, true]);
  origin.release('/slow');
});

test('URLs below the upstream are asked for without its path; hosts are kept otherwise', () => {
  const upstream = { origin: 'https://mirror.example', basePath: '/debian' };
  const target = (name: string): unknown => {
    const item = parseTarget(name, upstream);
    return item.kind === 'target' ? [item.target.path, item.target.host] : item.reason;
  };
  assert.deepEqual(target('https://mirror.example/debian/pool/a?b'), ['/pool/a?b', undefined]);
  assert.deepEqual(target('https://other.example:81/debian/pool/a'), ['/debian/pool/a', 'other.example:81']);
  assert.deepEqual(target('/pool/a b#c'), ['/pool/a%20b', undefined]);
  assert.equal(target('https://mirror.example/debian-security/a'), 'is not below https://mirror.example/debian');
  assert.equal(target('/a\nb'), 'has a control character in it');
});

test('the rate limit makes takers wait for what was taken before', async () => {
  let nowMs = 0;
  const waits: number[] = [];
  const clock = new SystemClock();
  clock.monotonicMs = () => nowMs;
  clock.sleep = async (delayMs) => {
    waits.push(delayMs);
    nowMs += delayMs;
  };
  const limit = new RateLimit(clock, 1000);
  const { signal } = new AbortController();
  await limit.take(500, signal);
  await limit.take(500, signal);
  nowMs += 10_000;
  await limit.take(50, signal);
  await limit.take(550, signal);
  assert.deepEqual(waits, [500, 500, 500]);
});
