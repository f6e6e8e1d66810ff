/**
 * `rawslice fsck PATH`: the quick check of a device. It writes nothing and may run beside a server. It has the exit codes of every fsck,
 * so that scripts which know those can use it.
 */
import { type Command, CommanderError } from 'commander';
import { toEdgeError } from '../../src/base/errors.ts';
import { formatBytes } from '../../src/base/units.ts';
import { checkDeviceQuick, type DeviceCheck } from '../../src/store/device-check.ts';
import type { CommandIo } from '../command-io.ts';
import { withReadableDevice } from '../device-view.ts';
import { FSCK_EXIT_CODES } from '../exit-codes.ts';

const NOTES = `
It reads labels, checkpoint and journal, and says what a server would make of them. Slices prove themselves whenever
they are read, so a damaged one costs a fetch from the origin and is not looked for here.

Exit codes, which are bits: 0 clean, 4 damage was found (nothing was repaired), 8 it could not be checked, 16 wrong usage`;

/** Adds the `fsck` command to the program. */
export function addFsckCommand(program: Command, io: CommandIo): void {
  program
    .command('fsck')
    .description('check a cache for damage; reads only')
    .argument('<path>', 'block device or file that holds a cache')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', NOTES)
    .exitOverride((error) => {
      throw error.exitCode === 0 ? error : new CommanderError(FSCK_EXIT_CODES.usage, error.code, error.message);
    })
    .action((path: string, options: { readonly json?: true }) => run(io, path, options.json === true));
}

async function run(io: CommandIo, path: string, isJson: boolean): Promise<void> {
  let check: DeviceCheck;
  try {
    check = await withReadableDevice(io, { path, label: 'checking' }, ({ device, arena }) => checkDeviceQuick(device, arena));
  } catch (cause) {
    const error = toEdgeError(cause);
    if (error.code === 'INTERNAL') throw error;
    io.exitCode = FSCK_EXIT_CODES.operational;
    if (isJson) io.terminal.printJson({ path, result: 'unchecked', error: error.code, message: error.message });
    else io.terminal.complain(`rawslice: ${error.message}`);
    return;
  }
  const findings = check.notes.filter(({ kind }) => kind === 'finding').length;
  io.exitCode = findings > 0 ? FSCK_EXIT_CODES.findings : FSCK_EXIT_CODES.clean;
  if (isJson) io.terminal.printJson({ path, result: findings > 0 ? 'damaged' : 'clean', ...check });
  else report(io, path, check, findings);
}

function report(io: CommandIo, path: string, check: DeviceCheck, findings: number): void {
  const { terminal } = io;
  for (const { kind, message } of check.notes) {
    terminal.print(
      kind === 'finding' ? `${terminal.style('red', 'damage')}  ${message}` : `${terminal.style('dim', 'remark')}  ${message}`,
    );
  }
  const { usage } = check;
  if (usage !== undefined) {
    const entries = `${usage.entriesUsed} of ${usage.entriesMax} entries`;
    terminal.print(
      `${usage.objects} objects, ${usage.slices} slices, ${formatBytes(usage.usedBytes)} used, ${formatBytes(usage.freeBytes)} free, ${entries}`,
    );
  }
  if (findings === 0) terminal.print(`${path} is clean`);
  else if (usage === undefined)
    terminal.print(`${path} cannot be used as it is; its content is only a cache: tools/rawslice format makes it anew`);
  else
    terminal.print(`${path} has damage, which a server works around and overwrites in time; if it comes back, look at the disk (smartctl)`);
}
