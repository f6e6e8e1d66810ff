/**
 * `rawslice fsck PATH`: checks a cache, and repairs it when asked to. A check writes nothing and may run beside a server; a repair holds
 * the device alone. It has the exit codes of every fsck, so that scripts which know those can use it.
 */
import { type Command, CommanderError, Option } from 'commander';
import { toEdgeError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/units.ts';
import { type CheckLevel, checkDevice, type DeviceCheck, type Findings } from '../../src/store/check/check-device.ts';
import { type RebuildReport, rebuildIndex } from '../../src/store/check/rebuild-index.ts';
import { type RepairReport, repairDevice } from '../../src/store/check/repair-device.ts';
import type { CommandIo } from '../command-io.ts';
import { type ReadableDevice, withReadableDevice } from '../device-view.ts';
import { FSCK_EXIT_CODES } from '../exit-codes.ts';
import { describeCheck, describeRebuild, describeRepair } from '../fsck-report.ts';
import { withInterrupt } from '../interrupt.ts';

interface FsckOptions {
  readonly full?: true;
  readonly deep?: true;
  readonly repair?: true;
  readonly rebuild?: true;
  readonly json?: true;
}

/** An extent of the largest size is read as a whole, and several at a time. */
const ARENA_BYTES = 128 * MIB;

const NOTES = `
Without a word more it is quick: labels, checkpoints and journal, and what a server would make of them. Slices prove
themselves whenever they are read, so a damaged one costs a fetch from the origin, never a wrong byte.

  --full     also the header of every extent: proof, place, numbers, lengths, and all of the journal
  --deep     also every stored byte: checksums, decoding, padding
  --repair   drops damaged entries, puts blocks that cannot be read out of use, restores labels, writes the
             checkpoints anew and closes the journal off; no server may have the device
  --rebuild  makes the index from a scan of the whole device: finds what a lost checkpoint has forgotten, but nothing
             that was purged, or may have been; what it finds is asked for at the origin before it is served. Run it
             before a server opens the damaged device: a start gives up what cannot be proved to be unpurged

Exit codes, which are bits: 0 clean, 1 damage was repaired, 4 damage is left, 8 it could not be checked, 16 wrong usage,
32 cancelled (nothing was changed, unless a repair had begun to write)`;

/** Adds the `fsck` command to the program. */
export function addFsckCommand(program: Command, io: CommandIo): void {
  program
    .command('fsck')
    .description('check a cache for damage, and repair it')
    .argument('<path>', 'block device or file that holds a cache')
    .option('--full', 'check the header of every extent')
    .addOption(new Option('--deep', 'check every stored byte').conflicts('full'))
    .option('--repair', 'repair what is found; the device must not be in use')
    .addOption(new Option('--rebuild', 'make the index anew from a scan of the device').conflicts(['repair', 'full', 'deep']))
    .option('--json', 'print the result as JSON')
    .addHelpText('after', NOTES)
    .exitOverride((error) => {
      throw error.exitCode === 0 ? error : new CommanderError(FSCK_EXIT_CODES.usage, error.code, error.message);
    })
    .action((path: string, options: FsckOptions) => run(io, path, options));
}

/** What came out, in all. */
interface Outcome {
  readonly check: DeviceCheck;
  readonly repair?: RepairReport | undefined;
  readonly rebuild?: RebuildReport | undefined;
  /** Damage that a repair did not cure. */
  readonly left?: number | undefined;
}

async function run(io: CommandIo, path: string, options: FsckOptions): Promise<void> {
  const isJson = options.json === true;
  await withInterrupt(io.clock, async (signal) => {
    try {
      const outcome = await examine(io, path, options, signal);
      io.exitCode = exitCodeOf(outcome);
      if (isJson) io.terminal.printJson({ path, result: RESULT_WORDS[io.exitCode], ...outcome.check, ...pick(outcome) });
      else report(io, path, outcome);
    } catch (cause) {
      if (signal.aborted) {
        io.exitCode = FSCK_EXIT_CODES.cancelled;
        if (isJson) io.terminal.printJson({ path, result: 'cancelled' });
        else io.terminal.complain('rawslice: the check was cancelled');
        return;
      }
      const error = toEdgeError(cause);
      if (error.code === 'INTERNAL') throw error;
      io.exitCode = FSCK_EXIT_CODES.operational;
      if (isJson) io.terminal.printJson({ path, result: 'unchecked', error: error.code, message: error.message });
      else io.terminal.complain(`rawslice: ${error.message}`);
    }
  });
}

const RESULT_WORDS: Readonly<Record<number, string>> = {
  [FSCK_EXIT_CODES.clean]: 'clean',
  [FSCK_EXIT_CODES.repaired]: 'repaired',
  [FSCK_EXIT_CODES.findings]: 'damaged',
  [FSCK_EXIT_CODES.partly]: 'repaired in part',
};

function pick({ repair, rebuild, left }: Outcome): Omit<Outcome, 'check'> {
  return { repair, rebuild, left };
}

function exitCodeOf({ check, repair, rebuild, left = 0 }: Outcome): CommandIo['exitCode'] {
  const isChanged = rebuild !== undefined || (repair !== undefined && check.findings > 0);
  if (isChanged) return left > 0 ? FSCK_EXIT_CODES.partly : FSCK_EXIT_CODES.repaired;
  return check.findings > 0 ? FSCK_EXIT_CODES.findings : FSCK_EXIT_CODES.clean;
}

function examine(io: CommandIo, path: string, options: FsckOptions, signal: AbortSignal): Promise<Outcome> {
  const access = options.repair === true || options.rebuild === true ? 'read-write' : 'read-only';
  return withReadableDevice(io, { path, label: 'checking', access, arenaBytes: ARENA_BYTES, signal }, async (readable) => {
    if (options.rebuild === true) return rebuild(io, readable, signal);
    const level: CheckLevel = options.deep === true ? 'deep' : options.full === true ? 'full' : 'quick';
    const { check, findings } = await checkOnce(readable, level, signal);
    if (options.repair !== true || findings === undefined) return { check };
    return repair(io, readable, { check, findings, signal });
  });
}

async function checkOnce(readable: ReadableDevice, level: CheckLevel, signal: AbortSignal): ReturnType<typeof checkDevice> {
  const isInUse = readable.device.isReadOnly && (await readable.findUser()) !== undefined;
  const { onProgress } = progressOf(readable, level === 'deep' ? 'checking every byte' : 'checking headers', level === 'deep');
  return checkDevice(readable, { level, isInUse, signal, onProgress });
}

async function repair(
  io: CommandIo,
  readable: ReadableDevice,
  found: { readonly check: DeviceCheck; readonly findings: Findings; readonly signal: AbortSignal },
): Promise<Outcome> {
  const { check, findings, signal } = found;
  signal.throwIfAborted();
  if (check.notes.length === 0) return { check };
  const report = await repairDevice({ ...readable, clock: io.clock }, findings);
  const after = await checkDevice(readable, { level: 'quick', isInUse: false });
  return { check, repair: report, left: after.check.findings };
}

async function rebuild(io: CommandIo, readable: ReadableDevice, signal: AbortSignal): Promise<Outcome> {
  const { onProgress } = progressOf(readable, 'scanning', true);
  const report = await rebuildIndex({ ...readable, clock: io.clock }, { signal, onProgress });
  const { check } = await checkDevice(readable, { level: 'quick', isInUse: false });
  return { check, rebuild: report, left: check.findings };
}

/** A bar that begins when the first figures come. */
function progressOf(
  readable: ReadableDevice,
  label: string,
  isBytes: boolean,
): { readonly onProgress: (done: number, total: number) => void } {
  let progress: ReturnType<ReadableDevice['startProgress']> | undefined;
  return {
    onProgress: (done, total) => {
      progress ??= readable.startProgress({ label, unit: isBytes ? 'bytes' : 'items', total });
      progress.update(done);
    },
  };
}

function report(io: CommandIo, path: string, outcome: Outcome): void {
  const { terminal } = io;
  for (const line of describeCheck(terminal, outcome.check)) terminal.print(line);
  if (outcome.repair !== undefined) for (const line of describeRepair(outcome.repair)) terminal.print(line);
  if (outcome.rebuild !== undefined) for (const line of describeRebuild(outcome.rebuild)) terminal.print(line);
  terminal.print(conclusion(path, outcome, io.exitCode));
}

function conclusion(path: string, { check }: Outcome, code: CommandIo['exitCode']): string {
  if (code === FSCK_EXIT_CODES.clean) return `${path} is clean`;
  if (code === FSCK_EXIT_CODES.repaired) return `${path} was repaired`;
  if (code === FSCK_EXIT_CODES.partly) return `${path} was repaired in part; look at the disk (smartctl)`;
  if (check.usage === undefined) return `${path} cannot be used as it is; its content is only a cache: tools/rawslice format makes it anew`;
  return `${path} has damage, which a server works around and overwrites in time, and --repair removes; if it comes back, look at the disk (smartctl)`;
}
