/**
 * Loading a configuration in a command: the `--set` flag, and what is shown when the configuration is not valid. Used by every command
 * that reads one.
 */

import { type Command, Option } from 'commander';
import { loadEdgeConfig } from '../src/app/load-config.ts';
import { countText } from '../src/base/count-text.ts';
import { EdgeError } from '../src/base/errors.ts';
import type { ConfigOverride } from '../src/config/environment.ts';
import type { LoadResult } from '../src/config/load.ts';
import { type ConfigProblem, formatProblem } from '../src/config/problem.ts';
import type { CommandIo } from './command-io.ts';

/** Adds `--set KEY=VALUE` to a command; its options then have `set`. */
export function addSetOption(command: Command): Command {
  const option = new Option('--set <key=value>', 'set one option, such as listen=127.0.0.1:9000; may be repeated');
  return command.addOption(option.argParser(collectOverride).default([], 'none'));
}

/**
 * The configuration in `file` with environment and overrides.
 *
 * @throws EdgeError CONFIG_INVALID after all problems were shown
 */
export function loadConfigOrFail(
  io: CommandIo,
  file: string | undefined,
  overrides: readonly ConfigOverride[],
): Extract<LoadResult, { kind: 'ok' }> {
  const result = loadEdgeConfig({ file, environment: io.environment, overrides });
  if (result.kind === 'ok') return result;
  complainAbout(io, result.problems);
  throw new EdgeError('CONFIG_INVALID', summarize(file, result.problems));
}

/** Shows problems on standard error, one after the other. */
export function complainAbout(io: CommandIo, problems: readonly ConfigProblem[]): void {
  for (const problem of problems) io.terminal.complain(formatProblem(problem));
}

/** `FILE has 3 problems`; a file is not blamed for what a flag or a variable says. */
export function summarize(file: string | undefined, problems: readonly ConfigProblem[]): string {
  const isAllInFile = file !== undefined && problems.every(({ source, place }) => source === file || place?.file === file);
  return `${isAllInFile ? file : 'the configuration'} has ${countText(problems.length, 'problem')}`;
}

function collectOverride(pair: string, before: readonly ConfigOverride[]): readonly ConfigOverride[] {
  const equals = pair.indexOf('=');
  if (equals < 1) throw new EdgeError('USAGE', `Write --set KEY=VALUE, not --set ${JSON.stringify(pair)}`);
  return [...before, [pair.slice(0, equals), pair.slice(equals + 1), `flag --set ${pair.slice(0, equals)}`]];
}
