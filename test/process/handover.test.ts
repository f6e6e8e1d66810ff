/** Restarts that no client notices: the next process takes the listening sockets over, and the devices when they are given up; systemd is told. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { ClientConnection, request } from '../helpers/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { isHeavy } from '../helpers/heavy.ts';
import { Origin } from '../helpers/origin.ts';
import { type RawsliceProcess, startRawslice } from '../helpers/rawslice-process.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

const PROGRAM = path.resolve(import.meta.dirname, '../../tools/rawslice');
const PATHS = Array.from({ length: 20 }, (_unused, number) => `/pool/${number}.deb`);

function identityOf(name: string): { name: string; version: number } {
  return { name, version: 1 };
}

/** Ids of the processes that have taken over so far, the last one alive. */
function successors(rawslice: RawsliceProcess): number[] {
  return rawslice.logLines.filter(({ msg }) => String(msg).startsWith('another process serves')).map(({ pid }) => Number(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Ends whoever serves last, after the test: also one that has not been heard of yet. Its device is on its command line. */
function endLastAfter(context: TestContext, device: string): void {
  unwinding(context).after(async () => {
    const { stdout } = spawnSync('pgrep', ['-f', device], { encoding: 'utf8' });
    assert.equal(typeof stdout, 'string', 'pgrep is there (procps)');
    for (const pid of stdout.split('\n').filter((line) => line !== '')) if (isAlive(Number(pid))) process.kill(Number(pid), 'SIGKILL');
  });
}

/** Hands over once. @returns the new process */
async function handOver(rawslice: RawsliceProcess, from: number): Promise<number> {
  const before = successors(rawslice).length;
  const tookOver = (): number => rawslice.logLines.filter(({ msg }) => msg === 'took over the devices').length;
  const devices = tookOver();
  process.kill(from, 'SIGUSR2');
  await eventually(() => successors(rawslice).length > before && tookOver() > devices && !isAlive(from), {
    what: 'the next process with the devices',
    deadlineMs: 40_000,
  });
  const next = successors(rawslice).at(-1);
  assert.ok(next !== undefined && isAlive(next));
  return next;
}

/** A client that asks without a pause, on connections as long as they are kept. @returns what went wrong */
async function load(port: number, isOver: () => boolean): Promise<{ requests: number; faults: string[] }> {
  const faults: string[] = [];
  let requests = 0;
  while (!isOver()) {
    const connection = await ClientConnection.open({ port });
    while (!isOver() && !connection.isClosed) {
      const target = PATHS[requests % PATHS.length] ?? '/';
      requests += 1;
      try {
        const answer = await connection.request({ path: target, expect: identityOf(target) });
        if (answer.status !== 200 || answer.wrongAt !== -1 || !answer.isComplete) faults.push(`${target} ${answer.status} ${answer.error}`);
        if (answer.headers.connection === 'close') break;
      } catch (error) {
        faults.push(`${target} ${String(error)}`);
        break;
      }
    }
    connection.destroy();
  }
  return { requests, faults };
}

test('restarts under load: no request fails, and what is stored is a hit again', { timeout: 180_000 }, async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 300_000, cacheControl: 'max-age=600' }) });
  const directory = await temporaryDirectory(context);
  const rawslice = await startRawslice(context, { upstream: origin.url, device: path.join(directory, 'cache'), flags: ['--size', '1GiB'] });
  endLastAfter(context, directory);
  let isOver = false;
  const clients = Array.from({ length: 8 }, () => load(rawslice.port, () => isOver));
  const admin = rawslice.adminPort;
  let pid = rawslice.processId;
  for (let restart = 0; restart < (isHeavy ? 6 : 2); restart += 1) pid = await handOver(rawslice, pid);
  isOver = true;
  const results = await Promise.all(clients);
  assert.deepEqual(
    results.flatMap(({ faults }) => faults),
    [],
  );
  assert.ok(results.every(({ requests }) => requests > 10));
  await eventually(async () => (await request({ port: admin, path: '/readyz' })).status === 200, { what: 'readiness' });
  for (const target of PATHS) await rawslice.get(target);
  const again = await rawslice.get(PATHS[0]!, {}, { expect: identityOf(PATHS[0]!) });
  assert.deepEqual([again.headers['x-cache'], again.wrongAt], ['HIT', -1]);
  process.kill(pid, 'SIGTERM');
  await eventually(() => !isAlive(pid), { what: 'the end of the last process', deadlineMs: 40_000 });
});

test('a download in progress is finished by the process that began it, while the next one serves from the origin', async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 8 * MIB, cacheControl: 'max-age=600' }) });
  const directory = await temporaryDirectory(context);
  const rawslice = await startRawslice(context, { upstream: origin.url, device: path.join(directory, 'cache'), flags: ['--size', '1GiB'] });
  endLastAfter(context, directory);
  origin.misbehave('/slow', { pauseAfterBytes: MIB }, 1);
  assert.equal((await rawslice.get('/posted')).status, 200);
  assert.equal((await rawslice.get('/purged')).status, 200);
  await rawslice.untilStored();
  const slow = rawslice.get('/slow', {}, { expect: identityOf('/slow') });
  await origin.waitForHeld('/slow');
  process.kill(rawslice.processId, 'SIGUSR2');
  await eventually(() => successors(rawslice).length === 1, { what: 'the next process', deadlineMs: 40_000 });
  const meanwhile = await rawslice.get('/other', {}, { expect: identityOf('/other') });
  assert.deepEqual([meanwhile.status, meanwhile.wrongAt, meanwhile.isComplete], [200, -1, true]);
  // What is changed or purged meanwhile is stored on a device that is not here yet.
  assert.equal((await rawslice.get('/posted', {}, { method: 'POST' })).status, 200);
  assert.equal((await rawslice.admin('/purge?url=/purged', 'POST')).status, 503);
  assert.ok(isAlive(rawslice.processId));
  origin.release('/slow');
  const answer = await slow;
  assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete], [200, -1, true]);
  await eventually(() => rawslice.logLines.some(({ msg }) => msg === 'took over the devices'), { what: 'the devices', deadlineMs: 40_000 });
  const results = await Promise.all(['/slow', '/posted', '/purged'].map((target) => rawslice.get(target)));
  assert.deepEqual(
    results.map(({ headers }) => headers['x-cache']),
    ['HIT', 'MISS', 'MISS'],
  );
});

/** What systemd would hear: a datagram socket, which python has and Node has not. */
async function listenForNotes(context: TestContext, socketPath: string): Promise<string[]> {
  const script = `import socket,sys
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.bind(sys.argv[1]); print("bound",flush=True)
while True:
  m,anc,_,_=s.recvmsg(4096,4096); print(m.decode().replace("\\n"," "),flush=True)
  for level,kind,data in anc:
    import array,os
    fds=array.array("i"); fds.frombytes(data[:len(data)-len(data)%fds.itemsize])
    for fd in fds: os.close(fd)`;
  const child = spawn('python3', ['-c', script, socketPath], { stdio: ['ignore', 'pipe', 'inherit'] });
  unwinding(context).after(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  const notes: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => notes.push(line));
  await eventually(() => notes.length === 1, { what: 'a listener for notes' });
  return notes;
}

test('the service manager is told: ready, alive, another main process, stopping', { skip: missing('systemd-notify') }, async (context) => {
  await using origin = await Origin.start();
  const directory = await temporaryDirectory(context);
  const notes = await listenForNotes(context, path.join(directory, 'notify'));
  const environment = { NOTIFY_SOCKET: path.join(directory, 'notify'), WATCHDOG_USEC: '200000' };
  const device = path.join(directory, 'cache');
  const rawslice = await startRawslice(context, { upstream: origin.url, device, flags: ['--size', '1GiB'], environment });
  endLastAfter(context, directory);
  const has =
    (text: string): (() => boolean) =>
    () =>
      notes.some((note) => note.includes(text));
  await eventually(has(`MAINPID=${rawslice.processId} READY=1`), { what: 'READY' });
  await eventually(has('WATCHDOG=1'), { what: 'WATCHDOG' });
  const next = await handOver(rawslice, rawslice.processId);
  await eventually(has(`MAINPID=${next} READY=1`), { what: 'READY of the next process' });
  process.kill(next, 'SIGTERM');
  await eventually(has('STOPPING=1'), { what: 'STOPPING' });
  await eventually(() => !isAlive(next), { what: 'the end', deadlineMs: 40_000 });
});

test('a process that cannot take over changes nothing', async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 1000, cacheControl: 'max-age=600' }) });
  const directory = await temporaryDirectory(context);
  const file = path.join(directory, 'rawslice.yaml');
  await writeFile(file, 'slice:\n  size: 1MiB\n');
  const device = path.join(directory, 'cache');
  const rawslice = await startRawslice(context, { upstream: origin.url, device, flags: ['--size', '1GiB', '--config', file] });
  await writeFile(file, 'slice:\n  sise: 1MiB\n');
  process.kill(rawslice.processId, 'SIGUSR2');
  await eventually(() => rawslice.logLines.some(({ msg }) => msg === 'could not hand over'), {
    what: 'a line that says so',
    deadlineMs: 40_000,
  });
  assert.equal((await rawslice.get('/a', {}, { expect: identityOf('/a') })).wrongAt, -1);
  assert.equal((await rawslice.admin('/readyz')).status, 200);
});

test('sockets that systemd has opened are used, by name', { skip: missing('systemd-socket-activate') }, async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 1000, cacheControl: 'max-age=600' }) });
  const directory = await temporaryDirectory(context);
  const port = await freePort();
  const words = [`--listen=127.0.0.1:${port}`, '--fdname=default', PROGRAM, 'serve', '--upstream', origin.url];
  const rest = ['--device', path.join(directory, 'cache'), '--size', '1GiB', '--listen', '127.0.0.1:1', '--admin', '127.0.0.1:0'];
  const child = spawn('systemd-socket-activate', [...words, ...rest], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  unwinding(context).after(async () => {
    child.kill('SIGTERM');
    await exited;
  });
  // The first connection starts the program.
  await eventually(async () => isListening(port), { what: 'a socket' });
  const answer = await request({ port, path: '/a', expect: identityOf('/a'), deadlineMs: 30_000 });
  assert.deepEqual([answer.status, answer.wrongAt], [200, -1]);
});

/** A port that was free a moment ago: another program opens it. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  server.close();
  await once(server, 'close');
  return address.port;
}

async function isListening(port: number): Promise<boolean> {
  const sockets = await readFile('/proc/net/tcp', 'utf8');
  return sockets.includes(`0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 0A`);
}

/** For `skip`: what is not installed. */
function missing(program: string): string | false {
  return spawnSync('which', [program], { stdio: 'ignore' }).status === 0 ? false : `${program} is not installed`;
}
