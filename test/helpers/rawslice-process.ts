/**
 * The whole program as a process of its own, as users start it: `tools/rawslice serve`. Its addresses are read from what it announces, its
 * end is by process id, and its log is shown when the test fails. Used by test/process and test/clients.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import type { PurgeReport } from '../../src/fill/purger.ts';
import { type ClientResponse, type RequestOptions, request } from './client.ts';
import { runTool, type ToolRun } from './run-tool.ts';
import { unwinding } from './unwinding.ts';

const PROGRAM = path.resolve(import.meta.dirname, '../../tools/rawslice');
const COMPILE_CACHE = path.resolve(import.meta.dirname, '../../node_modules/.cache/rawslice-tests');
const START_DEADLINE_MS = 20_000;
const EXIT_DEADLINE_MS = 40_000;
const POLL_MS = 20;
/** Log characters kept for the report of a failure. */
const REPORT_CHARACTERS = 6000;

/** What to start. */
export interface RawsliceOptions {
  /** URL of the origin. */
  readonly upstream: string;
  readonly device: string;
  /** Options by dotted key, as `--set` takes them. */
  readonly set?: Readonly<Record<string, string>> | undefined;
  /** Further words of the command line. */
  readonly flags?: readonly string[] | undefined;
  /** Further variables. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
}

/** Numbers of /metrics by series, as `rawslice_http_requests_total{cache="HIT"}`. */
export type Scrape = ReadonlyMap<string, number>;

/** Starts the program and waits until its index is loaded; killed after the test when it still runs. @throws Error with its output when it ends instead of listening */
export async function startRawslice(context: TestContext, options: RawsliceOptions): Promise<RawsliceProcess> {
  const set = Object.entries(options.set ?? {}).flatMap(([key, text]) => ['--set', `${key}=${text}`]);
  const addresses = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const words = ['serve', '--upstream', options.upstream, '--device', options.device, ...addresses, ...set, ...(options.flags ?? [])];
  const child = spawn(PROGRAM, words, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...environment(), ...options.environment } });
  const rawslice = new RawsliceProcess(child);
  unwinding(context).after(async () => {
    await rawslice.kill();
    if (!context.passed) context.diagnostic(`rawslice ${words.join(' ')}\n${rawslice.report()}`);
  });
  await rawslice.untilListening();
  await rawslice.untilReady();
  return rawslice;
}

/** Runs any command of the program to its end. */
export function runRawslice(words: readonly string[], deadlineMs = 20_000): Promise<ToolRun> {
  return runTool(PROGRAM, words, { environment: environment(), deadlineMs });
}

/** A running program. */
export class RawsliceProcess {
  readonly #child: ChildProcess;
  readonly #clock = new SystemClock();
  readonly #closed: Promise<unknown>;
  #stdout = '';
  #stderr = '';
  #port = 0;
  #adminPort = 0;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#closed = once(child, 'close');
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
  }

  /** Waits for the announcement. @throws Error with all output */
  async untilListening(): Promise<void> {
    const endMs = this.#clock.monotonicMs() + START_DEADLINE_MS;
    for (;;) {
      const match = /listens on (?:http:\/\/127\.0\.0\.1:(\d+)|unix:)[\s\S]*admin {2}http:\/\/127\.0\.0\.1:(\d+)/.exec(this.#stderr);
      if (match !== null) {
        this.#port = Number(match[1]);
        this.#adminPort = Number(match[2]);
        return;
      }
      if (this.#isOver) await this.#closed;
      if (this.#isOver || this.#clock.monotonicMs() > endMs) throw new Error(`rawslice does not listen\n${this.report()}`);
      await this.#clock.sleep(POLL_MS);
    }
  }

  /** Waits for 200 from /readyz: before, the index is still being loaded and everything is a miss. */
  untilReady(): Promise<void> {
    return this.untilAdmin('/readyz', ({ status }) => status === 200);
  }

  /** Asks the admin port until the answer is as wanted. @throws Error after 20 s, with the last answer */
  async untilAdmin(target: string, isWanted: (answer: ClientResponse) => boolean): Promise<void> {
    const endMs = this.#clock.monotonicMs() + START_DEADLINE_MS;
    for (;;) {
      const answer = await this.admin(target);
      if (isWanted(answer)) return;
      if (this.#clock.monotonicMs() > endMs) throw new Error(`${target} says ${answer.status} ${answer.body.toString()}`);
      await this.#clock.sleep(POLL_MS);
    }
  }

  /** Port for clients. */
  get port(): number {
    return this.#port;
  }

  get adminPort(): number {
    return this.#adminPort;
  }

  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get processId(): number {
    assert(this.#child.pid !== undefined, 'the process was started');
    return this.#child.pid;
  }

  /** What was announced. */
  get stderr(): string {
    return this.#stderr;
  }

  /** Lines of the log so far; each must be JSON. */
  get logLines(): Record<string, unknown>[] {
    return this.#stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  }

  /** Lines of the access log so far. A line is written when its response has ended, and may come here a moment later. */
  get accessLines(): Record<string, unknown>[] {
    return this.logLines.filter((line) => line.msg === 'request');
  }

  /** Waits until the access log has `count` lines that match; these lines. @throws Error after 20 s */
  async untilAccessLines(
    count: number,
    isMeant: (line: Record<string, unknown>) => boolean = () => true,
  ): Promise<Record<string, unknown>[]> {
    const endMs = this.#clock.monotonicMs() + START_DEADLINE_MS;
    for (;;) {
      const lines = this.accessLines.filter(isMeant);
      if (lines.length >= count) return lines;
      if (this.#clock.monotonicMs() > endMs) throw new Error(`the access log has ${lines.length} lines instead of ${count}`);
      await this.#clock.sleep(POLL_MS);
    }
  }

  /** Sends one request on a connection of its own. */
  get(target: string, headers: Record<string, string> = {}, more: Partial<RequestOptions> = {}): Promise<ClientResponse> {
    return request({ port: this.#port, path: target, headers, deadlineMs: 60_000, ...more });
  }

  /** Asks the admin port; the answer's text. */
  admin(target: string, method = 'GET'): Promise<ClientResponse> {
    return request({ port: this.#adminPort, path: target, method });
  }

  /** Forgets one URL; resolves when that is acknowledged. */
  async purge(target: string): Promise<PurgeReport> {
    const answer = await this.admin(`/purge?url=${encodeURIComponent(target)}`, 'POST');
    assert.equal(answer.status, 200, answer.body.toString());
    return JSON.parse(answer.body.toString());
  }

  /** Every series of /metrics. @throws AssertionError for a line that is not Prometheus text */
  async scrape(): Promise<Scrape> {
    const answer = await this.admin('/metrics');
    assert.equal(answer.status, 200);
    return parseMetrics(answer.body.toString());
  }

  /** Scrapes until `holds` does. @throws Error after 20 s */
  async untilMetrics(what: string, holds: (scrape: Scrape) => boolean): Promise<Scrape> {
    const endMs = this.#clock.monotonicMs() + 20_000;
    for (;;) {
      const scrape = await this.scrape();
      if (holds(scrape)) return scrape;
      if (this.#clock.monotonicMs() > endMs) throw new Error(`${what} did not come within 20 s`);
      await this.#clock.sleep(POLL_MS);
    }
  }

  /** Requests that have been answered so far. */
  async requestCount(): Promise<number> {
    const scrape = await this.scrape();
    return [...scrape].reduce((sum, [series, value]) => (series.startsWith('rawslice_http_requests_total{') ? sum + value : sum), 0);
  }

  /** Waits until every slice that was admitted is on the device and recorded there: what a crash from now on does not take away. */
  async untilStored(): Promise<void> {
    const isQuiet = (scrape: Scrape): boolean =>
      ['rawslice_fill_runs_active', 'rawslice_store_queued_slices', 'rawslice_store_pending_manifests'].every(
        (name) => scrape.get(name) === 0,
      );
    await this.untilMetrics('an idle store', isQuiet);
    // A record reaches the journal with its batch, 50 ms after it was made; no metric tells.
    await this.#clock.sleep(200);
  }

  /** Resident memory in bytes, as the kernel counts it. */
  residentBytes(): number {
    const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.processId}/status`, 'utf8'));
    return Number(match?.[1] ?? 0) * 1024;
  }

  /** kill -9, and waits for the end. Harmless when it is over. */
  async kill(): Promise<void> {
    if (!this.#isOver) this.#child.kill('SIGKILL');
    await this.#closed;
  }

  /** Asks it to stop and waits. @returns exit code or name of the signal that ended it */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    this.#child.kill(signal);
    const timer = this.#clock.startTimer(EXIT_DEADLINE_MS, () => this.#child.kill('SIGKILL'));
    await this.#closed;
    timer.stop();
    return this.#child.exitCode ?? this.#child.signalCode ?? 'unknown';
  }

  /** The end of what it wrote, for the report of a failure. */
  report(): string {
    return `${this.#stderr.slice(-REPORT_CHARACTERS)}${this.#stdout.slice(-REPORT_CHARACTERS)}`;
  }

  get #isOver(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}

/** Series and values of Prometheus text, format 0.0.4. @throws AssertionError for a line that is none */
export function parseMetrics(text: string): Scrape {
  const scrape = new Map<string, number>();
  const seen = new Set<string>();
  for (const line of text.split('\n')) {
    if (line === '' || /^# (HELP [a-zA-Z_:][\w:]* \S.*|TYPE [a-zA-Z_:][\w:]* (counter|gauge|histogram|summary))$/.test(line)) continue;
    const match =
      /^([a-zA-Z_:][\w:]*(?:\{[a-zA-Z_]\w*="(?:[^"\\]|\\.)*"(?:,[a-zA-Z_]\w*="(?:[^"\\]|\\.)*")*\})?) ([+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|[Nn]a[Nn])$/.exec(
        line,
      );
    assert(match !== null, `not Prometheus text: ${line}`);
    const [, series = '', value = ''] = match;
    assert(!seen.has(series), `twice: ${series}`);
    seen.add(series);
    const name = withoutDevice(series);
    scrape.set(name, (scrape.get(name) ?? 0) + Number(value.replace('Inf', 'Infinity')));
  }
  return scrape;
}

/** Devices are counted together. */
function withoutDevice(series: string): string {
  return series.replace(/([{,])device="(?:[^"\\]|\\.)*",?/, '$1').replace(/\{\}$|,(?=\}$)/, '');
}

/** No option of the machine that runs the tests reaches the program. Compiled code is kept, since these tests start it dozens of times. */
function environment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('RAWSLICE_') && name !== 'NODE_TEST_CONTEXT');
  return { ...Object.fromEntries(kept.map(([name, value]) => [name, value ?? ''])), NODE_COMPILE_CACHE: COMPILE_CACHE };
}
