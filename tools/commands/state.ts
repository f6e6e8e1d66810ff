/** `rawslice state`: what a running server is doing: version, load, services with their listeners, groups with their nodes, devices, the last reload. */
import type { Command } from 'commander';
import { type AdminOptions, addAdminOptions, askServer } from '../admin-client.ts';
import type { CommandIo } from '../command-io.ts';

type Answer = Readonly<Record<string, unknown>>;

/** Adds the `state` command to the program. */
export function addStateCommand(program: Command, io: CommandIo): void {
  const state = program.command('state').description('show what a running server is doing; --json has everything');
  addAdminOptions(state).action((options: AdminOptions) => askServer(io, options, { method: 'GET', path: '/state', describe }));
}

function describe(answer: Answer): readonly string[] {
  const load = partOf(answer.load);
  const level = partOf(answer.log);
  const doing = answer.draining === true ? 'draining' : 'serving';
  return [
    `rawslice ${String(answer.version)} on Node ${String(answer.node)}, process ${String(answer.pid)}, up ${String(answer.uptimeSeconds)} s, ${doing}`,
    `load     ${String(load.requests)} requests, ${String(load.connections)} connections, ${String(load.tunnels)} tunnels; log level ${String(level.level)}`,
    ...partsOf(answer.services).map(
      ({ name, listeners, tls }) => `service  ${String(name)} on ${String(listeners)}${tls === true ? ', TLS' : ''}`,
    ),
    ...partsOf(answer.groups).flatMap(({ group, nodes }) =>
      partsOf(nodes).map(({ origin, state }) => `node     ${String(origin)} of ${String(group)}: ${String(state)}`),
    ),
    ...partsOf(answer.devices).map(({ path, state }) => `device   ${String(path)}: ${String(state)}`),
    ...(answer.reload === undefined ? [] : [`reload   ${String(partOf(answer.reload).outcome)} at ${String(partOf(answer.reload).at)}`]),
  ];
}

function partOf(value: unknown): Answer {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function partsOf(value: unknown): readonly Answer[] {
  return Array.isArray(value) ? value.map(partOf) : [];
}
