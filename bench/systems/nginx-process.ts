/** One nginx: the frame of its configuration, which the origin and both peers share. One worker, no access log, sendfile, long keep-alive. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { findProgram, versionOf } from '../harness/pinning.ts';
import { acceptsConnections, type BenchProcess, type ProcessPool } from '../harness/processes.ts';

/** Where nginx is, or undefined. */
export function findNginx(): string | undefined {
  return findProgram('nginx');
}

/** Why there is no nginx, for reports. */
export function whyNoNginx(): string | undefined {
  return findNginx() === undefined ? 'not installed (Debian: nginx)' : undefined;
}

/** `nginx/1.22.1` */
export function nginxVersion(): string {
  return versionOf(findNginx() ?? 'nginx', '-v', /nginx\/\S+/);
}

/** What one nginx is to do. */
export interface NginxOptions {
  readonly pool: ProcessPool;
  readonly cores: string | undefined;
  readonly groupFile?: string | undefined;
  readonly directory: string;
  readonly port: number;
  /** Lines for `http` and for `server`. */
  readonly http: string;
  readonly server: string;
}

/** Starts nginx and waits until it listens. @throws Error with the end of its log */
export async function startNginx(options: NginxOptions): Promise<BenchProcess> {
  const { directory, port } = options;
  mkdirSync(directory, { recursive: true });
  const file = path.join(directory, 'nginx.conf');
  writeFileSync(file, configuration(options));
  const child = options.pool.start({
    command: findNginx() ?? 'nginx',
    words: ['-p', directory, '-c', file, '-e', 'stderr'],
    cores: options.cores,
    groupFile: options.groupFile,
    logPath: path.join(directory, 'log'),
  });
  await child.waitUntilReady(() => acceptsConnections(port));
  return child;
}

function configuration({ directory, port, http, server }: NginxOptions): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `  ${kind}_temp_path ${directory}/${kind};`);
  // Root's workers become nobody, who may not read a directory of mode 700.
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  return `${user}
daemon off;
worker_processes 1;
pid ${directory}/pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  default_type application/octet-stream;
  keepalive_requests 100000000;
  open_file_cache max=10000 inactive=600s;
  open_file_cache_valid 600s;
${temporary.join('\n')}
${http}
  server {
    listen 127.0.0.1:${port} backlog=1024;
${server}
  }
}
`;
}
