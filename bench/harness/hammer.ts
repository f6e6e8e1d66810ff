/**
 * Many small requests over kept connections: wrk where it is installed, since it costs least, else the harness's own client, which is slower
 * than the fastest servers (then the server is not busy all the time, and requests per second of its CPU are what compares).
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Field } from './field.ts';
import { LoadConnection } from './load.ts';
import { findProgram } from './pinning.ts';

/** What is asked for. */
export interface HammerOptions {
  readonly connections: number;
  readonly seconds: number;
  /** Requests go to `prefix` + number, from `first` on, `count` different ones and then again. */
  readonly prefix: string;
  readonly first?: number;
  readonly count: number;
}

/** What came of it. */
export interface HammerResult {
  readonly requests: number;
  readonly seconds: number;
  readonly p99Ms: number;
}

/** Which load is used here. */
export function hammerName(): string {
  return findProgram('wrk') === undefined ? "the harness's own client (wrk is not installed)" : 'wrk';
}

/** Runs the load against a port. @throws Error when a response was not 200 or a connection failed */
export async function hammer(field: Field, port: number, options: HammerOptions): Promise<HammerResult> {
  const wrk = findProgram('wrk');
  return wrk === undefined ? hammerOurselves(port, options) : hammerWithWrk(field, port, { ...options, wrk });
}

async function hammerWithWrk(field: Field, port: number, options: HammerOptions & { readonly wrk: string }): Promise<HammerResult> {
  const script = path.join(field.directory, 'wrk.lua');
  const logPath = path.join(field.directory, 'wrk.log');
  writeFileSync(script, luaScript(options));
  const words = ['-t1', `-c${options.connections}`, `-d${options.seconds}s`, '--timeout', '20s', '-s', script, `http://127.0.0.1:${port}`];
  const child = field.pool.start({ command: options.wrk, words, cores: field.pinning?.load, logPath });
  await child.waitUntilEnded();
  const line = /^RESULT (\d+) (\d+) (\d+) (\d+)$/m.exec(child.logEnd());
  if (line === null) throw new Error(`wrk gave no result:\n${child.logEnd()}`);
  const [requests = 0, microseconds = 0, p99Us = 0, errors = 0] = line.slice(1).map(Number);
  if (errors > 0) throw new Error(`wrk counted ${errors} errors on port ${port}:\n${child.logEnd()}`);
  return { requests, seconds: microseconds / 1e6, p99Ms: p99Us / 1000 };
}

/** Few paths are written once; many are made as they are needed. */
function luaScript({ prefix, count, first = 0 }: HammerOptions): string {
  return `
local made = {}
local number = 0
function init()
  if ${count} <= 4096 then
    for index = 0, ${count} - 1 do made[index] = wrk.format('GET', '${prefix}' .. (index + ${first})) end
  end
end
function request()
  local index = number % ${count}
  number = number + 1
  return made[index] or wrk.format('GET', '${prefix}' .. (index + ${first}))
end
function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('RESULT %d %d %d %d\\n', summary.requests, summary.duration, latency:percentile(99), failed))
end
`;
}

async function hammerOurselves(port: number, { connections, seconds, prefix, count, first = 0 }: HammerOptions): Promise<HammerResult> {
  const startedAtMs = performance.now();
  const endMs = startedAtMs + seconds * 1000;
  let number = 0;
  const timesMs: number[] = [];
  const client = async (): Promise<void> => {
    const connection = await LoadConnection.open(port);
    while (performance.now() < endMs) {
      const index = first + (number % count);
      number += 1;
      const sample = await connection.get(`${prefix}${index}`);
      if (sample.status !== 200 || !sample.isComplete) throw new Error(`Port ${port} answered ${sample.status} to ${prefix}${index}`);
      timesMs.push(sample.totalMs);
    }
    connection.destroy();
  };
  await Promise.all(Array.from({ length: connections }, client));
  timesMs.sort((one, other) => one - other);
  const p99Ms = timesMs[Math.floor(timesMs.length * 0.99)] ?? Number.NaN;
  return { requests: timesMs.length, seconds: (performance.now() - startedAtMs) / 1000, p99Ms };
}
