/**
 * Varnish with bodies in memory (`malloc`), its fastest storage; where hits must come from a disk, a file mapped into memory (`file`), the
 * only other one that its free edition has. No gzip and no shared-memory log, which nobody reads here; fetches in pieces of 1 MiB, so that
 * a large object is not made of thousands; threads that are there before the load comes.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { findProgram, versionOf } from '../harness/pinning.ts';
import { acceptsConnections, freePort } from '../harness/processes.ts';
import type { Place, System, SystemKind } from './system.ts';

/** What would be logged for each request, into memory that nobody reads. */
const LOGGED =
  'Begin,End,Timestamp,ReqMethod,ReqURL,ReqProtocol,ReqHeader,ReqStart,ReqAcct,RespProtocol,RespStatus,RespReason,RespHeader,RespUnset,ReqUnset,' +
  'VCL_call,VCL_return,VCL_use,Hit,HitPass,HitMiss,SessOpen,SessClose,Link,Filters,BereqMethod,BereqURL,BereqProtocol,BereqHeader,BereqUnset,' +
  'BerespProtocol,BerespStatus,BerespReason,BerespHeader,BereqAcct,BackendOpen,BackendClose,Fetch_Body,Storage,TTL,Length,Gzip,ObjProtocol,' +
  'ObjStatus,ObjReason,ObjHeader';

const PARAMETERS = {
  http_gzip_support: 'off',
  vsl_mask: LOGGED.split(',')
    .map((tag) => `-${tag}`)
    .join(','),
  fetch_chunksize: '1m',
  fetch_maxchunksize: '64m',
  thread_pools: '1',
  thread_pool_min: '150',
  timeout_idle: '300',
  default_grace: '10',
};

/** See the file's head. */
export const varnish: SystemKind = {
  name: 'varnish',
  isPeer: true,
  whyAbsent: () => {
    if (findProgram('varnishd') === undefined) return 'not installed (Debian: varnish)';
    return findProgram('cc') === undefined ? 'it needs a C compiler for its configuration (Debian: gcc)' : undefined;
  },
  whyUnfit: () => undefined,
  start,
};

async function start(place: Place): Promise<System> {
  const port = await freePort();
  const vcl = path.join(place.directory, 'bench.vcl');
  writeFileSync(vcl, `vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "${place.originPort}"; }\n`);
  // What is larger than the memory lies in a file that the kernel pages in and out.
  const isOnDisk = place.isDiskWanted;
  const storage = isOnDisk ? `file,${path.join(place.directory, 'storage')},${place.deviceBytes}` : `malloc,${place.memoryBytes}`;
  const words = ['-F', '-f', vcl, '-a', `127.0.0.1:${port}`, '-s', storage, '-n', path.join(place.directory, 'work'), '-T', 'none'];
  for (const [name, value] of Object.entries(PARAMETERS)) words.push('-p', `${name}=${value}`);
  const child = place.pool.start({
    command: findProgram('varnishd') ?? 'varnishd',
    // A jail changes the user, who may not read a directory of mode 700.
    words: ['-j', 'none', ...words],
    cores: place.cores,
    groupFile: place.groupFile,
    logPath: path.join(place.directory, 'log'),
  });
  await child.waitUntilReady(() => acceptsConnections(port));
  const version = versionOf(findProgram('varnishd') ?? 'varnishd', '-V', /varnish-[\d.]+/);
  return { name: 'varnish', description: `${version}, ${isOnDisk ? 'file mapped into memory' : 'malloc'}`, port, process: child };
}
