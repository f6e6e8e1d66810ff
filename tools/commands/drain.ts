/** `rawslice drain`: tells a running server to be not ready, so that balancers send nobody any more and clients end their connections; `--undo` takes it back. */
import type { Command } from 'commander';
import { type AdminOptions, addAdminOptions, askServer } from '../admin-client.ts';
import type { CommandIo } from '../command-io.ts';

interface DrainOptions extends AdminOptions {
  readonly undo?: true;
}

const NOTES = `
While it drains /readyz answers 503, each response ends its connection, and no tunnel is opened; what comes is still answered.
rawslice state says how much is left.`;

/** Adds the `drain` command to the program. */
export function addDrainCommand(program: Command, io: CommandIo): void {
  const drain = program
    .command('drain')
    .description('make a running server be not ready, until it is stopped or told otherwise')
    .option('--undo', 'be ready again');
  addAdminOptions(drain)
    .addHelpText('after', NOTES)
    .action((options: DrainOptions) =>
      askServer(io, options, { method: 'POST', path: options.undo === true ? '/undrain' : '/drain', describe }),
    );
}

function describe({ draining, requests, connections, tunnels }: Readonly<Record<string, unknown>>): readonly string[] {
  const left = `${String(requests)} requests, ${String(connections)} connections, ${String(tunnels)} tunnels`;
  return [draining === true ? `drains: ${left} are left` : `serves: ${left}`];
}
