/**
 * HAProxy with its cache for small objects: in memory alone, and no object larger than half of it or than a buffer chain wants, so that it
 * takes part where objects are small. One thread, since it has one core.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { findProgram, versionOf } from '../harness/pinning.ts';
import { acceptsConnections, freePort } from '../harness/processes.ts';
import type { Place, System, SystemKind } from './system.ts';

const OBJECT_BYTES_MAX = 1024 * 1024;

/** See the file's head. */
export const haproxy: SystemKind = {
  name: 'haproxy',
  isPeer: true,
  whyAbsent: () => (findProgram('haproxy') === undefined ? 'not installed (Debian: haproxy)' : undefined),
  whyUnfit: ({ objectBytes, disk }) => {
    if (disk === true) return 'it keeps nothing on disk';
    return objectBytes > OBJECT_BYTES_MAX ? 'its cache is for small objects' : undefined;
  },
  start,
};

async function start(place: Place): Promise<System> {
  const port = await freePort();
  const program = findProgram('haproxy') ?? 'haproxy';
  const file = path.join(place.directory, 'haproxy.cfg');
  writeFileSync(file, configuration(place, port));
  const child = place.pool.start({
    command: program,
    words: ['-db', '-f', file],
    cores: place.cores,
    groupFile: place.groupFile,
    logPath: path.join(place.directory, 'log'),
  });
  await child.waitUntilReady(() => acceptsConnections(port));
  const version = versionOf(program, '-v', /version [\d.]+/).replace('version ', '');
  return { name: 'haproxy', description: `haproxy/${version}, cache of small objects in memory`, port, process: child };
}

function configuration({ originPort, memoryBytes }: Place, port: number): string {
  return `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  option http-keep-alive
  http-reuse always
cache small
  total-max-size ${Math.min(4095, Math.floor(memoryBytes / 2 ** 20))}
  max-object-size ${OBJECT_BYTES_MAX + 1024}
  max-age 86400
frontend clients
  bind 127.0.0.1:${port}
  default_backend origin
backend origin
  http-request cache-use small
  http-response cache-store small
  server origin 127.0.0.1:${originPort} pool-max-conn 64
`;
}
