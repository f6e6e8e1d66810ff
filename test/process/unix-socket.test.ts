/** A service on a Unix socket: it has its mode, takes the place of one that nobody listens on, stays over a reload and a hand-over, and is gone at the end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { lstat, writeFile } from 'node:fs/promises';
import { request as requestHttp } from 'node:http';
import { createServer } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { runRawslice, startRawslice } from '../helpers/rawslice-process.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

async function ask(socketPath: string, target: string): Promise<number | undefined> {
  const request = requestHttp({ socketPath, path: target, headers: { host: 'a.test' }, agent: false });
  request.end();
  const [response] = await once(request, 'response');
  response.resume();
  await once(response, 'end');
  return response.statusCode;
}

async function isThere(file: string): Promise<boolean> {
  return lstat(file).then(
    () => true,
    () => false,
  );
}

test('a Unix socket, from its appearance to its end', async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 1000, cacheControl: 'max-age=600' }) });
  const directory = await temporaryDirectory(unwinding(context));
  const [socket, file] = [path.join(directory, 'edge.sock'), path.join(directory, 'edge.yaml')];
  const yaml = (mode: string): string => `reload: { interval: 0 }\nlog: { level: info }\n# ${mode}\n`;
  await writeFile(file, yaml(''));
  const start = {
    upstream: origin.url,
    device: path.join(directory, 'cache'),
    flags: ['--size', '64MiB', '--config', file],
    set: { listen: `unix:${socket};mode=600` },
  };
  /** One that is to be refused the place. */
  const startAt = (place: string): ReturnType<typeof runRawslice> => {
    const own = ['--device', path.join(directory, 'other'), '--size', '64MiB', '--admin', '127.0.0.1:0'];
    return runRawslice(['serve', '--upstream', origin.url, ...own, '--set', `listen=unix:${place}`]);
  };
  const first = await startRawslice(context, start);
  assert.equal(await ask(socket, '/a'), 200);
  assert.equal((await lstat(socket)).mode % 0o1000, 0o600);
  assert.match(first.stderr, new RegExp(`listens on unix:${socket} and fronts`));

  await context.test('another program is refused the place', async () => {
    const { exit: code, stderr } = await startAt(socket);
    assert.equal(code, 1);
    assert.match(stderr, /Cannot listen on .*edge\.sock: it is in use by another program/);
    assert.equal(await ask(socket, '/a'), 200);
  });

  await context.test('after a crash the place is taken over; what is no socket is left alone', async () => {
    await first.kill();
    assert.equal(await isThere(socket), true);
    const plain = path.join(directory, 'plain');
    writeFileSync(plain, 'mine');
    const { exit: code, stderr } = await startAt(plain);
    assert.equal(code, 1);
    assert.match(stderr, /plain: it is there, and no socket/);
  });

  const second = await startRawslice(context, start);
  assert.equal(await ask(socket, '/a'), 200);
  await context.test('it stays over a reload and a hand-over, and goes at the end', async () => {
    await writeFile(file, yaml('changed'));
    assert.equal((await second.admin('/reload', 'POST')).status, 200);
    const before = await lstat(socket);
    process.kill(second.processId, 'SIGUSR2');
    let hasFailed = false;
    const taken = eventually(() => second.logLines.find(({ msg }) => msg === 'took over the devices'), {
      what: 'the next process',
      deadlineMs: 40_000,
    });
    const asking = (async () => {
      for (let isOver = false; !isOver; ) {
        isOver = await Promise.race([taken.then(() => true), new Promise<false>((resolve) => setImmediate(resolve, false))]);
        if ((await ask(socket, '/a').catch(() => 0)) !== 200) hasFailed = true;
      }
    })();
    await taken;
    await asking;
    assert.equal(hasFailed, false);
    assert.equal((await lstat(socket)).ino, before.ino);
    const next = Number(second.logLines.find(({ msg }) => String(msg).startsWith('another process serves'))?.pid);
    process.kill(next, 'SIGTERM');
    await eventually(async () => !(await isThere(socket)), { what: 'the end of the path' });
    await eventually(() => second.logLines.filter(({ msg }) => msg === 'stopped').length === 2, { what: 'the end of both' });
  });
});

test('a path that somebody else has taken meanwhile is theirs', async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10 }) });
  const directory = await temporaryDirectory(unwinding(context));
  const socket = path.join(directory, 'edge.sock');
  const rawslice = await startRawslice(context, {
    upstream: origin.url,
    device: path.join(directory, 'cache'),
    flags: ['--size', '64MiB'],
    set: { listen: `unix:${socket}` },
  });
  const server = createServer();
  const other = path.join(directory, 'other.sock');
  server.listen(other);
  await once(server, 'listening');
  const { rename } = await import('node:fs/promises');
  await rename(other, socket);
  process.kill(rawslice.processId, 'SIGTERM');
  await eventually(() => rawslice.logLines.some(({ msg }) => msg === 'stopped'), { what: 'the end' });
  assert.equal(await isThere(socket), true);
  server.close();
});
