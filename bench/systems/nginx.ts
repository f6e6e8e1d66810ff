/**
 * nginx with `proxy_cache`, an object to a file: its fastest way to serve what is cached. Without `aio threads`, which halved its small hits
 * in the measurements of design/PERFORMANCE.md; the cache's files are opened once and sent by sendfile from the page cache. Requests for the same missing object wait for the first (`proxy_cache_lock`), as a cache in
 * front of a mirror should. Connections to the origin are kept.
 */
import path from 'node:path';
import { freePort } from '../harness/processes.ts';
import { nginxVersion, startNginx, whyNoNginx } from './nginx-process.ts';
import { isFit, type Place, type System, type SystemKind } from './system.ts';

/** See the file's head. */
export const nginx: SystemKind = {
  name: 'nginx',
  isPeer: true,
  whyAbsent: whyNoNginx,
  whyUnfit: isFit,
  start: (place) => startCache(place, { name: 'nginx', description: 'proxy_cache', location: WHOLE }),
};

/** 1 MiB of buffers: the whole-file cache writes what a buffer holds at a time, and fewer, larger writes cost it less. */
const WHOLE = `
      proxy_cache_key $uri$is_args$args;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 60s;
      proxy_cache_lock_age 60s;
      proxy_buffer_size 16k;
      proxy_buffers 16 64k;
      proxy_busy_buffers_size 256k;`;

/** One nginx as a cache; the slicing one (nginx-slice.ts) differs in its location only. */
export async function startCache(
  place: Place,
  { name, description, location }: { readonly name: string; readonly description: string; readonly location: string },
): Promise<System> {
  const port = await freePort();
  const cache = path.join(place.directory, 'cache');
  const http = `
  proxy_cache_path ${cache} levels=1:2 keys_zone=cache:64m max_size=${place.deviceBytes} inactive=1d use_temp_path=off;
  upstream origin { server 127.0.0.1:${place.originPort}; keepalive 64; keepalive_requests 100000000; }`;
  const server = `
    location / {
      proxy_cache cache;
      proxy_cache_revalidate on;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass http://origin;
${location}
    }`;
  const process = await startNginx({ ...place, port, http, server });
  return { name, description: `${nginxVersion()}, ${description}, page cache`, port, process };
}
