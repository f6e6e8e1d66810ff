/**
 * `rawslice purge URL...`: asks a running server, through its admin port, to forget objects for good or to make them stale: by URL, by a
 * beginning of URLs, by tag, by host, or all. The server acknowledges when the order is on the disk, so what is reported as purged stays purged over a
 * crash.
 */
import { type Command, Option } from 'commander';
import { EdgeError, toEdgeError } from '../../src/base/errors.ts';
import { type NamedPurge, resolvePurge } from '../../src/cache/named-purge.ts';
import type { PurgeReport } from '../../src/fill/purger.ts';
import { AdminClient, type AdminOptions, addAdminOptions } from '../admin-client.ts';
import type { CommandIo } from '../command-io.ts';
import { EXIT_CODES } from '../exit-codes.ts';

interface PurgeOptions extends AdminOptions {
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
  const command = program
    .command('purge')
    .description('make a running server forget objects')
    .argument('[url...]', 'what to forget: a path with its query, such as /debian/pool/a.deb, or a URL of which path and query count')
    .addOption(listOption('--prefix <prefix>', 'forget whatever begins so, such as /debian/dists/; may be repeated'))
    .addOption(listOption('--tag <tag>', 'forget whatever carries the tag; may be repeated'))
    .addOption(listOption('--host <host>', 'forget whatever is served for the host: all of its site; may be repeated'))
    .option('--all', 'forget everything; on a terminal it asks, elsewhere it wants --yes')
    .option('--soft', 'make stale instead of forgetting: the origin is asked whether what is stored still holds')
    .option('--wait', 'wait until everything covered is cleared, and say how many objects that were')
    .option('--yes', 'do not ask before --all');
  addAdminOptions(command)
    .addHelpText('after', NOTES)
    .action((urls: readonly string[], options: PurgeOptions) => purge(io, urls, options));
}

async function purge(io: CommandIo, urls: readonly string[], options: PurgeOptions): Promise<void> {
  const wanted = namedBy(urls, options);
  if (wanted.length === 0) throw new EdgeError('USAGE', 'Name what to purge: URLs, --prefix, --tag --host or --all');
  for (const named of wanted) checkNamed(named);
  const client = new AdminClient(io, options);
  if (options.all === true && options.yes !== true) await confirm(io, options.soft === true);
  const outcomes: PurgeOutcome[] = [];
  try {
    for (const named of wanted) {
      const begun = await purgeOne(client, { named, isSoft: options.soft === true });
      const outcome = options.wait === true ? await waitUntilDone(io, client, begun) : begun;
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

async function purgeOne(client: AdminClient, order: { readonly named: NamedPurge; readonly isSoft: boolean }): Promise<PurgeOutcome> {
  const { name, query } = queryOf(order.named);
  const { status, body } = await client.ask('POST', `/purge?${order.isSoft ? 'soft=1&' : ''}${query}`);
  if (status === 200 && isReport(body)) return { outcome: 'purged', named: name, ...body };
  return { outcome: 'failed', named: name, error: String(body.error), message: String(body.message) };
}

/** Asks how the purge goes on until it is done, or the server no longer knows. */
async function waitUntilDone(io: CommandIo, client: AdminClient, begun: PurgeOutcome): Promise<PurgeOutcome> {
  let outcome = begun;
  while (outcome.outcome === 'purged' && !outcome.isDone) {
    await io.clock.sleep(WAIT_MS);
    const { status, body } = await client.ask('GET', `/purges?id=${outcome.id}`);
    if (status !== 200 || !isReport(body)) return outcome;
    outcome = { ...outcome, ...body };
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
