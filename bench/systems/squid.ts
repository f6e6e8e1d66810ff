/**
 * Squid as an accelerator, one worker. `aufs` rather than `rock` on disk: rock keeps an object in slots of 16 KiB, which costs large ones
 * dearly, and one worker can use aufs's threads. Objects of every size may be in memory; requests for a missing object share one
 * (`collapsed_forwarding`); a client that leaves does not end a fetch; no logs.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { findProgram, versionOf } from '../harness/pinning.ts';
import { acceptsConnections, freePort } from '../harness/processes.ts';
import { isFit, type Place, type System, type SystemKind } from './system.ts';

const MIB = 2 ** 20;
const INIT_DEADLINE_MS = 20_000;

/** See the file's head. */
export const squid: SystemKind = {
  name: 'squid',
  isPeer: true,
  whyAbsent: () => (findProgram('squid') === undefined ? 'not installed (Debian: squid)' : undefined),
  whyUnfit: isFit,
  start,
};

async function start(place: Place): Promise<System> {
  const port = await freePort();
  const program = findProgram('squid') ?? 'squid';
  const file = path.join(place.directory, 'squid.conf');
  giveAway(place.directory);
  writeFileSync(file, configuration(place, port));
  const made = spawnSync(program, ['-N', '-z', '-f', file], { encoding: 'utf8', timeout: INIT_DEADLINE_MS });
  if (made.status !== 0) throw new Error(`squid -z: ${made.stderr.slice(-2000)}`);
  const child = place.pool.start({
    command: program,
    words: ['-N', '-f', file],
    cores: place.cores,
    groupFile: place.groupFile,
    logPath: path.join(place.directory, 'output'),
  });
  await child.waitUntilReady(() => acceptsConnections(port));
  const version = versionOf(program, '-v', /Version [\d.]+/).replace('Version ', '');
  return { name: 'squid', description: `squid/${version}, aufs, cache_mem ${place.memoryBytes / MIB} MiB`, port, process: child };
}

/** As root, Squid becomes the user `proxy`, whose the directory must be and who must reach it. */
function giveAway(directory: string): void {
  if (process.getuid?.() !== 0) return;
  const line = /^proxy:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  mkdirSync(path.join(directory, 'cache'), { recursive: true });
  for (const target of [directory, path.join(directory, 'cache')]) chownSync(target, Number(line?.[1] ?? 0), Number(line?.[2] ?? 0));
  for (let parent = path.dirname(directory); parent.includes('rawslice-bench'); parent = path.dirname(parent)) chmodSync(parent, 0o711);
}

function configuration({ directory, originPort, memoryBytes, deviceBytes }: Place, port: number): string {
  return `http_port 127.0.0.1:${port} accel defaultsite=127.0.0.1:${port} no-vhost
cache_peer 127.0.0.1 parent ${originPort} 0 no-query no-digest no-netdb-exchange originserver name=origin
cache_peer_access origin allow all
never_direct allow all
http_access allow all
workers 1
cache_mem ${Math.floor(memoryBytes / MIB)} MB
maximum_object_size 2 GB
maximum_object_size_in_memory ${Math.floor(memoryBytes / MIB)} MB
memory_replacement_policy lru
cache_dir aufs ${directory}/cache ${Math.floor(deviceBytes / MIB)} 16 64
collapsed_forwarding on
quick_abort_min -1 KB
range_offset_limit none
via off
forwarded_for delete
access_log none
cache_store_log none
cache_log ${directory}/cache.log
pid_filename ${directory}/pid
netdb_filename none
pinger_enable off
client_db off
server_persistent_connections on
client_persistent_connections on
pconn_timeout 10 minutes
shutdown_lifetime 1 second
visible_hostname bench
icp_port 0
coredump_dir none
`;
}
