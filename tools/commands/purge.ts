/**
 * `rawslice purge URL...`: asks a running server, through its admin port, to forget objects for good. The server acknowledges when the
 * order is on the disk, so what is reported as purged stays purged over a crash.
 */
import type { Command } from 'commander';
import { EdgeError, systemErrorCode } from '../../src/base/errors.ts';
import { KIB } from '../../src/base/units.ts';
import type { CommandIo } from '../command-io.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { parseServerAddress, ServerClient } from '../server-client.ts';

interface PurgeOptions {
  readonly admin: string;
  readonly token?: string;
  readonly json?: true;
}

type PurgeOutcome =
  | { readonly kind: 'purged'; readonly url: string; readonly wasStored: boolean; readonly key: string }
  | { readonly kind: 'failed'; readonly url: string; readonly error: string; readonly message: string };

const TOKEN_VARIABLE = 'RAWSLICE_ADMIN__TOKEN';
const ANSWER_BYTES_MAX = 64 * KIB;

/** Adds the `purge` command to the program. */
export function addPurgeCommand(program: Command, io: CommandIo): void {
  program
    .command('purge')
    .description('make a running server forget objects')
    .argument('<url...>', 'what to forget: a path with its query, such as /debian/pool/a.deb, or a URL of which path and query count')
    .option('--admin <address>', 'admin port of the server (its option admin.listen)', 'http://127.0.0.1:8081')
    .option('--token <token>', `the server's admin.token; better in the variable ${TOKEN_VARIABLE}, since others can see command lines`)
    .option('--json', 'print the results as JSON')
    .addHelpText('after', '\nExit codes: 0 all were forgotten (or were not stored), 1 none, 2 wrong usage, 4 some were not forgotten')
    .action((urls: readonly string[], options: PurgeOptions) => purge(io, urls, options));
}

async function purge(io: CommandIo, urls: readonly string[], options: PurgeOptions): Promise<void> {
  const base = parseServerAddress(options.admin, '--admin');
  const token = options.token ?? io.environment[TOKEN_VARIABLE];
  const client = new ServerClient({ base, clock: io.clock, connectionsMax: 1 });
  const outcomes: PurgeOutcome[] = [];
  try {
    for (const url of urls) {
      const outcome = await purgeOne(client, url, token);
      outcomes.push(outcome);
      if (options.json !== true) report(io, outcome);
    }
  } finally {
    client.close();
  }
  if (options.json === true) io.terminal.printJson(outcomes);
  const failed = outcomes.filter(({ kind }) => kind === 'failed').length;
  if (failed > 0) io.exitCode = failed === outcomes.length ? EXIT_CODES.failure : EXIT_CODES.partial;
}

async function purgeOne(client: ServerClient, url: string, token: string | undefined): Promise<PurgeOutcome> {
  const headers = { 'content-length': '0', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
  const { status, text } = await ask(client, `/purge?url=${encodeURIComponent(url)}`, headers);
  const answer = parseAnswer(text);
  if (status === 200 && typeof answer?.wasStored === 'boolean' && typeof answer.key === 'string') {
    return { kind: 'purged', url, wasStored: answer.wasStored, key: answer.key };
  }
  if (status === 401) {
    const advice = token === undefined ? `set ${TOKEN_VARIABLE} to the server's admin.token` : `the token is not the server's admin.token`;
    return { kind: 'failed', url, error: 'UNAUTHORIZED', message: `The server wants a token; ${advice}` };
  }
  if (typeof answer?.error === 'string' && typeof answer.message === 'string') {
    return { kind: 'failed', url, error: answer.error, message: answer.message };
  }
  const message = `${client.base.origin} answers ${status}, but not as the admin port of rawslice does; is it another port, such as listen?`;
  throw new EdgeError('ADMIN_UNREACHABLE', message, { context: { status } });
}

async function ask(
  client: ServerClient,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly text: string }> {
  try {
    const response = await client.send({ method: 'POST', path, headers });
    const pieces: Buffer[] = [];
    let lengthBytes = 0;
    for await (const piece of client.readBody(response)) {
      lengthBytes += piece.length;
      if (lengthBytes > ANSWER_BYTES_MAX) break;
      pieces.push(piece);
    }
    return { status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString() };
  } catch (cause) {
    const errno = systemErrorCode(cause) ?? (cause instanceof Error ? cause.message : String(cause));
    const advice = 'start the server (tools/rawslice serve), or name its admin port: --admin http://HOST:PORT';
    throw new EdgeError('ADMIN_UNREACHABLE', `No server answers on ${client.base.origin} (${errno}); ${advice}`, { cause });
  }
}

function parseAnswer(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    // Not JSON, so not our admin port; the caller says so.
    return undefined;
  }
}

function report(io: CommandIo, outcome: PurgeOutcome): void {
  if (outcome.kind === 'failed') io.terminal.complain(`rawslice: ${outcome.url} was not purged: ${outcome.message}`);
  else io.terminal.print(outcome.wasStored ? `purged ${outcome.key}` : `was not stored, stays away: ${outcome.key}`);
}
