/** `rawslice reload`: makes a running server load its configuration again, and says what has changed. */
import type { Command } from 'commander';
import { type AdminOptions, addAdminOptions, askServer } from '../admin-client.ts';
import type { CommandIo } from '../command-io.ts';

/** Adds the `reload` command to the program. */
export function addReloadCommand(program: Command, io: CommandIo): void {
  const reload = program
    .command('reload')
    .description('make a running server load its configuration again; exit code 1 when that changes nothing');
  addAdminOptions(reload).action((options: AdminOptions) => askServer(io, options, { method: 'POST', path: '/reload', describe }));
}

function describe({ outcome, changed, needsRestart, problems }: Readonly<Record<string, unknown>>): readonly string[] {
  if (outcome !== 'applied') return ['not reloaded, and nothing has changed:', ...textsOf(problems)];
  const keys = textsOf(changed);
  const later = textsOf(needsRestart);
  return [
    keys.length === 0 ? 'reloaded; nothing was different' : `reloaded: ${keys.join(', ')}`,
    ...(later.length === 0 ? [] : [`from the next start: ${later.join(', ')}`]),
  ];
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
