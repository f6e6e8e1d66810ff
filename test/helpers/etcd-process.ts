/** A real etcd of one member on free ports, and a client that writes to it over its JSON gateway. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { eventually } from './eventually.ts';

/** Why there is none; false when there is. For `skip`. */
export const etcdObstacle: string | false =
  spawnSync('etcd', ['--version']).error === undefined ? false : 'etcd is not installed (etcd-server)';

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** The process. */
export class EtcdProcess {
  readonly url: string;
  token: string | undefined;
  readonly #words: readonly string[];
  #child: ChildProcess | undefined;

  private constructor(folder: string, [client = 0, peer = 0]: readonly number[]) {
    this.url = `http://127.0.0.1:${client}`;
    const peerUrl = `http://127.0.0.1:${peer}`;
    const urls = [`--listen-client-urls=${this.url}`, `--advertise-client-urls=${this.url}`, `--listen-peer-urls=${peerUrl}`];
    const own = [`--initial-advertise-peer-urls=${peerUrl}`, `--initial-cluster=default=${peerUrl}`, `--data-dir=${folder}/etcd`];
    this.#words = [...urls, ...own, '--logger=zap', '--log-level=error'];
  }

  /** @param folder where it keeps its data, removed by whoever made it */
  static async start(folder: string): Promise<EtcdProcess> {
    const etcd = new EtcdProcess(folder, await freePorts(2));
    await etcd.start();
    return etcd;
  }

  /** Again, with the same data. */
  async start(): Promise<void> {
    this.#child = spawn('etcd', this.#words, { stdio: 'ignore' });
    await eventually(async () => (await fetch(`${this.url}/health`)).ok, { what: 'etcd', deadlineMs: 30_000 });
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  put(key: string, value: string, lease?: string): Promise<unknown> {
    return this.post('kv/put', { key: base64(key), value: base64(value), ...(lease === undefined ? {} : { lease }) });
  }

  delete(key: string): Promise<unknown> {
    return this.post('kv/deleterange', { key: base64(key) });
  }

  async post(path: string, question: object): Promise<Record<string, unknown>> {
    const headers = this.token === undefined ? {} : { authorization: this.token };
    const response = await fetch(`${this.url}/v3/${path}`, { method: 'POST', headers, body: JSON.stringify(question) });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    return JSON.parse(text);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
