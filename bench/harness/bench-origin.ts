/**
 * The origin of a field, which serves `/bytes/SIZE/NAME` for any name and counts what it sends: nginx with a file for each size, the
 * cheapest that there is; or generated-origin.ts, where a question wants a limited rate or short freshness, or nginx is not installed.
 */
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import { fillBody } from '../../test/helpers/body.ts';
import { findNginx, nginxVersion, startNginx } from '../systems/nginx-process.ts';
import { acceptsConnections, freePort, type ProcessPool } from './processes.ts';

const FILE_BLOCK_BYTES = 1024 * 1024;
/** nginx writes its log after the last byte. */
const LOG_DELAY_MS = 100;

/** What an origin has done in some time. */
export interface OriginCounts {
  readonly requests: number;
  /** Connections among those that these requests came on that had not been used before. */
  readonly opened: number;
  readonly bodyBytes: number;
}

/** A running origin. */
export interface BenchOrigin {
  readonly port: number;
  readonly description: string;
  /** What was done since the last call, or since the start. */
  count(): Promise<OriginCounts>;
}

/** What an origin is to be. */
export interface OriginOptions {
  readonly pool: ProcessPool;
  readonly cores: string | undefined;
  readonly directory: string;
  /** Lengths by the name used in paths, as `4KiB`; each name of a size gives the same bytes, which do not compress. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Bytes a second for all connections together, as a line to an origin has. */
  readonly bytesPerSecond?: number | undefined;
  readonly maxAgeSeconds?: number | undefined;
}

/** Starts the origin and waits until it listens. */
export async function startOrigin(options: OriginOptions): Promise<BenchOrigin> {
  const isPlain = options.bytesPerSecond === undefined && options.maxAgeSeconds === undefined;
  return isPlain && findNginx() !== undefined ? startFiles(options) : startGenerated(options);
}

async function startFiles({ pool, cores, directory, sizes }: OriginOptions): Promise<BenchOrigin> {
  const port = await freePort();
  const files = path.join(directory, 'files');
  const logPath = path.join(directory, 'requests.log');
  mkdirSync(files, { recursive: true });
  for (const [size, lengthBytes] of Object.entries(sizes)) writeBodyFile(path.join(files, size), size, lengthBytes);
  const http = "  log_format sent '$connection $body_bytes_sent';";
  // In the server, since `access_log off` of the frame holds for everything on its level.
  const server = `
    access_log ${logPath} sent;
    root ${files};
    etag on;
    location /bytes/ {
      rewrite ^/bytes/([^/]+)/ /$1 break;
      add_header Cache-Control max-age=86400;
    }`;
  await startNginx({ pool, cores, directory, port, http, server });
  const log = new RequestLog(logPath);
  return { port, description: `${nginxVersion()}, files in the page cache`, count: () => log.count() };
}

async function startGenerated(options: OriginOptions): Promise<BenchOrigin> {
  const port = await freePort();
  const words = [path.join(import.meta.dirname, 'generated-origin.ts'), '--port', String(port)];
  if (options.bytesPerSecond !== undefined) words.push('--bytes-per-second', String(options.bytesPerSecond));
  if (options.maxAgeSeconds !== undefined) words.push('--max-age', String(options.maxAgeSeconds));
  const logPath = path.join(options.directory, 'log');
  const child = options.pool.start({ command: process.execPath, words, cores: options.cores, logPath });
  await child.waitUntilReady(() => acceptsConnections(port));
  const rate = options.bytesPerSecond === undefined ? '' : `, ${options.bytesPerSecond / 1e6} MB/s in all`;
  return {
    port,
    description: `node, bench/harness/generated-origin.ts${rate}`,
    count: async () => (await (await fetch(`http://127.0.0.1:${port}/counts`)).json()) as OriginCounts,
  };
}

/** Reads what was appended to nginx's log. */
class RequestLog {
  readonly #path: string;
  readonly #seen = new Set<string>();
  #offset = 0;

  constructor(logPath: string) {
    this.#path = logPath;
  }

  async count(): Promise<OriginCounts> {
    await new SystemClock().sleep(LOG_DELAY_MS);
    const text = readFileSync(this.#path, 'latin1').slice(this.#offset);
    this.#offset = statSync(this.#path).size;
    const lines = text.split('\n').filter((line) => line !== '');
    const before = this.#seen.size;
    for (const line of lines) this.#seen.add(line.slice(0, line.indexOf(' ')));
    const bodyBytes = lines.reduce((sum, line) => sum + Number(line.slice(line.indexOf(' ') + 1)), 0);
    return { requests: lines.length, opened: this.#seen.size - before, bodyBytes };
  }
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
