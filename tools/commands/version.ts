/** `rawslice version`: the versions of the program, of the Node that runs it and of the disk format, for people and for reports of faults. */
import type { Command } from 'commander';
import packageInfo from '../../package.json' with { type: 'json' };
import { FORMAT_VERSION } from '../../src/format/format-block.ts';
import type { CommandIo } from '../command-io.ts';

/** Adds the `version` command to the program, and the options that every program has for it. */
export function addVersionCommand(program: Command, io: CommandIo): void {
  const versions = { rawslice: packageInfo.version, node: process.versions.node, format: FORMAT_VERSION };
  const lines = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  program
    .version(lines.join('\n'), '-V, --version', 'what the command version prints')
    .command('version')
    .description('print the versions of the program, of Node and of the disk format')
    .option('--json', 'print them as JSON')
    .action((options: { readonly json?: true }) => {
      if (options.json === true) io.terminal.printJson(versions);
      else for (const line of lines) io.terminal.print(line);
    });
}
