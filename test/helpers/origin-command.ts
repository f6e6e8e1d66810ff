/**
 * The scripted origin on the command line: `node test/helpers/origin-command.ts --port 9000` serves `/bytes/SIZE/NAME` (as `/bytes/64MiB/a`)
 * and does wrong whatever `--wrong` says, so that any cache can be held against it. `--help` lists everything.
 */
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { Origin } from './origin.ts';
import type { Misbehaviour, ObjectDefinition } from './origin-script.ts';

const USAGE = `node test/helpers/origin-command.ts [options]
  --port N              port on 127.0.0.1 (default 9000; 0: any)
  --size SIZE           length of paths other than /bytes/SIZE/NAME (default: 404)
  --cache-control TEXT  (default max-age=3600)
  --etag KIND           strong, weak or none
  --ignore-range        200 to every request
  --chunked             no Content-Length
  --rate SIZE           bytes a second for each response
  --wrong PATH=JSON     what goes wrong with requests for PATH (\`*\`: all), in the order written; each step serves "times" requests
                        (default: all that follow). As --wrong '/bytes/1MiB/a={"resetAfterBytes":70000,"times":1}'
  --show-requests       a line of JSON for each request, when it has been answered
What can go wrong, in the JSON of --wrong; steps combine several:
  ignoreRange validators ignoreConditions contentRange partLengthDeltaBytes interval multipart status statusBody redirectTo headers replaceHeaders
  dropHeaders gzip interim interimHeaders answersUnread omitsContinue headBytes chunked trailers closeDelimited holdHead
  splitHead pauseAfterBytes bytesPerSecond resetAfterBytes
  closeAfterBytes extraBytes changeAfterBytes connectionClose dropAfterResponse raw rawThen
test/helpers/origin-script.ts says of each what it does.
Standard input, a line each:
  change PATH           the object has another version from now on
  release PATH          goes on with responses that holdHead or pauseAfterBytes stopped
`;

const count = z.int().nonnegative();
const fields = z.union([z.record(z.string(), z.string()), z.array(z.tuple([z.string(), z.string()]))]);
const step = z.strictObject({
  times: z.int().positive().optional(),
  ignoreRange: z.boolean().optional(),
  validators: z.enum(['none', 'weak', 'changing']).optional(),
  ignoreConditions: z.boolean().optional(),
  contentRange: z.enum(['missing', 'unknown-total', 'wrong-start', 'wrong-end', 'wrong-total', 'garbage']).optional(),
  partLengthDeltaBytes: z.int().optional(),
  interval: z.strictObject({ start: count, end: count }).optional(),
  multipart: z.boolean().optional(),
  status: z.int().min(100).max(999).optional(),
  statusBody: z.string().optional(),
  redirectTo: z.string().optional(),
  headers: fields.optional(),
  replaceHeaders: z.record(z.string(), z.string()).optional(),
  dropHeaders: z.array(z.string()).optional(),
  gzip: z.enum(['always', 'if-accepted']).optional(),
  interim: z.array(z.int().min(100).max(199)).optional(),
  interimHeaders: fields.optional(),
  answersUnread: z.boolean().optional(),
  omitsContinue: z.boolean().optional(),
  headBytes: count.optional(),
  chunked: z.union([z.boolean(), z.int().positive()]).optional(),
  trailers: fields.optional(),
  closeDelimited: z.boolean().optional(),
  holdHead: z.boolean().optional(),
  splitHead: z.boolean().optional(),
  pauseAfterBytes: count.optional(),
  bytesPerSecond: z.int().positive().optional(),
  resetAfterBytes: count.optional(),
  closeAfterBytes: count.optional(),
  extraBytes: count.optional(),
  changeAfterBytes: count.optional(),
  connectionClose: z.boolean().optional(),
  dropAfterResponse: z.boolean().optional(),
  raw: z.string().optional(),
  rawThen: z.enum(['close', 'reset', 'keep']).optional(),
});

/** One `--wrong`. */
export interface WrongStep {
  readonly path: string;
  readonly misbehaviour: Misbehaviour;
  readonly times: number;
}

/** Reads `PATH=JSON`. @throws RangeError that says what is wrong with it */
export function parseWrong(text: string): WrongStep {
  const equals = text.indexOf('={');
  const path = text.slice(0, equals);
  if (equals < 0 || !(path === '*' || path.startsWith('/'))) throw new RangeError(`--wrong is PATH=JSON, not ${text}`);
  let value: unknown;
  try {
    value = JSON.parse(text.slice(equals + 1));
  } catch (error) {
    throw new RangeError(`--wrong ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
  const parsed = step.safeParse(value);
  if (!parsed.success) throw new RangeError(`--wrong ${path}: ${z.prettifyError(parsed.error)}`);
  const { times = Number.POSITIVE_INFINITY, ...misbehaviour } = parsed.data;
  return { path, misbehaviour, times };
}

/** A size as `4096`, `64KiB` or `3GiB`. @throws RangeError */
export function parseSizeBytes(text: string): number {
  const match = /^(\d+)(B|KiB|MiB|GiB|TiB)?$/.exec(text);
  if (match === null) throw new RangeError(`A size is a number with B, KiB, MiB, GiB or TiB, not ${text}`);
  return Number(match[1]) * 1024 ** ['B', 'KiB', 'MiB', 'GiB', 'TiB'].indexOf(match[2] ?? 'B');
}

function readWords(words: readonly string[]) {
  const { values } = parseArgs({
    args: [...words],
    options: {
      port: { type: 'string', default: '9000' },
      size: { type: 'string' },
      'cache-control': { type: 'string', default: 'max-age=3600' },
      etag: { type: 'string', default: 'strong' },
      'ignore-range': { type: 'boolean', default: false },
      chunked: { type: 'boolean', default: false },
      rate: { type: 'string' },
      wrong: { type: 'string', multiple: true, default: [] },
      'show-requests': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  return values;
}

/** Serves until it is told to stop. */
async function main(words: readonly string[]): Promise<void> {
  const values = readWords(words);
  if (values.help) return void process.stdout.write(USAGE);
  const steps = values.wrong.map(parseWrong);
  const etag = values.etag === 'weak' || values.etag === 'none' ? values.etag : 'strong';
  const resolve = (target: string): ObjectDefinition | undefined => {
    const size = /^\/bytes\/([^/]+)\//.exec(target)?.[1] ?? values.size;
    if (size === undefined || !/^\d+[A-Za-z]*$/.test(size)) return undefined;
    return { lengthBytes: parseSizeBytes(size), etag, cacheControl: values['cache-control'] };
  };
  const origin = await Origin.start({ port: Number(values.port), resolve });
  for (const { path, misbehaviour, times } of steps) origin.misbehave(path, misbehaviour, times);
  const bytesPerSecond = values.rate === undefined ? undefined : parseSizeBytes(values.rate);
  origin.misbehave('*', { ignoreRange: values['ignore-range'], chunked: values.chunked, bytesPerSecond });
  process.stdout.write(`listening ${origin.url}\n`);
  obeyLines(origin);
  const shown = values['show-requests'] ? setInterval(showRequests(origin), 100) : undefined;
  const stop = (): void => {
    clearInterval(shown);
    process.stdin.destroy();
    void origin.close();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

function obeyLines(origin: Origin): void {
  createInterface({ input: process.stdin }).on('line', (line) => {
    const [verb = '', path = ''] = line.trim().split(/\s+/);
    if (verb === 'change' && path.startsWith('/')) origin.change(path);
    else if (verb === 'release' && path.startsWith('/')) origin.release(path);
    else if (verb !== '') process.stderr.write(`not understood: ${line} (change PATH, release PATH)\n`);
  });
}

/** Prints each request once, when it is over. */
function showRequests(origin: Origin): () => void {
  const shown = new WeakSet<object>();
  return () => {
    for (const record of origin.requests) {
      if (shown.has(record) || (record.state !== 'done' && record.state !== 'aborted')) continue;
      shown.add(record);
      const { method, target, headers, status, bodyBytesSent, state } = record;
      process.stdout.write(`${JSON.stringify({ method, target, range: headers.range, status, bodyBytesSent, state })}\n`);
    }
  };
}

if (import.meta.main) {
  await main(process.argv.slice(2)).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 2;
  });
}
