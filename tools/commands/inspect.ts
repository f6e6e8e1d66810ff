/**
 * `rawslice inspect ...`: what is on a device, in words or JSON. It writes nothing and claims nothing, so it may run beside a server; it
 * then sees the device as it was a moment ago, without what the server has in memory only.
 */
import type { Command } from 'commander';
import { EdgeError } from '../../src/base/errors.ts';
import { findStoredRuns, measureUsage, viewDevice } from '../../src/store/inspect-device.ts';
import { readRoot } from '../../src/store/recovery/root-area.ts';
import type { CommandIo } from '../command-io.ts';
import { type ReadableDevice, withReadableDevice } from '../device-view.ts';
import { describeIdentity, describeObject, describeSuperblock, describeUsage, describeZones } from '../inspect/describe-device.ts';
import { findByName } from '../inspect/find-object.ts';
import { formatTable } from '../inspect/format-table.ts';
import { printObjects } from '../inspect/list-objects.ts';
import { showBlock, showHex } from '../inspect/show-block.ts';
import { showCheckpoint } from '../inspect/show-checkpoint.ts';
import { readSlices, showExtents, sliceLine } from '../inspect/show-extents.ts';
import { showGroups } from '../inspect/show-groups.ts';
import { showJournal } from '../inspect/show-journal.ts';
import { showLabels } from '../inspect/show-labels.ts';
import { showMap } from '../inspect/show-map.ts';
import { showBadBlocks, showPurges } from '../inspect/show-marks.ts';
import { renderSliceMap } from '../inspect/slice-map.ts';
import { quotePath } from '../quote-path.ts';
import { countFlag } from '../values.ts';

interface JsonOption {
  readonly json?: true;
}

interface LimitOption extends JsonOption {
  readonly limit: string;
}

interface RangeOptions extends LimitOption {
  readonly from?: string;
  readonly to?: string;
}

const PATH_WORDS = 'block device or file that holds a cache';
const PLACE_WORDS = 'block number, @ and a byte offset, or s and a 512-byte sector';
const JSON_WORDS = 'print it as JSON';
const LIMIT_WORDS = 'at most so many';
const LIMIT_RANGE = { min: 1, max: 1_000_000_000 };
const NUMBER_RANGE = { min: 0, max: Number.MAX_SAFE_INTEGER };
const HEX_BLOCKS_RANGE = { min: 1, max: 65_536 };
const SUBJECTS = 'labels|superblock|zones|usage|journal|checkpoint|groups|extents|objects|object|map|block|hex|purges|bad';

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
    .allowExcessArguments()
    .action((path: string, options: JsonOption, command: Command) => {
      // What is no subcommand arrives here as a path.
      if (command.args.length === 1) return showOverview(io, path, options);
      const subjects = inspect.commands.map((one) => one.name()).join(', ');
      throw new EdgeError('USAGE', `inspect has no subcommand ${JSON.stringify(path)}; it has ${subjects}; the path comes behind it`);
    });
  add('superblock', 'who the device is, and the state in which its last writer left it').action((path: string, options: JsonOption) =>
    showRoot(io, path, options, describeSuperblock),
  );
  add('zones', 'where labels, journal, checkpoints and objects lie').action((path: string, options: JsonOption) =>
    showRoot(io, path, options, describeZones),
  );
  add('usage', 'how full it is').action((path: string, options: JsonOption) => showUsage(io, path, options));
  addRootCommands(io, add);
  addSpaceCommands(io, add);
  addObjectCommands(io, inspect, add);
  addPlaceCommands(io, inspect);
}

type Add = (name: string, description: string) => Command;

function addRootCommands(io: CommandIo, add: Add): void {
  add('labels', 'the four labels: format block, superblocks, what is damaged')
    .option('--ring', 'every superblock of every label')
    .option('--limit <n>', LIMIT_WORDS, '1000')
    .action((path: string, options: LimitOption & { readonly ring?: true }) => {
      const wishes = { isRing: options.ring === true, limit: limitOf(options), isJson: options.json === true };
      return show(io, path, (readable) => showLabels(io, readable, wishes));
    });
  add('journal', 'blocks and records of the journal, along the chain and behind its end')
    .option('--from <n>', 'begin with this block of the journal, instead of where a start would')
    .option('--to <n>', 'end before this one')
    .option('--limit <n>', LIMIT_WORDS, '1000')
    .action((path: string, options: RangeOptions) => {
      const wishes = { from: numberOf('--from', options.from), to: numberOf('--to', options.to), limit: limitOf(options) };
      return show(io, path, (readable) => showJournal(io, readable, { ...wishes, isJson: options.json === true }));
    });
  add('checkpoint', 'parts of the newest checkpoint, and which are damaged')
    .option('--previous', 'the one before it')
    .option('--entries', 'what stands in them')
    .option('--limit <n>', LIMIT_WORDS, '1000')
    .action((path: string, options: LimitOption & { readonly previous?: true; readonly entries?: true }) => {
      const wishes = { isPrevious: options.previous === true, hasEntries: options.entries === true, limit: limitOf(options) };
      return show(io, path, (readable) => showCheckpoint(io, readable, { ...wishes, isJson: options.json === true }));
    });
  add('purges', 'purges that still count')
    .option('--limit <n>', LIMIT_WORDS, '1000')
    .action((path: string, options: LimitOption) =>
      show(io, path, (readable) => showPurges(io, readable, { limit: limitOf(options), isJson: options.json === true })),
    );
}

function addSpaceCommands(io: CommandIo, add: Add): void {
  add('groups', 'allocation groups: how full, and how splintered')
    .option('--limit <n>', LIMIT_WORDS, '1000')
    .action((path: string, options: LimitOption) =>
      show(io, path, (readable) => showGroups(io, readable, { limit: limitOf(options), isJson: options.json === true })),
    );
  add('extents', 'what lies where, in the order of the device, with what the headers say')
    .option('--from <block>', 'begin at this block')
    .option('--to <block>', 'end before this one')
    .option('--object <name>', 'only those of this object (key, URL or path)')
    .option('--limit <n>', LIMIT_WORDS, '100')
    .action((path: string, options: RangeOptions & { readonly object?: string }) => {
      const from = numberOf('--from', options.from) ?? 0;
      const to = numberOf('--to', options.to) ?? Number.POSITIVE_INFINITY;
      const wishes = { from, to, object: options.object, limit: limitOf(options), isJson: options.json === true };
      return show(io, path, (readable) => showExtents(io, readable, wishes));
    });
  add('map', 'the whole device as a picture').action((path: string, options: JsonOption) =>
    show(io, path, (readable) => showMap(io, readable, options.json === true)),
  );
  add('bad', 'blocks that were put out of use')
    .option('--limit <n>', LIMIT_WORDS, '1000')
    .action((path: string, options: LimitOption) =>
      show(io, path, (readable) => showBadBlocks(io, readable, { limit: limitOf(options), isJson: options.json === true })),
    );
}

function addObjectCommands(io: CommandIo, inspect: Command, add: Add): void {
  add('objects', 'which objects it holds, the one written longest ago first')
    .option('--prefix <text>', 'only those whose key, or whose path, begins with this')
    .option('--limit <n>', LIMIT_WORDS, '100')
    .action((path: string, options: LimitOption & { readonly prefix?: string }) => showObjects(io, path, options));
  inspect
    .command('object')
    .description('one object: its fields, a map of which slices are stored, and where each lies')
    .argument('<path>', PATH_WORDS)
    .argument('<name>', 'key as `inspect objects` shows it, its hash (of a variant), URL, or path with query')
    .option('--slices', 'where each stored slice lies, and how')
    .option('--limit <n>', 'at most so many slices', '100')
    .option('--json', JSON_WORDS)
    .action((path: string, name: string, options: ObjectOptions) => showObject(io, path, name, options));
}

function addPlaceCommands(io: CommandIo, inspect: Command): void {
  inspect
    .command('block')
    .description('what a block belongs to')
    .argument('<path>', PATH_WORDS)
    .argument('<place>', PLACE_WORDS)
    .option('--json', JSON_WORDS)
    .action((path: string, place: string, options: JsonOption) =>
      show(io, path, (readable) => showBlock(io, readable, { place, isJson: options.json === true })),
    );
  inspect
    .command('hex')
    .description('the bytes of a block, with the fields of what begins there named')
    .argument('<path>', PATH_WORDS)
    .argument('<place>', PLACE_WORDS)
    .option('--blocks <n>', 'so many blocks (of a checkpoint, parts)', '1')
    .option('--json', JSON_WORDS)
    .action((path: string, place: string, options: JsonOption & { readonly blocks: string }) => {
      const blocks = countFlag('--blocks', options.blocks, HEX_BLOCKS_RANGE);
      return show(io, path, (readable) => showHex(io, readable, { place, blocks, isJson: options.json === true }));
    });
}

function limitOf(options: LimitOption): number {
  return countFlag('--limit', options.limit, LIMIT_RANGE);
}

function numberOf(flag: string, text: string | undefined): number | undefined {
  return text === undefined ? undefined : countFlag(flag, text, NUMBER_RANGE);
}

function show(io: CommandIo, path: string, act: (readable: ReadableDevice) => Promise<void>): Promise<void> {
  return withReadableDevice(io, { path, label: 'reading' }, act);
}

async function showOverview(io: CommandIo, path: string, options: JsonOption): Promise<void> {
  const { view, userId } = await withReadableDevice(io, { path, label: 'reading' }, async ({ device, arena, findUser }) => ({
    view: await viewDevice(device, arena),
    userId: await findUser(),
  }));
  const usage = measureUsage(view);
  const superblock = describeSuperblock(view.root);
  if (options.json === true) {
    io.terminal.printJson({ ...superblock.json, usage, usedByProcess: userId });
    return;
  }
  const used = userId === undefined ? [] : [['in use', `by process ${userId}; this is how it was a moment ago`] as const];
  for (const line of formatTable([...describeIdentity(view.root), ...used, ...describeUsage(usage)])) io.terminal.print(line);
  io.terminal.note(`more: rawslice inspect ${SUBJECTS} ${quotePath(path)}`);
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

async function showObjects(io: CommandIo, path: string, options: LimitOption & { readonly prefix?: string }): Promise<void> {
  const limit = limitOf(options);
  await withReadableDevice(io, { path, label: 'reading' }, async ({ device, arena }) => {
    await printObjects(io, await viewDevice(device, arena), { prefix: options.prefix ?? '', limit, isJson: options.json === true });
  });
}

interface ObjectOptions extends LimitOption {
  readonly slices?: true;
}

async function showObject(io: CommandIo, path: string, name: string, options: ObjectOptions): Promise<void> {
  const limit = limitOf(options);
  const { object, runs, slices } = await withReadableDevice(io, { path, label: 'searching' }, async ({ device, arena }) => {
    const view = await viewDevice(device, arena);
    const found = await findByName(view, name);
    const listed = options.slices === true ? await readSlices(view, found, limit) : [];
    return { object: found, runs: findStoredRuns(view, found), slices: listed };
  });
  const { json, rows } = describeObject(object, io.clock.wallMs());
  if (options.json === true) {
    io.terminal.printJson({ ...json, storedRuns: runs, ...(options.slices === true ? { slices } : {}) });
    return;
  }
  for (const line of formatTable(rows)) io.terminal.print(line);
  const shape = { sliceCount: object.sliceCount, columns: io.terminal.columns, sliceSizeBytes: object.manifest.sliceSizeBytes };
  for (const line of renderSliceMap(runs, shape)) io.terminal.print(line);
  for (const slice of slices) io.terminal.print(sliceLine(slice));
  if (options.slices === true && object.storedSlices > slices.length) io.terminal.note(`there are more than ${limit}; --limit shows more`);
}
