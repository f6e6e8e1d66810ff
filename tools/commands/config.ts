/**
 * `rawslice config check FILE`: says whether a configuration is valid, with every problem at once, and on request which value holds for
 * each option and where it came from. `config schema` prints the JSON Schema for editors. Opens no device and no socket.
 */
import type { Command } from 'commander';
import { loadEdgeConfig } from '../../src/app/load-config.ts';
import { type EffectiveOption, listEffectiveOptions } from '../../src/config/effective-options.ts';
import type { ConfigOverride } from '../../src/config/environment.ts';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import type { LoadResult } from '../../src/config/load.ts';
import type { ConfigProblem } from '../../src/config/problem.ts';
import { SHIPPED_OPTIONS } from '../../src/middleware/shipped/shipped.ts';
import type { CommandIo } from '../command-io.ts';
import { addSetOption, complainAbout, summarize } from '../config-options.ts';
import { EXIT_CODES } from '../exit-codes.ts';

interface CheckOptions {
  readonly printEffective?: true;
  readonly json?: true;
  readonly set: readonly ConfigOverride[];
}

/** Adds the `config` command to the program. */
export function addConfigCommand(program: Command, io: CommandIo): void {
  const config = program.command('config').description('look at configurations');
  config
    .command('schema')
    .description('print the JSON Schema of configuration files, for editors')
    .action(() => io.terminal.printJson(configJsonSchema(SHIPPED_OPTIONS)));
  const check = config
    .command('check')
    .description('check a configuration file; exit code 78 when it is not valid')
    .argument('<file>', 'YAML file')
    .option('--print-effective', 'print the value of every option and where it came from')
    .option('--json', 'print the result as JSON');
  addSetOption(check).action((file: string, options: CheckOptions) => {
    const result = loadEdgeConfig({ file, environment: io.environment, overrides: options.set });
    if (result.kind === 'invalid') io.exitCode = EXIT_CODES.configuration;
    if (options.json === true) io.terminal.printJson(describeResult(file, result, options.printEffective === true));
    else if (result.kind === 'ok') reportValid(io, file, result, options.printEffective === true);
    else reportInvalid(io, file, result.problems);
  });
}

function reportValid(io: CommandIo, file: string, result: Extract<LoadResult, { kind: 'ok' }>, printsEffective: boolean): void {
  if (printsEffective) for (const line of formatEffective(listEffectiveOptions(result.config, result.sources))) io.terminal.print(line);
  io.terminal.note(`${file} is valid`);
}

function reportInvalid(io: CommandIo, file: string, problems: readonly ConfigProblem[]): void {
  complainAbout(io, problems);
  io.terminal.complain(`rawslice: ${summarize(file, problems)}`);
}

function formatEffective(options: readonly EffectiveOption[]): readonly string[] {
  const keyColumns = Math.max(...options.map(({ key }) => key.length));
  return options.map(({ key, value, source }) => `${key.padEnd(keyColumns)}  ${value ?? '(unset)'}  # ${source}`);
}

function describeResult(file: string, result: LoadResult, printsEffective: boolean): unknown {
  if (result.kind === 'ok') {
    return { file, valid: true, ...(printsEffective ? { options: listEffectiveOptions(result.config, result.sources) } : {}) };
  }
  const problems = result.problems.map(({ source, place, key, message, suggestion }) => {
    return { source, file: place?.file, line: place?.line, column: place?.column, key, message, suggestion };
  });
  return { file, valid: false, problems };
}
