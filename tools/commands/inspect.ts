/**
 * `rawslice inspect ...`: what is on a device, in words or JSON. It writes nothing and claims nothing, so it may run beside a server; it
 * then sees the device as it was a moment ago, without what the server has in memory only.
 */
import type { Command } from 'commander';
import { findStoredRuns, measureUsage, viewDevice } from '../../src/store/inspect-device.ts';
import { readRoot } from '../../src/store/root-area.ts';
import type { CommandIo } from '../command-io.ts';
import { withReadableDevice } from '../device-view.ts';
import { describeIdentity, describeObject, describeSuperblock, describeUsage, describeZones } from '../inspect/describe-device.ts';
import { findByName } from '../inspect/find-object.ts';
import { formatTable } from '../inspect/format-table.ts';
import { printObjects } from '../inspect/list-objects.ts';
import { renderSliceMap } from '../inspect/slice-map.ts';
import { quotePath } from '../quote-path.ts';
import { countFlag } from '../values.ts';

interface JsonOption {
  readonly json?: true;
}

interface ObjectsOptions extends JsonOption {
  readonly prefix?: string;
  readonly limit: string;
}

const PATH_WORDS = 'block device or file that holds a cache';
const JSON_WORDS = 'print it as JSON';
const LIMIT_RANGE = { min: 1, max: 10_000_000 };

/** Adds the `inspect` command to the program. */
export function addInspectCommand(program: Command, io: CommandIo): void {
  const inspect = program
    .command('inspect')
    .description('look at what is on a device; reads only, also beside a running server')
    .addHelpText('after', '\nExit codes: 0 shown, 1 it cannot be read or is not there, 2 wrong usage');
  const add = (name: string, description: string): Command =>
    inspect.command(name).description(description).argument('<path>', PATH_WORDS).option('--json', JSON_WORDS);
  inspect
    .command('overview', { isDefault: true })
    .description('the state of the device in short; what `inspect PATH` shows')
    .argument('<path>', PATH_WORDS)
    .option('--json', JSON_WORDS)
    .action((path: string, options: JsonOption) => showOverview(io, path, options));
  add('superblock', 'who the device is, and the state in which its last writer left it').action((path: string, options: JsonOption) =>
    showRoot(io, path, options, describeSuperblock),
  );
  add('zones', 'where labels, journal, checkpoints and objects lie').action((path: string, options: JsonOption) =>
    showRoot(io, path, options, describeZones),
  );
  add('usage', 'how full it is').action((path: string, options: JsonOption) => showUsage(io, path, options));
  add('objects', 'which objects it holds, the one written longest ago first')
    .option('--prefix <text>', 'only those whose key, or whose path, begins with this')
    .option('--limit <n>', 'at most so many', '100')
    .action((path: string, options: ObjectsOptions) => showObjects(io, path, options));
  inspect
    .command('object')
    .description('one object: its fields, and a map of which slices are stored')
    .argument('<path>', PATH_WORDS)
    .argument('<name>', 'key as `inspect objects` shows it, URL, or path with query')
    .option('--json', JSON_WORDS)
    .action((path: string, name: string, options: JsonOption) => showObject(io, path, name, options));
}

async function showOverview(io: CommandIo, path: string, options: JsonOption): Promise<void> {
  const view = await withReadableDevice(io, { path, label: 'reading' }, ({ device, arena }) => viewDevice(device, arena));
  const usage = measureUsage(view);
  const superblock = describeSuperblock(view.root);
  if (options.json === true) {
    io.terminal.printJson({ ...superblock.json, usage });
    return;
  }
  for (const line of formatTable([...describeIdentity(view.root), ...describeUsage(usage)])) io.terminal.print(line);
  io.terminal.note(`more: rawslice inspect superblock|zones|objects|object ${quotePath(path)}`);
}

async function showRoot(io: CommandIo, path: string, options: JsonOption, describe: typeof describeSuperblock): Promise<void> {
  const root = await withReadableDevice(io, { path, label: 'reading' }, ({ device, arena }) => readRoot(device, arena));
  const { json, rows } = describe(root);
  if (options.json === true) io.terminal.printJson(json);
  else for (const line of formatTable(rows)) io.terminal.print(line);
}

async function showUsage(io: CommandIo, path: string, options: JsonOption): Promise<void> {
  const view = await withReadableDevice(io, { path, label: 'reading' }, ({ device, arena }) => viewDevice(device, arena));
  const usage = measureUsage(view);
  if (options.json === true) io.terminal.printJson(usage);
  else for (const line of formatTable(describeUsage(usage))) io.terminal.print(line);
}

async function showObjects(io: CommandIo, path: string, options: ObjectsOptions): Promise<void> {
  const limit = countFlag('--limit', options.limit, LIMIT_RANGE);
  await withReadableDevice(io, { path, label: 'reading' }, async ({ device, arena }) => {
    await printObjects(io, await viewDevice(device, arena), { prefix: options.prefix ?? '', limit, isJson: options.json === true });
  });
}

async function showObject(io: CommandIo, path: string, name: string, options: JsonOption): Promise<void> {
  const { object, runs } = await withReadableDevice(io, { path, label: 'searching' }, async ({ device, arena }) => {
    const view = await viewDevice(device, arena);
    const found = await findByName(view, name);
    return { object: found, runs: findStoredRuns(view, found) };
  });
  const { json, rows } = describeObject(object, io.clock.wallMs());
  if (options.json === true) {
    io.terminal.printJson({ ...json, storedRuns: runs });
    return;
  }
  for (const line of formatTable(rows)) io.terminal.print(line);
  for (const line of renderSliceMap(runs, {
    sliceCount: object.sliceCount,
    columns: io.terminal.columns,
    sliceSizeBytes: object.manifest.sliceSizeBytes,
  })) {
    io.terminal.print(line);
  }
}
