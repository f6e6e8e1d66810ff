/** `rawslice version`: the versions of the program, of the Node that runs it and of the disk format, for people and for reports of faults. */
import type { Command } from 'commander';
import packageInfo from '../../package.json' with { type: 'json' };
import { FORMAT_VERSION } from '../../src/format/format-block.ts';
import type { CommandIo } from '../command-io.ts';

/** Adds the `version` command to the program. */
export function addVersionCommand(program: Command, io: CommandIo): void {
  program
    .command('version')
    .description('print the versions of the program, of Node and of the disk format')
    .option('--json', 'print them as JSON')
    .action((options: { readonly json?: true }) => {
      const versions = { rawslice: packageInfo.version, node: process.versions.node, format: FORMAT_VERSION };
      if (options.json === true) io.terminal.printJson(versions);
      else for (const [name, version] of Object.entries(versions)) io.terminal.print(`${name} ${version}`);
    });
}
