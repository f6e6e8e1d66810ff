/**
 * `rawslice purge URL...`: asks a running server, through its admin port, to forget objects for good or to make them stale: by URL, by a
 * beginning of URLs, by tag, by host, or all. The server acknowledges when the order is on the disk, so what is reported as purged stays purged over a
 * crash.
 */
import { type Command, Option } from 'commander';
import { EdgeError, systemErrorCode, toEdgeError } from '../../src/base/errors.ts';
import { KIB } from '../../src/base/units.ts';
import { type NamedPurge, resolvePurge } from '../../src/cache/named-purge.ts';
import type { PurgeReport } from '../../src/fill/purger.ts';
import type { CommandIo } from '../command-io.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { parseServerAddress, ServerClient } from '../server-client.ts';

interface PurgeOptions {
  readonly admin: string;
  readonly token?: string;
  readonly json?: true;
  readonly prefix: readonly string[];
  readonly tag: readonly string[];
  readonly host: readonly string[];
  readonly all?: true;
  readonly soft?: true;
  readonly yes?: true;
  readonly wait?: true;
}

type PurgeOutcome =
  | ({ readonly outcome: 'purged'; readonly named: string } & PurgeReport)
  | { readonly outcome: 'failed'; readonly named: string; readonly error: string; readonly message: string };

const TOKEN_VARIABLE = 'RAWSLICE_ADMIN__TOKEN';
const ANSWER_BYTES_MAX = 64 * KIB;
/** Between questions whether a purge is done. */
const WAIT_MS = 100;

const NOTES = `
What is covered is gone when the command ends, crash or no crash; its room on the device is freed in the background. How many objects a prefix,
a tag, a host or --all covers is known when that is done (--wait). A URL without a query is that URL alone, not those with one.
Tags are what the origin sends in Surrogate-Key, Cache-Tag or xkey.

Exit codes: 0 all were forgotten (or were not stored), 1 none, 2 wrong usage, 4 some were not forgotten

Examples:
  rawslice purge /debian/pool/a.deb /debian/dists/stable/InRelease
  rawslice purge --prefix /debian/dists/ --soft --wait
  rawslice purge --tag release-13 --tag news`;

/** Adds the `purge` command to the program. */
export function addPurgeCommand(program: Command, io: CommandIo): void {
  const listOption = (flags: string, description: string): Option =>
    new Option(flags, description).argParser((value, before: readonly string[]) => [...before, value]).default([], 'none');
  program
    .command('purge')
    .description('make a running server forget objects')
    .argument('[url...]', 'what to forget: a path with its query, such as /debian/pool/a.deb, or a URL of which path and query count')
    .addOption(listOption('--prefix <prefix>', 'forget whatever begins so, such as /debian/dists/; may be repeated'))
    .addOption(listOption('--tag <tag>', 'forget whatever carries the tag; may be repeated'))
    .addOption(listOption('--host <host>', 'forget whatever is served for the host: all of its site; may be repeated'))
    .option('--all', 'forget everything; on a terminal it asks, elsewhere it wants --yes')
    .option('--soft', 'make stale instead of forgetting: the origin is asked whether what is stored still holds')
    .option('--wait', 'wait until everything covered is cleared, and say how many objects that were')
    .option('--yes', 'do not ask before --all')
    .option('--admin <address>', 'admin port of the server (its option admin.listen)', 'http://127.0.0.1:8081')
    .option('--token <token>', `the server's admin.token; better in the variable ${TOKEN_VARIABLE}, since others can see command lines`)
    .option('--json', 'print the results as JSON')
    .addHelpText('after', NOTES)
    .action((urls: readonly string[], options: PurgeOptions) => purge(io, urls, options));
}

async function purge(io: CommandIo, urls: readonly string[], options: PurgeOptions): Promise<void> {
  const wanted = namedBy(urls, options);
  if (wanted.length === 0) throw new EdgeError('USAGE', 'Name what to purge: URLs, --prefix, --tag --host or --all');
  for (const named of wanted) checkNamed(named);
  const base = parseServerAddress(options.admin, '--admin');
  if (options.all === true && options.yes !== true) await confirm(io, options.soft === true);
  const token = options.token ?? io.environment[TOKEN_VARIABLE];
  const client = new ServerClient({ base, clock: io.clock, connectionsMax: 1 });
  const outcomes: PurgeOutcome[] = [];
  try {
    for (const named of wanted) {
      const begun = await purgeOne(client, { named, isSoft: options.soft === true }, token);
      const outcome = options.wait === true ? await waitUntilDone(io, client, begun, token) : begun;
      outcomes.push(outcome);
      if (options.json !== true) report(io, outcome);
    }
  } finally {
    client.close();
  }
  if (options.json === true) io.terminal.printJson(outcomes);
  const failed = outcomes.filter(({ outcome }) => outcome === 'failed').length;
  if (failed > 0) io.exitCode = failed === outcomes.length ? EXIT_CODES.failure : EXIT_CODES.partial;
}

function namedBy(urls: readonly string[], options: PurgeOptions): readonly NamedPurge[] {
  return [
    ...urls.map((url) => ({ kind: 'url', url }) as const),
    ...options.prefix.map((prefix) => ({ kind: 'prefix', prefix }) as const),
    ...options.tag.map((tag) => ({ kind: 'tag', tag }) as const),
    ...options.host.map((host) => ({ kind: 'host', host }) as const),
    ...(options.all === true ? [{ kind: 'everything' } as const] : []),
  ];
}

/** Nothing is purged when something of it is malformed. @throws EdgeError USAGE */
function checkNamed(named: NamedPurge): void {
  try {
    // Whether hosts are kept apart is for the server to know.
    resolvePurge(named, { name: 'site', authority: 'site', preservesHost: false });
  } catch (cause) {
    const option = { url: 'URL', prefix: '--prefix', tag: '--tag', host: '--host', everything: '--all' }[named.kind];
    throw new EdgeError('USAGE', `${option}: ${toEdgeError(cause).message}; nothing was purged`, { cause });
  }
}

/** @throws EdgeError USAGE when it is not confirmed */
async function confirm(io: CommandIo, isSoft: boolean): Promise<void> {
  const act = isSoft ? 'make everything stale' : 'forget everything';
  if (!io.terminal.canAsk) throw new EdgeError('USAGE', `Nobody can be asked here; add --yes to ${act}`);
  const answer = await io.terminal.ask(`Type yes to ${act}: `);
  if (answer !== 'yes') throw new EdgeError('USAGE', 'Nothing was purged');
}

async function purgeOne(
  client: ServerClient,
  order: { readonly named: NamedPurge; readonly isSoft: boolean },
  token: string | undefined,
): Promise<PurgeOutcome> {
  const { name, query } = queryOf(order.named);
  const { status, text } = await ask(client, { method: 'POST', path: `/purge?${order.isSoft ? 'soft=1&' : ''}${query}` }, token);
  const answer = parseAnswer(text);
  if (status === 200 && answer !== undefined && isReport(answer)) return { outcome: 'purged', named: name, ...answer };
  if (status === 401) {
    const advice = token === undefined ? `set ${TOKEN_VARIABLE} to the server's admin.token` : `the token is not the server's admin.token`;
    return { outcome: 'failed', named: name, error: 'UNAUTHORIZED', message: `The server wants a token; ${advice}` };
  }
  if (typeof answer?.error === 'string' && typeof answer.message === 'string') {
    return { outcome: 'failed', named: name, error: answer.error, message: answer.message };
  }
  const message = `${client.base.origin} answers ${status}, but not as the admin port of rawslice does; is it another port, such as listen?`;
  throw new EdgeError('ADMIN_UNREACHABLE', message, { context: { status } });
}

/** Asks how the purge goes on until it is done, or the server no longer knows. */
async function waitUntilDone(io: CommandIo, client: ServerClient, begun: PurgeOutcome, token: string | undefined): Promise<PurgeOutcome> {
  let outcome = begun;
  while (outcome.outcome === 'purged' && !outcome.isDone) {
    await io.clock.sleep(WAIT_MS);
    const { status, text } = await ask(client, { method: 'GET', path: `/purges?id=${outcome.id}` }, token);
    const answer = parseAnswer(text);
    if (status !== 200 || answer === undefined || !isReport(answer)) return outcome;
    outcome = { ...outcome, ...answer };
  }
  return outcome;
}

function queryOf(named: NamedPurge): { readonly name: string; readonly query: string } {
  switch (named.kind) {
    case 'url':
      return { name: named.url, query: `url=${encodeURIComponent(named.url)}` };
    case 'prefix':
      return { name: named.prefix, query: `prefix=${encodeURIComponent(named.prefix)}` };
    case 'tag':
      return { name: named.tag, query: `tag=${encodeURIComponent(named.tag)}` };
    case 'host':
      return { name: named.host, query: `host=${encodeURIComponent(named.host)}` };
    case 'everything':
      return { name: 'everything', query: 'everything=1' };
  }
}

function isReport(answer: Readonly<Record<string, unknown>>): answer is Readonly<Record<string, unknown>> & PurgeReport {
  const { id, kind, key, isSoft, objects, isDone } = answer;
  const isTyped = typeof kind === 'string' && typeof key === 'string' && typeof isSoft === 'boolean';
  return isTyped && typeof id === 'number' && typeof objects === 'number' && typeof isDone === 'boolean';
}

async function ask(
  client: ServerClient,
  question: { readonly method: 'GET' | 'POST'; readonly path: string },
  token: string | undefined,
): Promise<{ readonly status: number; readonly text: string }> {
  const headers = { 'content-length': '0', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
  try {
    const response = await client.send({ ...question, headers });
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
  if (outcome.outcome === 'failed') {
    io.terminal.complain(`rawslice: ${outcome.named} was not purged: ${outcome.message}`);
    return;
  }
  const { kind, key, isSoft, objects, isDone } = outcome;
  const done = isSoft ? 'made stale' : 'purged';
  if (kind === 'url') {
    io.terminal.print(objects > 0 ? `${done} ${key}` : `was not stored${isSoft ? ', or stale before' : ', stays away'}: ${key}`);
    return;
  }
  const begins = `what begins with ${key}`;
  const what = { prefix: begins, tag: `what is tagged ${key}`, host: begins, everything: 'everything' }[kind];
  const count = `${objects} ${objects === 1 ? 'object' : 'objects'}`;
  io.terminal.print(`${done} ${what} (${isDone ? count : `${count} so far; the rest is cleared in the background`})`);
}
