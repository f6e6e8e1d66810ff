/**
 * `rawslice prewarm`: brings objects into the cache before anybody asks for them, by reading them through a running server, or through one
 * of its own over a device that no server holds. Can be broken off and resumed with a state file.
 */
import type { Command } from 'commander';
import { countText } from '../../src/base/count-text.ts';
import { EdgeError, toEdgeError } from '../../src/base/errors.ts';
import type { ConfigOverride } from '../../src/config/environment.ts';
import { parseRequestTarget } from '../../src/http/request-target.ts';
import type { CommandIo } from '../command-io.ts';
import { addSetOption } from '../config-options.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { withInterrupt } from '../interrupt.ts';
import { FinishedList } from '../prewarm/finished-list.ts';
import { type LocalServer, startLocalServer } from '../prewarm/local-server.ts';
import { RateLimit } from '../prewarm/rate-limit.ts';
import { countTargets, type ListSources, listTargets, type NamedUpstream } from '../prewarm/target.ts';
import { WarmReport } from '../prewarm/warm-report.ts';
import { type WarmOutcome, warm } from '../prewarm/warm-run.ts';
import { parseServerAddress, ServerClient } from '../server-client.ts';
import { countFlag, rateFlag } from '../values.ts';

interface PrewarmOptions {
  readonly file?: string;
  readonly server?: string;
  readonly device?: string;
  readonly upstream?: string;
  readonly host?: string;
  readonly preset?: string;
  readonly concurrency: string;
  readonly rate?: string;
  readonly state?: string;
  readonly json?: true;
  readonly set: readonly ConfigOverride[];
}

const DEFAULT_SERVER = 'http://127.0.0.1:8080';
const CONCURRENCY_RANGE = { min: 1, max: 256 };

const NOTES = `
An item is a path at the server with its query, such as /debian/pool/main/a.deb, or a URL of which path, query and
host count, as if a client had been led to the server. With --upstream, URLs of the origin can be listed as they are.

A server whose device is full keeps what is asked for twice, so each item is asked for twice: with HEAD, only if cached,
and then with GET. One whose device is slower than the origin may not keep every slice; a second run fetches what is missing.

Exit codes: 0 everything is in the cache, 1 nothing could be done, 2 wrong usage, 4 some items failed or were not reached

Examples:
  rawslice prewarm /debian/dists/stable/InRelease
  rawslice prewarm --file list.txt --state list.done --rate 20MiB/s
  rawslice prewarm --file list.txt --device /dev/disk/by-id/... --upstream http://deb.debian.org --preset debian`;

/** Adds the `prewarm` command to the program. */
export function addPrewarmCommand(program: Command, io: CommandIo): void {
  const prewarm = program
    .command('prewarm')
    .description('bring objects into the cache before anybody asks for them')
    .argument('[url...]', 'what to fetch: paths or URLs')
    .option('--file <list>', 'take items from a file, one a line (# begins a comment line); - is standard input')
    .option('--server <address>', `running server to fetch through (default: ${DEFAULT_SERVER})`)
    .option('--device <path>', 'fill this device directly, while no server holds it; needs --upstream')
    .option('--upstream <url>', 'the origin; URLs below it may stand in the list')
    .option('--host <host>', 'host that clients ask for, for items that name none; a server with upstream.preserveHost keeps hosts apart')
    .option('--preset <name>', 'with --device: rules for a kind of mirror, as the server will use them (default: generic)')
    .option('--concurrency <n>', 'requests at a time, 1 to 256', '4')
    .option('--rate <rate>', 'most bytes per second over all requests, such as 10MiB/s (default: no limit)')
    .option('--state <file>', 'remember finished items in this file and skip them next time')
    .option('--json', 'print the summary as JSON')
    .addHelpText('after', NOTES);
  addSetOption(prewarm).action((urls: readonly string[], options: PrewarmOptions) => run(io, urls, options));
}

async function run(io: CommandIo, urls: readonly string[], options: PrewarmOptions): Promise<void> {
  complainAboutFlags(urls, options);
  const concurrency = countFlag('--concurrency', options.concurrency, CONCURRENCY_RANGE);
  const bytesPerSecond = options.rate === undefined ? undefined : rateFlag('--rate', options.rate);
  const upstream = options.upstream === undefined ? undefined : parseUpstream(options.upstream);
  const isInput = options.file === '-';
  const lists = { urls, file: isInput ? undefined : options.file, input: isInput ? io.terminal.input : undefined, upstream };
  const finished = await FinishedList.open(options.state);
  try {
    const total = await countTargets(lists);
    const local = options.device === undefined ? undefined : await startLocal(io, options.device, options);
    try {
      const base = local?.base ?? parseServerAddress(options.server ?? DEFAULT_SERVER, '--server');
      await warmAndReport(io, {
        base,
        lists,
        total,
        finished,
        host: options.host,
        concurrency,
        bytesPerSecond,
        pace: local?.pace,
        isJson: options.json === true,
      });
    } finally {
      await local?.close();
    }
    complainAboutDeclined(io, local?.countDeclined() ?? 0);
  } finally {
    await finished.close();
  }
}

interface WarmJob {
  readonly base: URL;
  readonly lists: ListSources;
  readonly total: number | undefined;
  readonly finished: FinishedList;
  readonly host: string | undefined;
  readonly concurrency: number;
  readonly bytesPerSecond: number | undefined;
  readonly pace: LocalServer['pace'] | undefined;
  readonly isJson: boolean;
}

async function warmAndReport(io: CommandIo, job: WarmJob): Promise<void> {
  const { base, concurrency, bytesPerSecond, finished, isJson } = job;
  const client = new ServerClient({ base, clock: io.clock, connectionsMax: concurrency });
  const report = new WarmReport(io, job.total);
  const run = {
    client,
    host: job.host,
    list: (signal: AbortSignal) => listTargets(job.lists, signal),
    concurrency,
    rate: bytesPerSecond === undefined ? undefined : new RateLimit(io.clock, bytesPerSecond),
    // A server of our own keeps everything.
    asksTwice: job.pace === undefined,
    pace: job.pace,
    isFinished: (name: string) => finished.has(name),
    onBytes: (lengthBytes: number) => report.addBytes(lengthBytes),
    onOutcome: async (outcome: WarmOutcome) => {
      if (outcome.kind === 'done') await finished.add(outcome.name);
      report.add(outcome);
    },
  };
  let isInterrupted = false;
  try {
    isInterrupted = await withInterrupt(io.clock, async (signal) => {
      await warm({ ...run, signal });
      return signal.aborted;
    });
  } catch (cause) {
    const error = toEdgeError(cause);
    // A server that went away in the middle ends the run like an interruption: there is something to report.
    if (error.code !== 'SERVER_UNREACHABLE' || !report.hasSuccess) throw error;
    report.complain(error.message);
    isInterrupted = true;
  } finally {
    client.close();
  }
  report.print({ isInterrupted, isJson });
  io.exitCode = report.exitCode(isInterrupted);
}

function complainAboutDeclined(io: CommandIo, slices: number): void {
  if (slices === 0) return;
  const advice = 'run it again without --state to fill the holes, with --rate, or with more memory (--set memory.arena=1GiB)';
  io.terminal.complain(`rawslice: the device was too slow for ${countText(slices, 'slice')}, which may be missing; ${advice}`);
  if (io.exitCode === EXIT_CODES.ok) io.exitCode = EXIT_CODES.partial;
}

function startLocal(io: CommandIo, device: string, options: PrewarmOptions): Promise<LocalServer> {
  if (options.upstream === undefined) throw new EdgeError('USAGE', '--device needs --upstream, the origin to fetch from');
  return startLocalServer(io, { device, upstream: options.upstream, preset: options.preset, overrides: options.set });
}

function complainAboutFlags(urls: readonly string[], options: PrewarmOptions): void {
  if (options.host !== undefined && parseRequestTarget('/', options.host).kind === 'invalid')
    throw new EdgeError('USAGE', `--host takes a host such as mirror.example:8080, not ${JSON.stringify(options.host)}`);
  if (urls.length === 0 && options.file === undefined)
    throw new EdgeError('USAGE', 'Name what to fetch: URLs or paths, or --file LIST (- for standard input)');
  if (options.device !== undefined && options.server !== undefined) throw new EdgeError('USAGE', 'Give --server or --device, not both');
  if (options.device !== undefined) return;
  if (options.preset !== undefined) throw new EdgeError('USAGE', '--preset goes with --device; a running server has its own');
  if (options.set.length > 0) throw new EdgeError('USAGE', '--set goes with --device; a running server has its own configuration');
}

function parseUpstream(text: string): NamedUpstream {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new EdgeError('USAGE', `--upstream takes a URL such as http://deb.debian.org, not ${JSON.stringify(text)}`);
  }
  return { origin: url.origin, basePath: url.pathname.replace(/\/+$/, '') };
}
