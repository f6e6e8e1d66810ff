/** `rawslice rules explain URL`: what a configuration makes of a request, without asking anybody: route, group, rule, key. */
import path from 'node:path';
import type { Command } from 'commander';
import { type Explanation, explainRequest } from '../../src/app/explain-request.ts';
import { EdgeError } from '../../src/base/errors.ts';
import type { ConfigOverride } from '../../src/config/environment.ts';
import { parseRequestTarget } from '../../src/http/request-target.ts';
import type { CommandIo } from '../command-io.ts';
import { addSetOption, loadConfigOrFail } from '../config-options.ts';
import { EXIT_CODES } from '../exit-codes.ts';

const DEFAULT_FILE = path.resolve(import.meta.dirname, '../../config/default.yaml');

interface ExplainOptions {
  readonly config?: string;
  readonly method: string;
  readonly service?: string;
  readonly json?: true;
  readonly set: readonly ConfigOverride[];
}

/** Adds the `rules` command to the program. */
export function addRulesCommand(program: Command, io: CommandIo): void {
  const rules = program.command('rules').description('look at the rules of a configuration');
  const explain = rules
    .command('explain')
    .description('say which route, group and rule a request for a URL meets; exit code 1 when no service takes it')
    .argument('<url>', 'URL as clients ask for it, such as http://deb.example.org/debian/dists/stable/InRelease')
    .option('-c, --config <file>', 'configuration file (default: config/default.yaml of the project)')
    .option('--method <method>', 'method of the request', 'GET')
    .option('--service <name>', 'one service only')
    .option('--json', 'print the result as JSON');
  addSetOption(explain).action((url: string, options: ExplainOptions) => run(io, url, options));
}

function run(io: CommandIo, url: string, options: ExplainOptions): void {
  const target = parseRequestTarget(url, undefined);
  if (target.kind === 'invalid') throw new EdgeError('USAGE', `${JSON.stringify(url)} is no URL that could be asked for (${target.why})`);
  const loaded = loadConfigOrFail(io, options.config ?? DEFAULT_FILE, options.set);
  const all = explainRequest(loaded, { target, method: options.method.toUpperCase() });
  const shown = options.service === undefined ? all : all.filter(({ service }) => service === options.service);
  if (shown.length === 0)
    throw new EdgeError('USAGE', `There is no service ${options.service}; there are ${all.map(({ service }) => service).join(', ')}`);
  if (options.json === true) io.terminal.printJson(shown);
  else for (const explanation of shown) for (const line of describe(explanation)) io.terminal.print(line);
  if (!shown.some(({ kind }) => kind === 'routed')) io.exitCode = EXIT_CODES.failure;
}

const UNROUTED = {
  421: '421: no route answers for the host',
  404: '404: no route of the host takes the path',
  405: '405: no route of the path takes the method',
} as const;

function describe(explanation: Explanation): readonly string[] {
  const { service } = explanation;
  if (explanation.kind === 'unrouted') return [`service ${service}`, `  ${UNROUTED[explanation.status]}`];
  const { route, routeSource, group, trusts, middlewares, upstream, host, key, rule, ruleText, ruleSource } = explanation;
  const [first = '', ...others] = upstream;
  return [
    `service ${service}`,
    `  route  ${route}${routeSource === undefined ? '' : `  # ${routeSource}`}`,
    ...(trusts === undefined ? [] : [`  trusts ${trusts}`]),
    ...(middlewares.length === 0 ? [] : [`  asked  ${middlewares.join(', ')}`]),
    `  group  ${group}`,
    `  asks   ${first}  (Host: ${host})`,
    ...others.map((node) => `         ${node}`),
    `  key    ${key ?? 'none: it is too long, and passes through'}`,
    ruleText === undefined
      ? "  rule   none: the origin's word holds (RFC 9111)"
      : `  rule   ${rule}: ${ruleText}${ruleSource === undefined ? '' : `  # ${ruleSource}`}`,
  ];
}
