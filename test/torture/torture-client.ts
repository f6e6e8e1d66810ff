/**
 * The clients of the torture: requests of every form, and the judgement of what comes back. A response must be of one version of its object
 * and of no other, whole unless something excuses it, and its status and fields must fit the request and the bytes.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { verifyBody } from '../helpers/body.ts';
import { ClientConnection, type ClientResponse, type RequestOptions } from '../helpers/client.ts';
import { type ParsedPart, parseMultipart } from '../helpers/multipart-parser.ts';
import type { ResponseHead } from '../helpers/response-parser.ts';
import { isStrong, isText, type Subject, TEXT_ANSWERS, type Version, type World } from './torture-world.ts';

const DEADLINE_MS = 15_000;
/** What stands before each of several parts is shorter. */
const PART_HEAD_BYTES = 250;

/** What was asked. */
interface Ask {
  readonly subject: Subject;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly range: string | undefined;
  readonly isConditional: boolean;
  readonly hasIfRange: boolean;
  readonly onlyIfCached: boolean;
  readonly abortAfterBytes: number | undefined;
}

/** Counts over all clients. */
export interface Tally {
  requests: number;
  bytes: number;
  aborted: number;
  broken: number;
  soft: number;
  readonly statuses: Map<number, number>;
  readonly stories: Map<string, number>;
}

export function newTally(): Tally {
  return { requests: 0, bytes: 0, aborted: 0, broken: 0, soft: 0, statuses: new Map(), stories: new Map() };
}

export interface ClientsOptions {
  readonly world: World;
  readonly port: number;
  readonly tally: Tally;
  /** Called with a sentence for everything that should not have been. */
  readonly complain: (what: string) => void;
  /** The proxy's own words about the last requests for a path. */
  readonly accounts: (path: string) => readonly string[];
}

/** One client: connections one after the other, until `isOver` says so. */
export async function runClient(options: ClientsOptions, isOver: () => boolean): Promise<void> {
  while (!isOver()) await runConnection(options);
}

/** One connection with one to six requests, pipelined or not, stalling or not. */
async function runConnection(options: ClientsOptions): Promise<void> {
  const { world, port, complain } = options;
  let connection: ClientConnection;
  try {
    connection = await ClientConnection.open({ port, deadlineMs: DEADLINE_MS });
  } catch (error) {
    complain(`no connection: ${String(error)}`);
    return;
  }
  const isPipelined = world.chance(300);
  const count = 1 + world.random.integerBelow(world.chance(300) ? 6 : 2);
  const answers: Promise<boolean>[] = [];
  let isAborted = false;
  for (let left = count; left > 0 && !connection.isClosed; left -= 1) {
    const ask = makeAsk(world);
    // The rest of a pipeline ends with the one that is aborted.
    isAborted ||= ask.abortAfterBytes !== undefined;
    const answer = new Exchange(options, ask, { mayBeAborted: isAborted, isPipelined }).run(connection);
    answers.push(answer);
    if (world.chance(80)) await stallFor(connection, world.random.integerBelow(1500));
    if (!isPipelined && !(await answer)) break;
  }
  await Promise.all(answers);
  connection.destroy();
}

async function stallFor(connection: ClientConnection, stallMs: number): Promise<void> {
  connection.pause();
  await new Promise((resolve) => setTimeout(resolve, stallMs));
  connection.resume();
}

/** Asks for every object whole, without tricks: after a round all of them must come. */
export async function sweep(options: ClientsOptions): Promise<void> {
  for (const subject of options.world.subjects) {
    const connection = await ClientConnection.open({ port: options.port, deadlineMs: DEADLINE_MS });
    const ask: Ask = {
      subject,
      method: 'GET',
      headers: {},
      range: undefined,
      isConditional: false,
      hasIfRange: false,
      onlyIfCached: false,
      abortAfterBytes: undefined,
    };
    await new Exchange(options, ask, { mayBeAborted: false, isPipelined: false }).run(connection);
    connection.destroy();
  }
}

function makeAsk(world: World): Ask {
  const { random } = world;
  // A few objects are wanted by everybody.
  const subject = world.chance(500) ? world.subjects[random.integerBelow(Math.min(6, world.subjects.length))]! : world.pick(world.subjects);
  const version = world.chance(800) ? world.current(subject) : world.pick(subject.versions);
  const headers: Record<string, string> = {};
  const selecting = world.selectingFields(subject);
  Object.assign(headers, selecting);
  const range = world.chance(450) ? makeRange(world, version) : undefined;
  if (range !== undefined) headers.range = range;
  const hasIfRange = range !== undefined && world.chance(250);
  if (hasIfRange) headers['if-range'] = world.chance(700) ? world.tag(subject, selecting) : dateOf(version);
  const isConditional = world.chance(100);
  if (isConditional) {
    const condition = random.integerBelow(4);
    if (condition === 0) headers['if-none-match'] = world.tag(subject, selecting);
    else if (condition === 1) headers['if-modified-since'] = dateOf(version);
    else if (condition === 2) headers['if-match'] = world.tag(subject, selecting);
    else headers['if-unmodified-since'] = dateOf(version);
  }
  const onlyIfCached = world.chance(20);
  if (onlyIfCached) headers['cache-control'] = 'only-if-cached';
  else if (world.chance(80)) headers['cache-control'] = world.pick(['no-cache', 'max-age=0', 'max-stale', 'no-store', 'min-fresh=10']);
  return {
    subject,
    method: world.chance(80) ? 'HEAD' : 'GET',
    headers,
    range,
    isConditional,
    hasIfRange,
    onlyIfCached,
    abortAfterBytes: world.chance(120) ? random.integerBelow(version.lengthBytes + 1) : undefined,
  };
}

function makeRange(world: World, { lengthBytes }: Version): string {
  const { random } = world;
  const start = random.integerBelow(lengthBytes + 1);
  const end = start + random.integerBelow(Math.max(1, lengthBytes - start) + 10);
  const forms: readonly (() => string)[] = [
    () => `bytes=${start}-${end}`,
    () => `bytes=${start}-${end}`,
    () => `bytes=${start}-${start}`,
    () => `bytes=${start}-`,
    () => `bytes=-${random.integerBelow(lengthBytes + 10)}`,
    () => `bytes=0-0`,
    () => `bytes=-1`,
    () => `bytes=${lengthBytes}-`,
    () => `bytes=${lengthBytes + 5000}-${lengthBytes + 6000}`,
    () => `bytes=5-2`,
    () => `bytes=0-10,20-30`,
    () => makeRangeSet(world, lengthBytes),
    () => makeRangeSet(world, lengthBytes),
    () => `bites=0-10`,
    () => `bytes=0-${Number.MAX_SAFE_INTEGER}`,
  ];
  return world.pick(forms)();
}

/** Two to five ranges in any order, which may overlap, touch or lie behind the end. */
function makeRangeSet(world: World, lengthBytes: number): string {
  const { random } = world;
  const specs = Array.from({ length: 2 + random.integerBelow(4) }, () => {
    const start = random.integerBelow(lengthBytes + 20);
    const sizeBytes = world.pick([1, 2, 500, Math.max(1, lengthBytes)]);
    return world.chance(120) ? `-${1 + random.integerBelow(200)}` : `${start}-${start + random.integerBelow(sizeBytes)}`;
  });
  return `bytes=${specs.join(world.chance(200) ? ', ' : ',')}`;
}

function dateOf(version: Version): string {
  return new Date(1577836800000 + version.number * 1000).toUTCString();
}

/** A body that may be the answer. */
interface Candidate extends Version {
  readonly name: string;
}

/** One request and what became of it. */
class Exchange {
  readonly #options: ClientsOptions;
  readonly #ask: Ask;
  readonly #oldestServable: number;
  readonly #startedMs = performance.now();
  readonly #mayBeAborted: boolean;
  readonly #isPipelined: boolean;
  #candidates: Candidate[];
  #start = 0;
  #isUnchecked = false;
  #wrong: string | undefined;
  #story = '';
  /** Until a complaint has been made, which waits for the proxy's account. */
  #complaining: Promise<void> | undefined;
  /** The body so far, where it can only be judged whole: several parts, or a text. */
  #pieces: Buffer[] | undefined;

  constructor(options: ClientsOptions, ask: Ask, place: { readonly mayBeAborted: boolean; readonly isPipelined: boolean }) {
    this.#options = options;
    this.#mayBeAborted = place.mayBeAborted;
    this.#isPipelined = place.isPipelined;
    this.#ask = ask;
    this.#oldestServable = ask.subject.oldestServable;
    this.#candidates = [];
  }

  /** @returns whether the connection may be used again */
  async run(connection: ClientConnection): Promise<boolean> {
    const { tally } = this.#options;
    const { method, subject, headers, abortAfterBytes } = this.#ask;
    tally.requests += 1;
    const request: RequestOptions = {
      method,
      path: subject.path,
      headers,
      abortAfterBytes,
      onHead: (head) => this.#onHead(head),
      onBytes: (bytes, offset) => this.#onBytes(bytes, offset),
    };
    let response: ClientResponse;
    try {
      response = await connection.request(request);
    } catch (error) {
      // The connection broke before the head: allowed after a response that broke, or an abort, before it on the connection.
      if (String(error).includes('no end within')) this.#complain(`stalled without a head: ${String(error)}`);
      tally.broken += 1;
      await this.#complaining;
      return false;
    }
    this.#judge(response);
    await this.#complaining;
    return response.isComplete;
  }

  #onHead(head: ResponseHead): void {
    const { subject } = this.#ask;
    const { tally } = this.#options;
    tally.statuses.set(head.status, (tally.statuses.get(head.status) ?? 0) + 1);
    this.#story = head.headers['cache-status'] ?? '';
    const story = this.#story.replace(/ttl=-?\d+|detail=slices=\S+|key=\S+/g, '').slice(0, 60);
    tally.stories.set(story, (tally.stories.get(story) ?? 0) + 1);
    // The object may have changed since: all versions there are now count.
    const names = this.#options.world.bodyNames(subject, this.#ask.headers);
    this.#candidates = subject.versions
      .filter(({ number }) => number >= this.#oldestServable)
      .flatMap((version) => names.map((name) => ({ ...version, name })));
    if (head.status >= 300) {
      this.#pieces = [];
      return;
    }
    this.#byValidators(head);
    this.#byLengths(head);
  }

  #byValidators({ headers }: ResponseHead): void {
    const tagged = /-(\d+)(?:-\d+)?"$/.exec(headers.etag ?? '')?.[1];
    if (tagged !== undefined) this.#keep(({ number }) => number === Number(tagged), `ETag ${headers.etag}`);
    const modified = headers['last-modified'];
    if (modified !== undefined)
      this.#keep(({ number }) => number === (Date.parse(modified) - 1577836800000) / 1000, `Last-Modified ${modified}`);
  }

  #byLengths(head: ResponseHead): void {
    const { method, range, hasIfRange, subject } = this.#ask;
    const isLieExcused = this.#isPassedOn() && performance.now() < subject.liedUntilMs;
    const length = head.headers['content-length'];
    if (head.status === 200) {
      if (length !== undefined) this.#keep(({ lengthBytes }) => lengthBytes === Number(length), `Content-Length ${length}`);
      if (head.headers['content-range'] !== undefined && !isLieExcused) this.#wrong ??= 'Content-Range in a 200';
      const mayBeWhole = range === undefined || hasIfRange || method === 'HEAD' || this.#isPassedOn() || length === undefined;
      if (!mayBeWhole && this.#candidates.every((version) => isPart(range, version) && this.#mustBeParts(range, version)))
        this.#wrong ??= `200 to ${range}`;
      return;
    }
    if (head.status !== 206) {
      this.#wrong ??= `status ${head.status}`;
      return;
    }
    if (isLieExcused) {
      this.#isUnchecked = true;
      return;
    }
    if (head.headers['content-type']?.startsWith('multipart/byteranges') === true) {
      this.#pieces = [];
      if (head.headers['content-range'] !== undefined) this.#wrong ??= 'Content-Range beside several parts';
      if (range?.includes(',') !== true || method === 'HEAD') this.#wrong ??= `several parts to ${method} ${range}`;
      return;
    }
    const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(head.headers['content-range'] ?? '');
    if (match === null || range === undefined || method === 'HEAD') {
      this.#wrong ??= `206 with Content-Range ${head.headers['content-range']} to ${method} ${range}`;
      return;
    }
    const [start, end, total] = [Number(match[1]), Number(match[2]) + 1, Number(match[3])];
    this.#keep(({ lengthBytes }) => lengthBytes === total, `Content-Range ${match[0]}`);
    if (length !== undefined && Number(length) !== end - start) this.#wrong ??= `Content-Length ${length} with Content-Range ${match[0]}`;
    const [wanted, ...others] = resolveAll(range, total);
    if (others.length > 0 || wanted?.start !== start || wanted.end !== end) this.#wrong ??= `Content-Range ${match[0]} to ${range}`;
    this.#start = start;
  }

  /** Several parts are sent where the cache can fetch them in any order, and where they are shorter than the whole. */
  #mustBeParts(range: string, { lengthBytes }: Version): boolean {
    const places = resolveAll(range, lengthBytes);
    if (places.length < 2) return true;
    const { kind } = this.#ask.subject;
    const sumBytes = places.reduce((sum, { start, end }) => sum + end - start + PART_HEAD_BYTES, PART_HEAD_BYTES);
    return (kind === 'strong' || kind === 'dated') && !this.#isExcused() && sumBytes <= lengthBytes;
  }

  #isPassedOn(): boolean {
    return /bypass|not-storable|detail=changing/.test(this.#story);
  }

  #keep(fits: (version: Candidate) => boolean, why: string): void {
    const kept = this.#candidates.filter(fits);
    if (kept.length === 0 && this.#candidates.length > 0) this.#wrong ??= `no version fits ${why}; oldest servable ${this.#oldestServable}`;
    this.#candidates = kept;
  }

  #onBytes(bytes: Buffer, offset: number): void {
    this.#options.tally.bytes += bytes.length;
    if (this.#pieces !== undefined) {
      this.#pieces.push(Buffer.from(bytes));
      return;
    }
    if (this.#isUnchecked || this.#candidates.length === 0) return;
    const before = this.#candidates;
    this.#candidates = before.filter(
      ({ number, lengthBytes, name }) =>
        this.#start + offset + bytes.length <= lengthBytes && verifyBody(bytes, { name, version: number }, this.#start + offset) === -1,
    );
    if (this.#candidates.length > 0) return;
    const places = before.map(({ number, lengthBytes, name }) => {
      const at = verifyBody(bytes, { name, version: number }, this.#start + offset);
      return `v${number}(${lengthBytes})@${at === -1 ? 'right' : this.#start + offset + at}`;
    });
    this.#wrong ??= `wrong bytes in ${this.#start + offset}+${bytes.length}: ${places.join(' ')}`;
  }

  /** Several parts: those asked for, in the order asked, each of the same version. @returns what is wrong */
  #judgeParts(response: ClientResponse, body: Buffer): string | undefined {
    let parts: ParsedPart[];
    try {
      parts = parseMultipart(response.headers['content-type'], body);
    } catch (error) {
      return String(error);
    }
    const fits = ({ number, lengthBytes, name }: Candidate): boolean =>
      placesOf(resolveAll(this.#ask.range ?? '', lengthBytes)) === placesOf(parts) &&
      parts.every((part) => part.total === lengthBytes && verifyBody(part.bytes, { name, version: number }, part.start) === -1);
    return this.#candidates.some(fits) ? undefined : `no version has the parts ${placesOf(parts)}`;
  }

  #judge(response: ClientResponse): void {
    const { status } = response;
    const { tally } = this.#options;
    if (status >= 300) return this.#judgeOther(response);
    if (this.#wrong !== undefined) return this.#complain(this.#wrong, response);
    if (this.#mayBeAborted && !response.isComplete) {
      tally.aborted += 1;
      return;
    }
    if (response.isComplete && this.#pieces !== undefined && !this.#isUnchecked) {
      const wrong = this.#judgeParts(response, Buffer.concat(this.#pieces));
      if (wrong !== undefined) this.#complain(wrong, response);
      return;
    }
    if (response.isComplete) {
      const wantedEnd = this.#start + response.bodyBytes;
      const isLong = (version: Version): boolean => status === 206 || this.#ask.method === 'HEAD' || wantedEnd === version.lengthBytes;
      if (!this.#isUnchecked && !this.#candidates.some(isLong))
        this.#complain(
          `a body of ${response.bodyBytes} bytes looks whole; lengths ${this.#candidates.map((v) => v.lengthBytes).join()}`,
          response,
        );
      return;
    }
    tally.broken += 1;
    if (response.error?.startsWith('no end within') === true) return this.#complain(`stalled after ${response.bodyBytes} bytes`, response);
    if (this.#isExcused()) return;
    // When a later response breaks off while requests behind it are unread, the kernel resets, and forgets what was on its way (RFC 9112 s9.6).
    const isReset = this.#isPipelined && response.error?.includes('ECONNRESET') === true;
    if (!isReset && isStrong(this.#ask.subject.kind))
      this.#complain(`broke off after ${response.bodyBytes} bytes: ${response.error}`, response);
    else tally.soft += 1;
  }

  #judgeOther(response: ClientResponse): void {
    const { status } = response;
    const { isConditional, onlyIfCached, range, headers } = this.#ask;
    if (isText(this.#ask.subject.kind) && this.#isTheText(response)) return;
    if (status === 304 && isConditional) return;
    if (status === 412 && (headers['if-match'] !== undefined || headers['if-unmodified-since'] !== undefined)) return;
    if (status === 504 && onlyIfCached) return;
    if (status === 416 && range !== undefined) {
      const total = Number(/^bytes \*\/(\d+)$/.exec(response.headers['content-range'] ?? '')?.[1]);
      if (this.#candidates.some(({ lengthBytes }) => lengthBytes === total && resolveAll(range, lengthBytes).length === 0)) return;
    }
    // An error with a lifetime of its own is stored like any other answer.
    if ((status !== 500 || isText(this.#ask.subject.kind)) && this.#isExcused()) return;
    if (status === 500 && (this.#isPassedOn() || this.#story.includes('fwd-status=500')) && this.#isExcused()) return;
    this.#complain(`status ${status}: ${response.headers['cache-status']}`, response);
  }

  /** A redirect or a 404 comes as the origin sends it, whatever range or condition the request has. */
  #isTheText({ status, headers, isComplete }: ClientResponse): boolean {
    const { subject, method } = this.#ask;
    const expected = TEXT_ANSWERS[subject.kind];
    if (status !== expected?.status || headers.location !== expected.redirectTo) return false;
    const text = Buffer.concat(this.#pieces ?? []).toString('latin1');
    if (!isComplete) return this.#mayBeAborted || this.#isExcused();
    return text === (method === 'HEAD' ? '' : `${expected.status}\n`) || (this.#isPassedOn() && performance.now() < subject.liedUntilMs);
  }

  #isExcused(): boolean {
    return this.#startedMs < this.#ask.subject.excusedUntilMs;
  }

  #complain(what: string, response?: ClientResponse): void {
    const { method, subject, headers } = this.#ask;
    const head =
      response === undefined
        ? ''
        : ` -> ${response.status} ${JSON.stringify(response.headers)} complete=${response.isComplete} ${
            response.status >= 400
              ? Buffer.concat(this.#pieces ?? [])
                  .toString('latin1')
                  .trim()
              : ''
          } after ${Math.round(response.totalMs)} ms`;
    const seen = this.#options.world.origin.requestsFor(subject.path).slice(-8);
    const asked = seen.map(
      (record) =>
        `\n    #${record.sequence} ${record.headers.range ?? 'whole'} -> ${record.status} ${record.bodyBytesSent} ${record.state}`,
    );
    const versions = `\n  versions ${JSON.stringify(subject.versions.slice(-4))}`;
    // The line of this request is written when the proxy has seen its end.
    this.#complaining = sleep(50).then(() => {
      const accounts = this.#options.accounts(subject.path).map((line) => `\n    ${line}`);
      this.#options.complain(
        `${what}\n  ${method} ${subject.path} ${JSON.stringify(headers)}${head}${versions}${asked.join('')}${accounts.join('')}`,
      );
    });
  }
}

/** [start, end) of a single range in an object of `total` bytes; undefined when it is not satisfiable. */
function resolve(range: string, total: number): { start: number; end: number } | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(range) ?? [];
  if (first === '') {
    const suffix = Number(last);
    return suffix === 0 || total === 0 ? undefined : { start: Math.max(0, total - suffix), end: total };
  }
  const start = Number(first);
  if (start >= total) return undefined;
  return { start, end: last === '' ? total : Math.min(total, Number(last) + 1) };
}

/** Start and end of each of some places, as a text. */
function placesOf(places: readonly { readonly start: number; readonly end: number }[]): string {
  return places.map(({ start, end }) => `${start}-${end}`).join();
}

/** What is satisfiable of a range or a set of them, in the order asked; those that overlap are one, in the place of the first. */
function resolveAll(range: string, total: number): { start: number; end: number }[] {
  const places: { start: number; end: number }[] = [];
  for (const spec of range.replace('bytes=', '').split(',')) {
    let place = resolve(`bytes=${spec.trim()}`, total);
    if (place === undefined) continue;
    // What it joins may have come to overlap another one.
    let at = places.length;
    for (;;) {
      const { start, end }: { start: number; end: number } = place;
      const index = places.findIndex((other) => other.start < end && start < other.end);
      const [other] = index < 0 ? [] : places.splice(index, 1);
      if (other === undefined) break;
      at = Math.min(at, index);
      place = { start: Math.min(start, other.start), end: Math.max(end, other.end) };
    }
    places.splice(at, 0, place);
  }
  return places;
}

/** Whether the range, or the set of them, being valid, must be answered with a part. */
function isPart(range: string, { lengthBytes }: Version): boolean {
  const specs = /^bytes=([\d, -]+)$/.exec(range)?.[1]?.split(',') ?? [];
  const isValid = specs.every((spec) => {
    const [first = '', last = ''] = spec.trim().split('-');
    return first === '' || last === '' || Number(first) <= Number(last);
  });
  return isValid && specs.length > 0 && resolveAll(range, lengthBytes).length > 0;
}
