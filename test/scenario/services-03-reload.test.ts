/** The configuration is loaded again while requests go on: what is new holds at once, what is gone drains, what is wrong changes nothing, and no request fails. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { FileWatcher } from '../../src/app/file-watcher.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { KIB } from '../../src/base/units.ts';
import { certificateFiles } from '../helpers/certificate.ts';
import { ClientConnection, request } from '../helpers/client.ts';
import { eventually } from '../helpers/eventually.ts';
import { Http2Client } from '../helpers/http2-client.ts';
import { Origin } from '../helpers/origin.ts';
import { withReloadableEdge } from '../helpers/reloadable-edge.ts';
import { temporaryDirectory, withTemporaryDirectory } from '../helpers/temp.ts';
import { WebSocketOrigin } from '../helpers/websocket-origin.ts';

const OBJECT = { lengthBytes: 200 * KIB, cacheControl: 'max-age=600' };

const groupOf = (name: string, ...origins: readonly Origin[]): string =>
  `  - { name: ${name}, nodes: [${origins.map(({ url }) => `{ url: "${url}" }`).join(', ')}] }\n`;

test('thirty reloads under load: groups, nodes, routes, rules and listeners change, and no request fails', async () => {
  const origins = await Promise.all([1, 2, 3].map(() => Origin.start({ resolve: () => OBJECT })));
  const [one, two, three] = origins as [Origin, Origin, Origin];
  const identity = (target: string) => ({ ...one.setObject(target, OBJECT) });
  const services = (extra: string): string => `services:\n  - { name: main, listen: "127.0.0.1:0" }\n${extra}`;
  const texts = [
    `${services('')}routes: [{ name: all, upstream: g }]\nupstreams:\n${groupOf('g', one, two)}`,
    `${services('  - { name: more, listen: "127.0.0.1:0" }\n')}routes: [{ name: all, upstream: g }]\nupstreams:\n${groupOf('g', two, three)}`,
    `${services('')}routes:\n  - { name: p, prefix: /p, upstream: h }\n  - { name: all, upstream: g, rules: [{ name: r, prefix: /, freshFor: 1m }] }\nupstreams:\n${groupOf('g', three)}${groupOf('h', one)}`,
    `${services('')}limits: { requests: 500, clientSurplus: 2GiB }\nroutes: [{ name: all, upstream: g }]\nupstreams:\n  - name: g\n    headTimeout: 9s\n    nodes: [{ url: "${one.url}", weight: 3 }]\n`,
  ];
  await withReloadableEdge(texts[0] ?? '', async ({ edge, change, port }) => {
    let isOver = false;
    let answered = 0;
    const load = async (client: number): Promise<void> => {
      const target = { port: port('main') };
      let connection = await ClientConnection.open(target);
      for (let turn = 0; !isOver; turn += 1) {
        const name = `${turn % 5 === 0 ? '/p' : ''}/${client}-${turn % 50}`;
        // Every tenth request has a connection of its own.
        if (turn % 10 === 0) {
          connection.destroy();
          connection = await ClientConnection.open(target);
        }
        const answer = await connection.request({ path: name, expect: identity(name) });
        assert.deepEqual(
          [answer.status, answer.wrongAt, answer.isComplete],
          [200, -1, true],
          `${name}: ${answer.error ?? ''} ${answer.body}`,
        );
        answered += 1;
      }
      connection.destroy();
    };
    const clients = [1, 2, 3, 4, 5, 6].map(load);
    const failed = Promise.all(clients);
    try {
      for (let turn = 1; turn <= 30; turn += 1) {
        const before = answered;
        const report = await change(texts[turn % texts.length] ?? '');
        assert.equal(report.outcome, 'applied', JSON.stringify(report));
        await Promise.race([failed, eventually(() => answered >= before + 20, { what: 'requests between reloads' })]);
      }
    } finally {
      isOver = true;
    }
    await failed;
    assert.ok(answered >= 600);
    await eventually(() => edge.proxy.services.resolver.liveCount === 0);
  });
  await Promise.all(origins.map((origin) => origin.close()));
});

test('a download that is under way ends as it began, though its route, its group and its listener are gone', async () => {
  await using one = await Origin.start();
  await using two = await Origin.start({ resolve: () => OBJECT });
  const body = one.setObject('/big', { lengthBytes: 2000 * KIB, cacheControl: 'max-age=60' });
  one.misbehave('/big', { pauseAfterBytes: 500 * KIB });
  const yaml = (listen: string, origin: Origin, name: string): string =>
    `services: [{ name: ${name}, listen: "${listen}" }]\nroutes: [{ name: ${name}, upstream: ${name} }]\nupstreams:\n${groupOf(name, origin)}`;
  await withReloadableEdge(yaml('127.0.0.1:0', one, 'old'), async ({ edge, change, port }) => {
    const oldPort = port('old');
    const download = request({ port: oldPort, path: '/big', expect: body });
    await one.waitForHeld('/big');
    assert.equal((await change(yaml('127.0.0.1:0', two, 'new'))).outcome, 'applied');
    assert.equal((await request({ port: port('new'), path: '/x' })).status, 200);
    await assert.rejects(request({ port: oldPort, path: '/x' }), 'the old address is not listened on any more');
    one.release('/big');
    const answer = await download;
    assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete], [200, -1, true]);
    assert.deepEqual(
      edge.listeners.open.map(({ service }) => service),
      ['new'],
    );
  });
});

test('a node that stays keeps its connections and what is known of it, whatever else of its group changes', async () => {
  await using one = await Origin.start({ resolve: () => OBJECT });
  await using two = await Origin.start();
  await using three = await Origin.start({ resolve: () => OBJECT });
  await two.stop();
  const outlier = '    outlier: { rest: 1h, restMax: 1h }\n';
  const yaml = (balance: string, ...origins: readonly Origin[]): string =>
    `listen: 127.0.0.1:0\nupstreams:\n  - name: g\n    balance: ${balance}\n${outlier}    nodes: [${origins.map(({ url }) => `{ url: "${url}" }`).join(', ')}]\n`;
  await withReloadableEdge(yaml('round-robin', one, two), async ({ edge, change, port }) => {
    const ask = async (target: string): Promise<number> => (await request({ port: port(), path: target })).status;
    for (let count = 0; count < 4; count += 1) assert.equal(await ask(`/a${count}`), 200);
    const states = (): readonly string[] => edge.proxy.upstreams.flatMap(({ nodes }) => nodes.map(({ state }) => state));
    assert.deepEqual(states(), ['well', 'resting']);
    const { accepted } = one.connections;
    assert.equal((await change(yaml('random', one, two, three))).outcome, 'applied');
    assert.deepEqual(states(), ['well', 'resting', 'well']);
    for (let count = 0; count < 12; count += 1) assert.equal(await ask(`/b${count}`), 200);
    assert.equal(one.connections.accepted, accepted, 'the connection of before is used');
    assert.equal((await change(yaml('random', one))).outcome, 'applied');
    assert.deepEqual(states(), ['well']);
  });
});

test('a file that is not valid, or an address that cannot be had, changes nothing and is told; so is what needs a restart', async () => {
  await using origin = await Origin.start({ resolve: () => OBJECT });
  const good = `upstream: { url: "${origin.url}" }\n`;
  await withReloadableEdge(`${good}listen: 127.0.0.1:0\n`, async ({ edge, change, port }) => {
    const ask = async (): Promise<number> => (await request({ port: port(), path: '/a' })).status;
    const admin = async (target: string, method = 'GET'): Promise<{ status: number; body: Record<string, unknown>; text: string }> => {
      const answer = await request({ port: edge.adminAddress?.port ?? 0, path: target, method });
      const text = answer.body.toString();
      return { status: answer.status, text, body: text.startsWith('{') ? JSON.parse(text) : {} };
    };
    await eventually(() => edge.store.state === 'online', { what: 'the index' });
    const bad = await change('upstream: { url: "ftp://x" }\nlisten: 127.0.0.1:0\n');
    assert.equal(bad.outcome, 'invalid');
    assert.match(bad.problems[0] ?? '', /edge\.yaml:1:18: upstream\.url: must be a URL[\s\S]*\n +1 \| upstream/);
    assert.equal(await ask(), 200);
    const ready = await admin('/readyz');
    assert.deepEqual(
      [ready.status, (ready.body.reload as { outcome?: unknown } | undefined)?.outcome],
      [200, 'invalid'],
      'it still serves',
    );
    assert.match((await admin('/metrics')).text, /rawslice_config_current 0/);

    const taken = await change(`${good}services: [{ name: a, listen: "127.0.0.1:0" }, { name: b, listen: "127.0.0.1:${origin.port}" }]\n`);
    assert.deepEqual([taken.outcome, taken.problems.length], ['failed', 1]);
    assert.match(taken.problems[0] ?? '', /Cannot listen on 127\.0\.0\.1:\d+: it is in use/);
    assert.equal(await ask(), 200);
    assert.equal((await admin('/reload', 'POST')).status, 409);
    assert.equal((await admin('/reload')).status, 405);

    const fixed = await change(`${good}listen: 127.0.0.1:0\nlimits: { headerBytes: 32KiB, ranges: 5 }\nshutdown: { drain: 2s }\n`);
    assert.deepEqual(
      [fixed.outcome, fixed.changed, fixed.needsRestart],
      ['applied', ['limits.headerBytes', 'limits.ranges', 'shutdown.drain'], ['limits.headerBytes']],
    );
    assert.equal(edge.proxy.config.limits.headerBytesMax, 16 * KIB);
    assert.equal(edge.proxy.services.limits.rangesMax, 5);
    const again = await admin('/reload', 'POST');
    assert.deepEqual([again.status, again.body.outcome, again.body.cause], [200, 'applied', 'admin']);
    const metrics = (await admin('/metrics')).text;
    for (const [outcome, count] of [
      ['applied', 2],
      ['invalid', 1],
      ['failed', 2],
    ] as const)
      assert.match(metrics, new RegExp(`rawslice_config_reloads_total\\{outcome="${outcome}"\\} ${count}\\n`));
    assert.equal(await ask(), 200);
  });
});

test('a watched file is told of once it stands still, also when it is replaced or comes back', async () => {
  await withTemporaryDirectory(async (folder) => {
    const file = path.join(folder, 'a.yaml');
    await writeFile(file, 'one');
    let changes = 0;
    const watcher = new FileWatcher({ clock: new SystemClock(), file, onChange: () => (changes += 1) });
    try {
      // What has read the file by now has not read this.
      await writeFile(file, 'two');
      watcher.every(5);
      await eventually(() => changes === 1, { what: 'a change before the first look' });
      for (const [index, text] of ['three and more', 'four'].entries()) {
        await writeFile(file, text);
        await eventually(() => changes === index + 2, { what: `change ${index + 2}` });
      }
    } finally {
      watcher.stop();
    }
  });
});

test('a tunnel outlives the node that it leads to, and the drain of the old set; the next one goes where the new set says', async () => {
  await using before = await WebSocketOrigin.start();
  await using after = await WebSocketOrigin.start();
  const yaml = (origin: WebSocketOrigin): string =>
    `routes: [{ name: all, upstream: pool }]\nupstreams: [{ name: pool, nodes: [{ url: "${origin.url}" }] }]\nshutdown: { drain: 0 }\n`;
  await withReloadableEdge(yaml(before), async ({ edge, change, port }) => {
    const open = async (): Promise<WebSocket> => {
      const client = new WebSocket(`ws://127.0.0.1:${port()}/`);
      await once(client, 'open');
      return client;
    };
    const echo = async (client: WebSocket, text: string): Promise<void> => {
      const message = once(client, 'message');
      client.send(text);
      const [{ data }] = (await message) as [{ data: unknown }];
      assert.equal(data, text);
    };
    const first = await open();
    assert.equal((await change(yaml(after))).outcome, 'applied');
    const second = await open();
    assert.deepEqual([before.openCount, after.openCount], [1, 1]);
    // The old set is closed by now: nobody else has a connection to it.
    await eventually(() => edge.proxy.upstreams.every(({ nodes }) => nodes.every(({ origin }) => origin === after.url)), {
      what: 'the new set',
    });
    for (let turn = 0; turn < 3; turn += 1) {
      await echo(first, `first ${turn}`);
      await echo(second, `second ${turn}`);
    }
    for (const client of [first, second]) {
      const closed = once(client, 'close');
      client.close();
      await closed;
    }
  });
});

test('a reload that brings certificates ends connections that go on in the open, with their next response; those by TLS stay', async (context) => {
  await using origin = await Origin.start({ resolve: () => OBJECT });
  const files = certificateFiles(await temporaryDirectory(context), 'edge', ['localhost']);
  if (files === undefined) return context.skip('openssl is not installed');
  const text = (more: string): string =>
    `upstream: { url: "${origin.url}" }\nservices: [{ name: s, listen: "127.0.0.1:0", http2: true${more} }]\n`;
  const secure = `, certificates: [{ cert: "${files.cert}", key: "${files.key}" }]`;
  await withReloadableEdge(text(''), async ({ edge, change, port }) => {
    const [busy, general, lane] = await Promise.all([0, 1, 2].map(() => ClientConnection.open({ port: port() })));
    assert(busy !== undefined && general !== undefined && lane !== undefined);
    const h2 = await Http2Client.open(port());
    assert.equal((await h2.get('/a')).status, 200);
    for (const connection of [general, lane, lane])
      assert.equal((await connection.request({ path: '/a' })).headers.connection, 'keep-alive');
    origin.misbehave('/slow', { pauseAfterBytes: 1000 }, 1);
    const slow = busy.request({ path: '/slow' });
    await origin.waitForHeld('/slow');
    const told = once(h2.session, 'goaway');
    assert.equal((await change(text(secure))).outcome, 'applied');
    await told;
    origin.release('/slow');
    assert.deepEqual([(await slow).status, (await slow).isComplete], [200, true]);
    await eventually(() => busy.isClosed, { what: 'the end of the connection whose response had begun' });
    for (const connection of [general, lane]) {
      const answer = await connection.request({ path: '/a' });
      assert.deepEqual([answer.status, answer.headers.connection], [200, 'close']);
      await eventually(() => connection.isClosed, { what: 'the end of the connection' });
    }
    if (!h2.session.closed) await once(h2.session, 'close');
    const secured = await Http2Client.open(port(), { ALPNProtocols: ['h2'] });
    assert.equal((await secured.get('/a')).status, 200);
    assert.equal((await change(`${text(secure)}limits: { requests: 500 }\n`)).outcome, 'applied');
    assert.equal((await secured.get('/a')).status, 200);
    assert.equal(secured.session.closed, false);
    await secured[Symbol.asyncDispose]();
    await eventually(() => edge.listeners.open.length === 1, { what: 'the listener' });
  });
});
