/**
 * rawslice as it is started by its users: a file as device, the arena as large as the memory that all get for bodies, no access log, since
 * the peers write none either, and as many connections to the origin as the peers may open.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { freePort } from '../harness/processes.ts';
import { isFit, type Place, type System, type SystemKind } from './system.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** See the file's head. */
export const rawslice: SystemKind = {
  name: 'rawslice',
  isPeer: false,
  whyAbsent: () => (existsSync(path.join(ROOT, 'tools/cli.ts')) ? undefined : 'tools/cli.ts does not exist'),
  whyUnfit: isFit,
  start,
};

async function start(place: Place): Promise<System> {
  const [port, adminPort] = [await freePort(), await freePort()];
  const words = ['serve', '--upstream', `http://127.0.0.1:${place.originPort}`, '--device', path.join(place.directory, 'device')];
  words.push('--size', String(place.deviceBytes), '--arena', String(place.memoryBytes), '--set', 'log.access=false');
  words.push('--set', 'upstream.connections=512');
  words.push('--listen', `127.0.0.1:${port}`, '--admin', `127.0.0.1:${adminPort}`);
  if (place.sliceBytes !== undefined) words.push('--slice-size', String(place.sliceBytes));
  const process_ = place.pool.start({
    command: path.join(ROOT, 'tools/rawslice'),
    words,
    cores: place.cores,
    groupFile: place.groupFile,
    logPath: path.join(place.directory, 'log'),
  });
  await process_.waitUntilReady(() => isReady(adminPort));
  const description = `rawslice on Node ${process.version}, file with direct I/O, arena ${place.memoryBytes / 2 ** 20} MiB`;
  return { name: 'rawslice', description, port, adminPort, process: process_ };
}

async function isReady(adminPort: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).status === 200;
  } catch {
    // Not listening yet.
    return false;
  }
}
