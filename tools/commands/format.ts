/**
 * `rawslice format PATH`: makes an empty cache of a block device or file. It says what it will do and what will be lost, and asks. Mounted
 * and held devices are refused always, foreign data without --force; the claim on the device is taken before a byte is written.
 */
import { rm } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { EdgeError } from '../../src/base/errors.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { alignDown, formatBytes, MIB } from '../../src/base/units.ts';
import { createSparseFile, lengthenFile } from '../../src/device/create-file.ts';
import { findAlias } from '../../src/device/device-alias.ts';
import { type DirectDevice, openDirectDevice } from '../../src/device/direct-device.ts';
import { wipeEdges } from '../../src/device/wipe.ts';
import type { Geometry } from '../../src/format/geometry.ts';
import { Arena } from '../../src/memory/arena.ts';
import { type FormatSummary, formatDevice, makeUuid } from '../../src/store/device-format.ts';
import { growDevice } from '../../src/store/grow-device.ts';
import { readRoot } from '../../src/store/recovery/root-area.ts';
import type { CommandIo } from '../command-io.ts';
import { withReadableDevice } from '../device-view.ts';
import { describePlan, type FormatPlan, planFormat } from '../format-plan.ts';
import { quotePath } from '../quote-path.ts';
import { countFlag, sizeFlag } from '../values.ts';

interface FormatCommandOptions {
  readonly size?: string;
  readonly join?: string;
  readonly entries?: string;
  readonly yes?: true;
  readonly force?: true;
  readonly grow?: true;
  readonly json?: true;
}

const ARENA_BYTES = 4 * MIB;
const ENTRIES_RANGE = { min: 16, max: 2 ** 32 - 2 };

const NOTES = `
A path outside of /dev that does not exist becomes a file that takes its room only as the cache fills. Nothing is
overwritten without a question: on a terminal it asks, elsewhere it wants --yes. A device that is mounted, or part of
another one, is refused always. Names like /dev/disk/by-id/... stay the same over reboots; /dev/sdb does not.

--grow keeps what is stored: the new room becomes room for objects, the number of entries stays. It needs no question; a
running server must be stopped first. If it is broken off, the cache opens as before, and --grow again goes on.

Exit codes: 0 formatted or grown, 1 refused or failed, 2 wrong usage

Examples:
  rawslice format ./cache.img --size 20GiB
  rawslice format /dev/disk/by-id/A /dev/disk/by-id/B --yes
  rawslice format /dev/disk/by-id/C --join /dev/disk/by-id/A --yes
  rawslice format /dev/disk/by-partlabel/rawslice --yes
  rawslice format --grow ./cache.img --size 40GiB`;

/** Adds the `format` command to the program. */
export function addFormatCommand(program: Command, io: CommandIo): void {
  program
    .command('format')
    .description('make an empty cache of a block device or file')
    .argument('<path...>', 'block device, or file that exists or will be created; several become one cache')
    .option('--join <path>', 'a device of the cache that the new ones join')
    .option('--size <size>', 'size of a file that is created (default: half of the free space, at most 10GiB), or with --grow its new size')
    .option('--entries <n>', 'most slices and objects that the cache can hold (default: one for each 128KiB)')
    .option('--yes', 'do not ask; needed where nobody can be asked')
    .option('--force', 'overwrite a file system or other foreign data')
    .addOption(
      new Option('--grow', 'keep everything, and take in what the device or file became larger by').conflicts(['force', 'entries', 'join']),
    )
    .option('--json', 'print the result as JSON')
    .addHelpText('after', NOTES)
    .action((paths: readonly string[], options: FormatCommandOptions) =>
      options.grow === true ? grow(io, paths, options) : run(io, paths, options),
    );
}

async function run(io: CommandIo, paths: readonly string[], options: FormatCommandOptions): Promise<void> {
  await refuseAlias(paths, options.join);
  const plans: FormatPlan[] = [];
  for (const path of paths) {
    const plan = await planFormat({
      path,
      sizeBytes: options.size === undefined ? undefined : sizeFlag('--size', options.size),
      entryCount: options.entries === undefined ? undefined : countFlag('--entries', options.entries, ENTRIES_RANGE),
      mayDestroy: options.force === true,
    });
    plans.push(plan);
  }
  const arena = new Arena({ sizeBytes: ARENA_BYTES, clock: io.clock });
  const cacheUuid = options.join === undefined ? makeUuid(new SystemRandom()) : await readCacheUuid(io, arena, options.join);
  // Every question comes before the first write.
  for (const plan of plans) await announce(io, plan, options.yes === true);
  const results: unknown[] = [];
  for (const plan of plans) {
    const { summary, isDirect } = await format(io, plan, { arena, cacheUuid });
    if (options.json === true) results.push(describeResult(plan, summary, isDirect));
    else for (const line of reportResult(plan, summary, isDirect)) io.terminal.print(line);
  }
  if (options.json === true) io.terminal.printJson(results.length === 1 ? results[0] : results);
  else for (const line of reportUse([...(options.join === undefined ? [] : [options.join]), ...paths])) io.terminal.print(line);
}

/** @throws EdgeError USAGE when a device would be formatted twice, or join the cache that its format ends */
async function refuseAlias(paths: readonly string[], join: string | undefined): Promise<void> {
  const alias = await findAlias(paths);
  if (alias !== undefined) throw new EdgeError('USAGE', `${alias[1]} names the same device as ${alias[0]}; name it once`);
  if (join === undefined || (await findAlias([...paths, join])) === undefined) return;
  throw new EdgeError('USAGE', `${join} cannot join itself; --join names a device of the cache that stays as it is`);
}

async function announce(io: CommandIo, plan: FormatPlan, isAgreed: boolean): Promise<void> {
  // A new file has nothing to lose; for anything else a person must see the plan before the question, also when quiet.
  const isConfirmed = isAgreed || plan.isNewFile;
  for (const line of describePlan(plan)) {
    if (isConfirmed) io.terminal.note(line);
    else io.terminal.complain(line);
  }
  if (!isConfirmed) await confirm(io, plan);
}

/** The cache that `path` belongs to; it may be in use. @throws EdgeError DEVICE_*, FORMAT_* */
async function readCacheUuid(io: CommandIo, arena: Arena, path: string): Promise<Uint8Array> {
  const device = await openDirectDevice({ path, access: 'read-only', arena, clock: io.clock, logger: createSilentLogger() });
  try {
    return (await readRoot(device, arena)).format.cacheUuid;
  } finally {
    await device.close();
  }
}

/** @throws EdgeError USAGE when it is not confirmed */
async function confirm(io: CommandIo, plan: FormatPlan): Promise<void> {
  if (!io.terminal.canAsk) throw new EdgeError('USAGE', `Nobody can be asked here; add --yes to format ${plan.path}`);
  const answer = await io.terminal.ask(`Type yes to format ${plan.path}: `);
  if (answer !== 'yes' && answer !== plan.path) throw new EdgeError('USAGE', `${plan.path} was not formatted; nothing was changed`);
}

async function format(
  io: CommandIo,
  plan: FormatPlan,
  { arena, cacheUuid }: { readonly arena: Arena; readonly cacheUuid: Uint8Array },
): Promise<{ readonly summary: FormatSummary; readonly isDirect: boolean }> {
  const { clock } = io;
  if (plan.isNewFile) await createSparseFile(plan.path, plan.sizeBytes);
  let device: DirectDevice | undefined;
  try {
    device = await openDirectDevice({ path: plan.path, access: 'read-write', arena, clock, logger: createSilentLogger() });
    await wipeEdges(device, arena);
    const parameters = plan.entryCount === undefined ? {} : { entryCount: plan.entryCount };
    const summary = await formatDevice(device, { clock, random: new SystemRandom(), parameters, cacheUuid });
    return { summary, isDirect: device.isDirect };
  } catch (error) {
    if (plan.isNewFile) await rm(plan.path, { force: true });
    throw error;
  } finally {
    await device?.close();
  }
}

async function grow(io: CommandIo, paths: readonly string[], options: FormatCommandOptions): Promise<void> {
  const [path = '', ...others] = paths;
  if (others.length > 0) throw new EdgeError('USAGE', '--grow takes one device at a time');
  if (options.size !== undefined) {
    const sizeBytes = alignDown(sizeFlag('--size', options.size), MIB);
    // Claimed and let go: a file that a server holds is not touched.
    await withReadableDevice(io, { path, label: 'reading', access: 'read-write' }, ({ device, arena }) => readRoot(device, arena));
    await lengthenFile(path, sizeBytes);
  }
  const summary = await withReadableDevice(io, { path, label: 'reading', access: 'read-write' }, growDevice);
  const { before, after, isFinished } = summary;
  if (options.json === true) {
    io.terminal.printJson({ path, isFinished, before, after });
    return;
  }
  const room = (geometry: Geometry): string => formatBytes(geometry.groupsBlocks * geometry.blockSizeBytes);
  io.terminal.print(
    isFinished
      ? `finished the growth of ${path}`
      : `grew ${path} from ${formatBytes(before.capacityBytes)} to ${formatBytes(after.capacityBytes)}`,
  );
  io.terminal.print(`  for objects  ${room(before)} before, ${room(after)} now`);
  io.terminal.print(`  entries      ${after.entryCount}, as before: checkpoints have their size since format`);
}

function reportResult(plan: FormatPlan, summary: FormatSummary, isDirect: boolean): readonly string[] {
  return [
    `formatted ${plan.path}`,
    `  device UUID  ${summary.deviceUuid}`,
    `  cache UUID   ${summary.cacheUuid}`,
    `  for objects  ${formatBytes(summary.geometry.groupsBlocks * summary.geometry.blockSizeBytes)}`,
    ...(isDirect ? [] : ['  note         its file system refuses O_DIRECT; expect more memory and CPU use']),
  ];
}

function reportUse(paths: readonly string[]): readonly string[] {
  const devices = paths.map((path) => `--device ${quotePath(path)}`).join(' ');
  const others = paths.length === 1 ? '' : ' (with every device of the cache)';
  return [`run it with${others}:`, `  tools/rawslice serve ${devices} --upstream http://deb.debian.org --preset debian`];
}

function describeResult(plan: FormatPlan, summary: FormatSummary, isDirect: boolean): unknown {
  const { deviceUuid, cacheUuid, geometry } = summary;
  return { path: plan.path, deviceUuid, cacheUuid, isDirect, created: plan.isNewFile, overwrote: plan.overwrites ?? null, geometry };
}
