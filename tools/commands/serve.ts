/** `rawslice serve`: runs the cache until it is told to stop. Flags override the file; the file is config/default.yaml unless one is named. */
import path from 'node:path';
import type { Command } from 'commander';
import { Edge } from '../../src/app/edge.ts';
import { takeInheritance } from '../../src/app/inherited-sockets.ts';
import { serveUntilTold } from '../../src/app/life-cycle.ts';
import { loadEdgeConfig } from '../../src/app/load-config.ts';
import { countText } from '../../src/base/count-text.ts';
import { createLogger } from '../../src/base/log.ts';
import { LogBuffer } from '../../src/base/log-buffer.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { formatBytes } from '../../src/base/units.ts';
import type { ConfigRoute, EdgeConfig } from '../../src/config/edge-config.ts';
import { type ConfigOverride, environmentName } from '../../src/config/environment.ts';
import { formatListenAddress } from '../../src/config/listen-address.ts';
import type { CommandIo } from '../command-io.ts';
import { addSetOption, loadConfigOrFail } from '../config-options.ts';
import { watchSignals } from '../interrupt.ts';

const DEFAULT_FILE = path.resolve(import.meta.dirname, '../../config/default.yaml');

/** Flags that stand for an option of the configuration. */
const OPTION_OF_FLAG = {
  upstream: 'upstream.url',
  preset: 'preset',
  device: 'device.path',
  size: 'device.size',
  listen: 'listen',
  admin: 'admin.listen',
  arena: 'memory.arena',
  sliceSize: 'slice.size',
} as const;

interface ServeOptions extends Readonly<Partial<Record<keyof typeof OPTION_OF_FLAG, string>>> {
  readonly config?: string;
  readonly formatBlank?: true;
  readonly set: readonly ConfigOverride[];
}

/** Adds the `serve` command to the program. */
export function addServeCommand(program: Command, io: CommandIo): void {
  const serve = program
    .command('serve')
    .description('run the cache')
    .option('-c, --config <file>', 'configuration file (default: config/default.yaml of the project)')
    .option('--upstream <url>', 'the mirror to front; without --config the preset is then generic unless one is named')
    .option('--preset <name>', 'rules for a kind of mirror: debian, ubuntu, fedora, arch, alpine, pypi, npm, iso, generic')
    .option(
      '--device <path>',
      'block device or file for the cache; a file that does not exist is created; repeat it for several',
      collectPath,
    )
    .option('--size <size>', 'size of a file that is created (default: 10GiB, or half the free space where that is less)')
    .option('--format-blank', 'format a blank block device instead of stopping')
    .option('--listen <address>', 'address for clients, such as 127.0.0.1:8080')
    .option('--admin <address>', 'address for health, metrics and purge, such as 127.0.0.1:8081')
    .option('--arena <size>', 'memory for bodies, such as 256MiB')
    .option('--slice-size <size>', 'slice size of new objects, such as 1MiB');
  addSetOption(serve).action((options: ServeOptions) => run(options, io));
}

async function run(options: ServeOptions, io: CommandIo): Promise<void> {
  const file = options.config ?? DEFAULT_FILE;
  const overrides = overridesOf(options, io.environment);
  const { config, sources } = loadConfigOrFail(io, file, overrides);
  const stream = new LogBuffer(1, io.clock);
  // However it ends: also when it cannot start.
  process.once('exit', () => stream.flushNow());
  const logger = createLogger({ level: config.log.level, stream });
  const { sockets, isHandover } = takeInheritance(process.env, process);
  const edge = await Edge.start({
    config,
    isSizeChosen: sources.get('device.size') !== 'default',
    clock: io.clock,
    random: new SystemRandom(),
    logger,
    adminListen: config.admin.listen,
    sockets,
    isHandover,
    source: { file, load: () => loadEdgeConfig({ file, environment: io.environment, overrides }) },
  });
  if (!isHandover) announce(io, edge, config);
  process.on('SIGHUP', () => void edge.reload('signal'));
  const { clock, environment } = io;
  await serveUntilTold(edge, { clock, environment, logger, isHandover, watchStop: (stop) => void watchSignals(clock, stop) });
  await stream.close();
}

/** --upstream alone means plain RFC freshness, since the default file's preset belongs to the mirror that the file names. */
function overridesOf(options: ServeOptions, environment: CommandIo['environment']): ConfigOverride[] {
  const overrides: ConfigOverride[] = [];
  const isPresetNamed = options.config !== undefined || (environment[environmentName('preset')] ?? '') !== '';
  if (options.upstream !== undefined && !isPresetNamed) overrides.push(['preset', 'generic', 'flag --upstream']);
  for (const [flag, key] of Object.entries(OPTION_OF_FLAG) as [keyof typeof OPTION_OF_FLAG, string][]) {
    const text = options[flag];
    if (text !== undefined) overrides.push([key, text, `flag --${flag.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`]);
  }
  if (options.formatBlank === true) overrides.push(['device.formatBlank', 'true', 'flag --format-blank']);
  return [...overrides, ...options.set];
}

/** Several devices are one option: its text has commas between them. */
function collectPath(path: string, before: string | undefined): string {
  return before === undefined ? path : `${before},${path}`;
}

function announce(io: CommandIo, edge: Edge, config: EdgeConfig): void {
  const base = `http://${placeText(edge.address)}`;
  const admin = edge.adminAddress === undefined ? 'none' : `http://${hostAndPort(edge.adminAddress)}`;
  const short = config.routes.find(({ isImplicit }) => isImplicit);
  const what = short === undefined ? `has ${countText(config.routes.length, 'route')}` : frontedBy(config, short);
  io.terminal.note(`rawslice listens on ${base} and ${what}`);
  for (const { service, address } of edge.listeners.open.slice(1))
    io.terminal.note(`  and on http://${placeText(address)} (service ${service})`);
  for (const device of edge.store.status) io.terminal.note(`  cache  ${device.path} (${describeDevice(device, edge)})`);
  io.terminal.note(`  admin  ${admin}/readyz, /healthz, /metrics`);
  if (short === undefined) return;
  io.terminal.note(
    `  try    curl -o /dev/null -sD- ${base}${SAMPLE_PATHS[config.preset] ?? '/PATH/AT/THE/MIRROR'}   (twice: X-Cache says MISS, then HIT)`,
  );
}

function frontedBy(config: EdgeConfig, { group: name }: ConfigRoute): string {
  const group = config.groups.find((known) => known.name === name);
  const [first, ...others] = group?.nodes ?? [];
  const more = others.length === 0 ? '' : ` and ${countText(others.length, 'node')} more`;
  return `fronts ${first?.origin ?? (group?.discovery === undefined ? '' : `what is found for ${group.discovery.authority}`)}${group?.basePath ?? ''}${more} (preset ${config.preset})`;
}

function placeText(address: Edge['address']): string {
  return typeof address === 'string' ? address : hostAndPort(address);
}

function describeDevice(device: Edge['store']['status'][number], edge: Edge): string {
  if (device.capacityBytes === 0) return `left out: ${device.reason ?? device.state}`;
  const how = device.isDirect ? 'direct I/O' : 'buffered I/O';
  return [formatBytes(device.capacityBytes), how, ...(edge.formatted.includes(device.path) ? ['formatted just now'] : [])].join(', ');
}

/** Something that every mirror of the kind has; elsewhere only its users know a path. */
const SAMPLE_PATHS: Readonly<Partial<Record<EdgeConfig['preset'], string>>> = {
  debian: '/debian/dists/stable/InRelease',
  ubuntu: '/ubuntu/dists/noble/InRelease',
};

function hostAndPort(address: { address: string; port: number }): string {
  return formatListenAddress({ host: address.address, port: address.port });
}
