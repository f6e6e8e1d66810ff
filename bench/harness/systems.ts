/**
 * The systems under comparison and the origin behind them, each with the best configuration that we know for it, on ports and in
 * directories of their own. `direct` is no system: it is the load straight on the origin, the most that load and origin can do here.
 */

import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { fillBody } from '../../test/helpers/body.ts';
import { acceptsConnections, type BenchProcess, findProgram, freePort, type Pinning, type ProcessPool } from './processes.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const FILE_BLOCK_BYTES = 1024 * 1024;

/** Names of what can be compared. */
export const SYSTEM_NAMES = ['rawslice', 'nginx', 'direct'] as const;
export type SystemName = (typeof SYSTEM_NAMES)[number];

/** A system that is running. */
export interface System {
  readonly name: SystemName;
  /** Name and version, for the report. */
  readonly description: string;
  readonly port: number;
  /** Undefined for `direct`. */
  readonly process: BenchProcess | undefined;
}

/** What the systems share in one run. */
export interface Stage {
  readonly pool: ProcessPool;
  readonly pinning: Pinning | undefined;
  /** Directory for caches, logs and files; removed at the end by its owner. */
  readonly directory: string;
  readonly deviceBytes: number;
  /** rawslice's `--arena`; its default when undefined. */
  readonly arena?: string | undefined;
}

/** An origin that serves `/bytes/SIZE/NAME`, for any name. */
export interface BenchOrigin {
  readonly port: number;
  readonly description: string;
}

/**
 * Starts the origin: nginx with one file per size where it is installed, else the test origin in a process of its own (slower).
 *
 * @param sizes of the objects that will be asked for, as `4KiB`; each name of a size gives the same bytes, which do not compress
 */
export async function startOrigin(stage: Stage, sizes: Readonly<Record<string, number>>): Promise<BenchOrigin> {
  const port = await freePort();
  const logPath = path.join(stage.directory, 'origin.log');
  const nginx = findProgram('nginx');
  if (nginx === undefined) {
    const words = [path.join(ROOT, 'test/helpers/origin-command.ts'), '--port', String(port)];
    const child = stage.pool.start({ command: process.execPath, words, cores: stage.pinning?.load, logPath });
    await child.waitUntilReady(() => acceptsConnections(port));
    return { port, description: 'node, test/helpers/origin-command.ts' };
  }
  const directory = path.join(stage.directory, 'origin');
  mkdirSync(directory, { recursive: true });
  for (const [size, lengthBytes] of Object.entries(sizes)) writeBodyFile(path.join(directory, size), size, lengthBytes);
  const server = `
    root ${directory};
    etag on;
    location /bytes/ {
      rewrite ^/bytes/([^/]+)/ /$1 break;
      add_header Cache-Control max-age=86400;
    }`;
  const child = startNginx(stage, { nginx, name: 'origin', port, cores: stage.pinning?.load, http: '', server });
  await child.waitUntilReady(() => acceptsConnections(port));
  return { port, description: `${nginxVersion(nginx)}, files in the page cache` };
}

/** Why a system cannot run here, or undefined when it can. */
export function whyAbsent(name: SystemName): string | undefined {
  if (name === 'nginx' && findProgram('nginx') === undefined) return 'nginx is not installed (Debian: nginx)';
  if (name === 'rawslice' && !existsSync(path.join(ROOT, 'tools/cli.ts'))) return 'tools/cli.ts does not exist';
  return undefined;
}

/** Starts a system in front of the origin and waits until it is ready. @throws Error with the end of its log */
export async function startSystem(name: SystemName, stage: Stage, origin: BenchOrigin): Promise<System> {
  if (name === 'direct') return { name, description: origin.description, port: origin.port, process: undefined };
  return name === 'nginx' ? startNginxCache(stage, origin) : startRawslice(stage, origin);
}

async function startRawslice(stage: Stage, origin: BenchOrigin): Promise<System> {
  const [port, adminPort] = [await freePort(), await freePort()];
  const device = path.join(stage.directory, 'device');
  const words = ['serve', '--upstream', `http://127.0.0.1:${origin.port}`, '--device', device, '--size', String(stage.deviceBytes)];
  words.push('--listen', `127.0.0.1:${port}`, '--admin', `127.0.0.1:${adminPort}`);
  if (stage.arena !== undefined) words.push('--arena', stage.arena);
  const command = path.join(ROOT, 'tools/rawslice');
  const child = stage.pool.start({ command, words, cores: stage.pinning?.server, logPath: path.join(stage.directory, 'rawslice.log') });
  await child.waitUntilReady(() => isReady(adminPort));
  return { name: 'rawslice', description: `rawslice on Node ${process.version}`, port, process: child };
}

async function isReady(adminPort: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).status === 200;
  } catch {
    // Not listening yet.
    return false;
  }
}

/**
 * nginx as a slicing cache: 1 MiB slices, connections to the origin kept. Of eight settings of buffers from 8 x 4 KiB to 16 x 64 KiB this
 * one took the least CPU for a cold stream (2.5 s/GiB twice, the others 2.7 to 5.6; bench/cold-warm.ts, short, November 2026, noisy machine).
 */
async function startNginxCache(stage: Stage, origin: BenchOrigin): Promise<System> {
  const nginx = findProgram('nginx');
  if (nginx === undefined) throw new Error('nginx is not installed');
  const port = await freePort();
  const cache = path.join(stage.directory, 'nginx-cache');
  const http = `
  proxy_cache_path ${cache} levels=1:2 keys_zone=cache:64m max_size=${stage.deviceBytes} inactive=1d use_temp_path=off;
  upstream origin { server 127.0.0.1:${origin.port}; keepalive 64; keepalive_requests 1000000; }`;
  const server = `
    location / {
      slice 1m;
      proxy_cache cache;
      proxy_cache_key $uri$is_args$args$slice_range;
      proxy_cache_valid 200 206 1d;
      proxy_set_header Range $slice_range;
      proxy_set_header Connection "";
      proxy_http_version 1.1;
      proxy_buffer_size 8k;
      proxy_buffers 8 8k;
      proxy_busy_buffers_size 16k;
      proxy_pass http://origin;
    }`;
  const child = startNginx(stage, { nginx, name: 'nginx', port, cores: stage.pinning?.server, http, server });
  await child.waitUntilReady(() => acceptsConnections(port));
  return { name: 'nginx', description: `${nginxVersion(nginx)}, slice 1m, proxy_cache, page cache not limited`, port, process: child };
}

function startNginx(
  stage: Stage,
  options: {
    readonly nginx: string;
    readonly name: string;
    readonly port: number;
    readonly cores: string | undefined;
    readonly http: string;
    readonly server: string;
  },
): BenchProcess {
  const base = path.join(stage.directory, `${options.name}-run`);
  mkdirSync(base, { recursive: true });
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `  ${kind}_temp_path ${base}/${kind};`).join('\n');
  const file = path.join(base, 'nginx.conf');
  // Root's workers become nobody, who may not read a directory of mode 700.
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  writeFileSync(
    file,
    `${user}
daemon off;
worker_processes 1;
pid ${base}/pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  default_type application/octet-stream;
  keepalive_requests 1000000;
  open_file_cache max=10000 inactive=600s;
${temporary}
${options.http}
  server {
    listen 127.0.0.1:${options.port};
${options.server}
  }
}
`,
  );
  const logPath = path.join(stage.directory, `${options.name}.log`);
  return stage.pool.start({ command: options.nginx, words: ['-p', base, '-c', file, '-e', 'stderr'], cores: options.cores, logPath });
}

function nginxVersion(nginx: string): string {
  const { stderr } = spawnSync(nginx, ['-v'], { encoding: 'utf8' });
  return /nginx\/\S+/.exec(stderr)?.[0] ?? 'nginx';
}

function writeBodyFile(file: string, name: string, lengthBytes: number): void {
  const handle = openSync(file, 'w');
  for (let offset = 0; offset < lengthBytes; offset += FILE_BLOCK_BYTES) {
    const block = Buffer.allocUnsafe(Math.min(FILE_BLOCK_BYTES, lengthBytes - offset));
    fillBody(block, { name, version: 1 }, offset);
    writeSync(handle, block);
  }
  closeSync(handle);
}
