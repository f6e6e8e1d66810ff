/**
 * Apache Traffic Server: on a loop device with direct I/O, as root, since a raw device is what it is made for; else on a file. One event
 * thread, since it has one core; its RAM cache is plain LRU (cheaper than the default CLFUS) and takes objects of every size, while the
 * default leaves out those above 4 MiB; readers follow a writer; no log. `trafficserver-slice` has the plugins `slice` and
 * `cache_range_requests` with 1 MiB.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { attach, loopObstacle } from '../../test/helpers/loop-device.ts';
import { findProgram, versionOf } from '../harness/pinning.ts';
import { acceptsConnections, freePort } from '../harness/processes.ts';
import { isFit, type Place, type System, type SystemKind } from './system.ts';

const MODULES = '/usr/lib/trafficserver/modules';
const CLIENTS = 'ip_allow:\n  - apply: in\n    ip_addrs: 127.0.0.1\n    action: allow\n    methods: ALL\n';
const TEMPLATES = '/etc/trafficserver/body_factory';

/** See the file's head. */
export const trafficserver: SystemKind = {
  name: 'trafficserver',
  isPeer: true,
  whyAbsent: () => (findProgram('traffic_server') === undefined ? 'not installed (Debian: trafficserver)' : undefined),
  whyUnfit: isFit,
  start: (place) => start(place, { name: 'trafficserver', plugins: '' }),
};

/** See the file's head. */
export const trafficserverSlice: SystemKind = {
  ...trafficserver,
  name: 'trafficserver-slice',
  whyAbsent: () =>
    trafficserver.whyAbsent() ??
    (existsSync(`${MODULES}/slice.so`) ? undefined : `it has no ${MODULES}/slice.so (Debian: trafficserver-experimental-plugins)`),
  start: (place) =>
    start(place, { name: 'trafficserver-slice', plugins: '@plugin=slice.so @pparam=--blockbytes=1m @plugin=cache_range_requests.so' }),
};

async function start(place: Place, { name, plugins }: { readonly name: string; readonly plugins: string }): Promise<System> {
  const port = await freePort();
  const folders = layOut(place.directory);
  const storage = makeStorage(place);
  writeFileSync(`${folders.etc}/storage.config`, `${storage.line}\n`);
  writeFileSync(`${folders.etc}/remap.config`, `map / http://127.0.0.1:${place.originPort}/ ${plugins}\n`);
  writeFileSync(`${folders.etc}/ip_allow.yaml`, CLIENTS);
  writeFileSync(`${folders.etc}/records.config`, records(place, { port, etc: folders.etc }));
  for (const file of ['ssl_multicert.config', 'volume.config', 'hosting.config', 'plugin.config'])
    writeFileSync(`${folders.etc}/${file}`, '');
  const program = findProgram('traffic_server') ?? 'traffic_server';
  const child = place.pool.start({
    command: program,
    words: [`--run-root=${place.directory}`],
    cores: place.cores,
    groupFile: place.groupFile,
    logPath: path.join(place.directory, 'output'),
  });
  // It listens before its cache is ready; until then it passes everything through.
  await child.waitUntilReady(async () => (await acceptsConnections(port)) && isInitialized(place.directory));
  const version = versionOf(program, '--version', /\d+\.\d+\.\d+/);
  const how = `${storage.what}, RAM cache ${place.memoryBytes / 2 ** 20} MiB${plugins === '' ? '' : ', slice plugin 1m'}`;
  return { name, description: `trafficserver/${version}, ${how}`, port, process: child };
}

function isInitialized(directory: string): boolean {
  const file = path.join(directory, 'log', 'diags.log');
  return existsSync(file) && readFileSync(file, 'utf8').includes('fully initialized');
}

function layOut(directory: string): { readonly etc: string } {
  const folder = (name: string): string => path.join(directory, name);
  for (const name of ['etc', 'run', 'log', 'cache']) mkdirSync(folder(name), { recursive: true });
  const root = {
    prefix: directory,
    exec_prefix: '/usr',
    bindir: '/usr/bin',
    sbindir: '/usr/bin',
    sysconfdir: folder('etc'),
    datadir: folder('cache'),
    includedir: '/usr/include',
    libdir: path.dirname(MODULES),
    libexecdir: MODULES,
    localstatedir: folder('run'),
    runtimedir: folder('run'),
    logdir: folder('log'),
    cachedir: folder('cache'),
  };
  const lines = Object.entries(root).map(([key, value]) => `${key}: ${value}\n`);
  writeFileSync(folder('runroot.yaml'), lines.join(''));
  if (existsSync(TEMPLATES)) cpSync(TEMPLATES, path.join(folder('etc'), 'body_factory'), { recursive: true });
  return { etc: folder('etc') };
}

function makeStorage(place: Place): { readonly line: string; readonly what: string } {
  const obstacle = loopObstacle();
  if (obstacle !== undefined) return { line: `${place.directory}/cache ${place.deviceBytes}`, what: `a file, since ${obstacle}` };
  const { loop, detach } = attach(place.deviceBytes);
  place.onClose(detach);
  return { line: loop.path, what: 'loop device with direct I/O' };
}

function records(place: Place, { port, etc }: { readonly port: number; readonly etc: string }): string {
  const values = {
    'http.server_ports STRING': `${port}:ip-in=127.0.0.1`,
    'body_factory.template_sets_dir STRING': `${etc}/body_factory`,
    'exec_thread.autoconfig INT': 0,
    'exec_thread.limit INT': 1,
    'accept_threads INT': 0,
    'log.logging_enabled INT': 0,
    // Root stays root, who may open the device.
    'admin.user_id STRING': '#-1',
    'cache.ram_cache.size INT': place.memoryBytes,
    'cache.ram_cache.algorithm INT': 1,
    'cache.ram_cache_cutoff INT': 2 ** 30,
    'cache.enable_read_while_writer INT': 1,
    'http.background_fill_completed_threshold FLOAT': '0.0',
    'http.cache.max_open_read_retries INT': 10,
    'http.cache.open_read_retry_time INT': 5,
    'http.insert_response_via_str INT': 0,
    'http.negative_caching_enabled INT': 0,
    'net.connections_throttle INT': 30_000,
    'net.max_connections_in INT': 30_000,
    'http.per_server.connection.max INT': 0,
    'http.keep_alive_no_activity_timeout_in INT': 600,
    'http.keep_alive_no_activity_timeout_out INT': 600,
  };
  return Object.entries(values)
    .map(([key, value]) => `CONFIG proxy.config.${key} ${value}\n`)
    .join('');
}
