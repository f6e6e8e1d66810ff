/** What a running program is told and asked through its admin port, by the commands for it: log level, drain, state, reload. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { ClientConnection, request } from '../helpers/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { startRawslice } from '../helpers/rawslice-process.ts';
import { runWords } from '../helpers/run-program.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

const TOKEN = 'correct-horse';

test('log level, drain, state and reload of a running program', async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 100, cacheControl: 'max-age=600' }) });
  const directory = await temporaryDirectory(unwinding(context));
  const file = path.join(directory, 'edge.yaml');
  const write = (more: string, interval = '0'): Promise<void> =>
    writeFile(file, `reload: { interval: ${interval} }\nroutes:\n  - { name: all, prefix: / }\n${more}`);
  await write('');
  const start = { upstream: origin.url, device: path.join(directory, 'cache'), flags: ['--size', '64MiB', '--config', file] };
  const rawslice = await startRawslice(context, { ...start, set: { 'admin.token': TOKEN } });
  const admin = ['--admin', `http://127.0.0.1:${rawslice.adminPort}`];
  const run = async (words: readonly string[], token = TOKEN): Promise<readonly [number, string, string]> => {
    const { code, stdout, stderr } = await runWords([...words, ...admin], { environment: { RAWSLICE_ADMIN__TOKEN: token } });
    return [code, stdout, stderr];
  };

  await context.test('nothing without the token', async () => {
    for (const words of [['reload'], ['drain'], ['drain', '--undo'], ['log-level'], ['log-level', 'debug'], ['state']]) {
      const [code, stdout, stderr] = await run(words, 'another-token');
      assert.deepEqual([code, stdout], [1, ''], words.join(' '));
      assert.match(stderr, /the token is not the server's admin\.token/);
    }
  });

  await context.test('the level of the log holds until the configuration names another one', async () => {
    assert.deepEqual(await run(['log-level']), [0, 'info\n', '']);
    assert.deepEqual(await run(['log-level', 'warn']), [0, 'warn (configured: info)\n', '']);
    await rawslice.get('/quiet');
    assert.deepEqual(await run(['reload']), [0, 'reloaded; nothing was different\n', '']);
    assert.deepEqual(await run(['log-level']), [0, 'warn (configured: info)\n', '']);
    await write('log: { level: debug }\n');
    assert.deepEqual(await run(['reload']), [0, 'reloaded: log.level\n', '']);
    assert.deepEqual(await run(['log-level']), [0, 'debug\n', '']);
    await rawslice.get('/loud');
    await eventually(() => rawslice.accessLines.some((line) => line['url.path'] === '/loud'), { what: 'a line' });
    assert.equal(
      rawslice.accessLines.some((line) => line['url.path'] === '/quiet'),
      false,
    );
    const [code, , stderr] = await run(['log-level', 'nonsense']);
    assert.equal(code, 2);
    assert.match(stderr, /Allowed choices are trace/);
  });

  await context.test('a reload that changes nothing says why', async () => {
    await write('nonsense: 1\n');
    const [code, stdout] = await run(['reload']);
    assert.equal(code, 1);
    assert.match(stdout, /^not reloaded, and nothing has changed:\n[^\n]*edge\.yaml:4:1: nonsense: is not an option/);
    await write('');
    assert.equal((await run(['reload']))[0], 0);
  });

  await context.test('what drains is not ready and ends connections with their next response, and can be taken back', async () => {
    const kept = await ClientConnection.open({ port: rawslice.port });
    await kept.request({ path: '/a' });
    const [code, stdout] = await run(['drain']);
    assert.deepEqual([code, /^drains: 0 requests, \d+ connections, 0 tunnels are left\n$/.test(stdout)], [0, true], stdout);
    const ready = await rawslice.admin('/readyz');
    assert.deepEqual([ready.status, JSON.parse(ready.body.toString()).draining], [503, true]);
    for (const target of ['/a', '/new']) {
      const client = target === '/a' ? kept : await ClientConnection.open({ port: rawslice.port });
      const { status, headers } = await client.request({ path: target });
      assert.deepEqual([status, headers.connection], [200, 'close'], target);
      await eventually(() => client.isClosed, { what: 'the end of the connection' });
    }
    assert.match((await run(['state']))[1], /, draining\n/);
    assert.match((await run(['drain', '--undo']))[1], /^serves: /);
    assert.equal((await rawslice.admin('/readyz')).status, 200);
    const again = await ClientConnection.open({ port: rawslice.port });
    assert.notEqual((await again.request({ path: '/a' })).headers.connection, 'close');
    again.destroy();
  });

  await context.test('the state, for people and as JSON', async () => {
    const [code, text] = await run(['state']);
    assert.equal(code, 0);
    assert.match(text, /^rawslice [\d.]+ on Node \d+[\d.]+, process \d+, up \d+ s, serving\nload {5}\d+ requests/);
    const state = JSON.parse((await run(['state', '--json']))[1]);
    assert.deepEqual(state.services, [
      { name: 'default', listeners: [`127.0.0.1:${rawslice.port}`], tls: false, proxyProtocol: false, routes: ['all'] },
    ]);
    assert.deepEqual(state.routes, [{ name: 'all', hosts: [], prefix: '/', group: 'default', rules: [], upgrades: ['websocket'] }]);
    assert.deepEqual(
      state.groups.map(({ group, nodes }: { group: string; nodes: { origin: string; state: string }[] }) => [
        group,
        nodes[0]?.origin,
        nodes[0]?.state,
      ]),
      [['default', origin.url, 'well']],
    );
    assert.deepEqual([state.store, state.devices.length, state.reload.outcome, state.draining], ['online', 1, 'applied', false]);
    assert.ok(Date.parse(state.startedAt) > 0 && state.uptimeSeconds >= 0 && state.pid > 0);
  });

  await context.test('how often the file is looked at changes without a restart', async () => {
    await write('', '20ms');
    assert.deepEqual(await run(['reload']), [0, 'reloaded: reload.interval\n', '']);
    await write('log: { level: warn }\n', '20ms');
    await eventually(async () => (await run(['log-level']))[1] === 'warn\n', { what: 'the file as it is' });
    await write('', '0');
    await eventually(async () => (await run(['log-level']))[1] === 'info\n', { what: 'the file as it is' });
  });

  await context.test('methods and parameters that are wrong', async () => {
    const headers = { authorization: `Bearer ${TOKEN}` };
    const status = async (target: string, method?: string): Promise<number> =>
      (await request({ port: rawslice.adminPort, path: target, method, headers })).status;
    assert.deepEqual(
      [await status('/drain'), await status('/undrain'), await status('/state', 'POST'), await status('/log-level', 'PUT')],
      [405, 405, 405, 405],
    );
    assert.deepEqual(
      [
        await status('/log-level', 'POST'),
        await status('/log-level?level=x', 'POST'),
        await status('/log-level?level=info&level=warn', 'POST'),
      ],
      [400, 400, 400],
    );
  });
});
