/** Nodes by DNS from a real server of others, dnsmasq, whose records change while it runs. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { KIB } from '../../src/base/units.ts';
import { startEdge } from '../helpers/edge.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';

const obstacle = spawnSync('dnsmasq', ['--version']).error === undefined ? false : 'dnsmasq is not installed (dnsmasq-base)';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill();
  await once(child, 'exit');
}

test('addresses and services of dnsmasq are nodes, and follow it', { skip: obstacle }, async () => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 10 * KIB }) });
  await withTemporaryDirectory(async (folder) => {
    const hosts = path.join(folder, 'hosts');
    await writeFile(hosts, '127.0.0.1 web.test\n127.0.0.2 web.test\n::1 web.test\n127.0.0.1 a.test\n');
    const port = await freePort();
    const words = [
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--no-resolv',
      '--local=/test/',
      '--no-hosts',
      '--bind-interfaces',
      '--user=',
      '--pid-file=',
    ];
    const own = [`--port=${port}`, '--listen-address=127.0.0.1', `--addn-hosts=${hosts}`, '--local-ttl=1', '--log-facility=-'];
    const services = [`--srv-host=_http._tcp.web.test,a.test,${origin.port},10,3`, '--srv-host=_http._tcp.web.test,b.test,81,20,3'];
    const child = spawn('dnsmasq', [...words, ...own, ...services], { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.resume();
    try {
      const common = `servers: "127.0.0.1:${port}", minTtl: 100ms, maxTtl: 200ms`;
      const yaml = `upstreams:\n  - name: web\n    discover: { type: dns, name: web.test, port: 80, ${common} }\n  - name: srv\n    discover: { type: dns, name: _http._tcp.web.test, ${common} }\nroutes: [{ name: r, upstream: srv }]\n`;
      await using edge = await startEdge({ yaml });
      const nodes = (group: string): readonly string[] =>
        edge.proxy.upstreams
          .find((found) => found.group === group)
          ?.nodes.map((node) => `${node.origin}${node.isBackup ? ' backup' : ''}`) ?? [];
      await eventually(() => nodes('web').length === 3 && nodes('srv').length === 1, { what: 'the nodes' });
      assert.deepEqual(nodes('web'), ['http://127.0.0.1', 'http://127.0.0.2', 'http://[::1]']);
      assert.deepEqual(nodes('srv'), [`http://127.0.0.1:${origin.port}`]);
      assert.equal((await edge.get('/a')).status, 200);
      assert.equal(origin.requests[0]?.headers.host, `a.test:${origin.port}`);
      await writeFile(hosts, '127.0.0.2 web.test\n127.0.0.1 a.test\n127.0.0.3 b.test\n');
      child.kill('SIGHUP');
      await eventually(() => nodes('web').length === 1 && nodes('srv').length === 2, { what: 'other nodes' });
      assert.deepEqual([nodes('web'), nodes('srv')[1]], [['http://127.0.0.2'], 'http://127.0.0.3:81 backup']);
      await stop(child);
      const problem = (): string => edge.proxy.upstreams[0]?.discovery?.problem ?? '';
      await eventually(() => problem().includes('ECONNREFUSED'), { what: 'a server that is gone' });
      assert.deepEqual(nodes('web'), ['http://127.0.0.2']);
    } finally {
      await stop(child);
    }
  });
});
