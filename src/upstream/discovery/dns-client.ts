/**
 * Questions to DNS servers, over UDP and, where an answer does not fit, over TCP: a stub resolver that says how long records hold, which node:dns says of
 * addresses and not of SRV records (DECISIONS 57). Each question has a socket of its own, so a random port, and a random number; only an answer with that
 * number and question, from the server that was asked, counts. Used by dns-source.ts.
 */
import { Resolver } from 'node:dns';
import type { OptAnswer, SrvAnswer, StringAnswer } from 'dns-packet';
import { decode, encode, RECURSION_DESIRED } from 'dns-packet';
import type { Clock } from '../../base/clock.ts';
import { systemErrorCode } from '../../base/errors.ts';
import type { Random } from '../../base/random.ts';
import { type DiscoveryFailure, failed } from './discovery-source.ts';
import { type DnsServer, exchangeTcp, exchangeUdp } from './dns-exchange.ts';

/** Kinds of record that are asked for. */
export type RecordKind = 'A' | 'AAAA' | 'SRV';

/** What a name has. */
export interface DnsQuestion {
  readonly name: string;
  readonly kind: RecordKind;
}

/** An address, or a service's place. */
export type DnsRecord = StringAnswer | SrvAnswer;

/** What came of a question. `records` may be none: the name does not exist, or has none of the kind. */
export type DnsVerdict =
  /** `ttlMs`: how long all of it holds; undefined where there are no records. */
  { readonly kind: 'records'; readonly records: readonly DnsRecord[]; readonly ttlMs: number | undefined } | DiscoveryFailure;

/** Whom to ask, and how long. */
export interface DnsClientOptions {
  /** Tried in this order; none: those of the system (/etc/resolv.conf), as they are then. */
  readonly servers: readonly DnsServer[];
  /** For one try at one server. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly random: Random;
}

/** Each server is tried so often. */
const ROUNDS = 2;
/** Servers of the system that are tried, as libc does. */
const SYSTEM_SERVERS_MAX = 3;
/** Names that one alias after another may lead to. */
const ALIASES_MAX = 16;
/** Room for an answer that is said in a question (EDNS): what passes everywhere without being cut up on the way (dnsflagday.net/2020). */
const UDP_BYTES = 1232;
const EXTENSION: OptAnswer = {
  ...{ type: 'OPT', name: '.', udpPayloadSize: UDP_BYTES },
  ...{ extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] },
};
/** Codes of answers (RFC 1035 s4.1.1) that mean something here. */
const NO_ERROR = 0;
const FORMAT_ERROR = 1;
const NAME_ERROR = 3;
const RCODE_NAMES: Readonly<Record<number, string>> = { 1: 'FORMERR', 2: 'SERVFAIL', 4: 'NOTIMP', 5: 'REFUSED' };
/** Bit of the third byte: the answer did not fit. */
const TRUNCATED = 0x02;

interface Reply {
  readonly kind: 'reply';
  readonly rcode: number;
  readonly answers: readonly DnsRecord[];
}

/** A stub resolver. */
export class DnsClient {
  readonly #options: DnsClientOptions;

  constructor(options: DnsClientOptions) {
    this.#options = options;
  }

  /** Asks one server after the other until one answers. Never rejects. */
  async ask(question: DnsQuestion, signal: AbortSignal): Promise<DnsVerdict> {
    const { servers: own } = this.#options;
    const servers = own.length > 0 ? own : systemServers();
    let last: DnsVerdict = failed('unreachable', 'no DNS server is configured; name servers, or see /etc/resolv.conf');
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const server of servers) {
        const verdict = await this.#askOne(question, server, signal);
        if (verdict.kind === 'records' || signal.aborted) return verdict;
        last = verdict;
      }
    }
    return last;
  }

  async #askOne(question: DnsQuestion, server: DnsServer, signal: AbortSignal): Promise<DnsVerdict> {
    const first = await this.#exchange(question, server, { signal, hasExtension: true });
    // A server from before EDNS (RFC 6891 s7).
    const reply = first.kind === 'reply' && first.rcode === FORMAT_ERROR ? await this.#exchange(question, server, { signal }) : first;
    if (reply.kind === 'failed') return reply;
    const { rcode, answers } = reply;
    if (rcode === NAME_ERROR) return { kind: 'records', records: [], ttlMs: undefined };
    if (rcode !== NO_ERROR)
      return failed(
        'refused',
        `${nameOf(server)} answered ${RCODE_NAMES[rcode] ?? `code ${rcode}`} for ${question.kind} of ${question.name}`,
      );
    return recordsOf(question, answers);
  }

  async #exchange(
    { name, kind }: DnsQuestion,
    server: DnsServer,
    { signal, hasExtension = false }: { readonly signal: AbortSignal; readonly hasExtension?: boolean },
  ): Promise<Reply | DiscoveryFailure> {
    const { clock, random, timeoutMs } = this.#options;
    const query = encode({
      type: 'query',
      id: random.integerBelow(65_536),
      flags: RECURSION_DESIRED,
      questions: [{ type: kind, name, class: 'IN' }],
      additionals: hasExtension ? [EXTENSION] : [],
    });
    const limits = { clock, timeoutMs, signal };
    try {
      const short = await exchangeUdp(server, query, limits);
      const whole = ((short[2] ?? 0) & TRUNCATED) === 0 ? short : await exchangeTcp(server, query, limits);
      return readReply(whole, { name, kind });
    } catch (cause) {
      return failureOf(cause, server);
    }
  }
}

/** @throws Error for what is no answer to the question */
function readReply(bytes: Buffer, { name, kind }: DnsQuestion): Reply {
  const rcode = (bytes[3] ?? 0) & 0x0f;
  // Such an answer may be a head alone.
  if (rcode !== NO_ERROR) return { kind: 'reply', rcode, answers: [] };
  const packet = decode(bytes);
  const [asked] = packet.questions ?? [];
  if (asked?.type !== kind || !isSameName(asked.name, name)) throw new Error('it answers another question');
  const answers = (packet.answers ?? []).filter((answer): answer is DnsRecord => answer.type === kind || answer.type === 'CNAME');
  return { kind: 'reply', rcode, answers };
}

function failureOf(cause: unknown, server: DnsServer): DiscoveryFailure {
  const code = systemErrorCode(cause);
  const text = cause instanceof Error ? cause.message : String(cause);
  if (code === 'ETIMEDOUT') return failed('timeout', `${nameOf(server)} did not answer in time`);
  if (code !== undefined && /^E[A-Z]+$/.test(code)) return failed('unreachable', `${nameOf(server)} cannot be asked (${code})`);
  return failed('invalid', `${nameOf(server)} sent what cannot be used: ${text}`);
}

/** The records of the name, or of the name that its aliases lead to (RFC 1034 s3.6.2). */
function recordsOf({ name, kind }: DnsQuestion, answers: readonly DnsRecord[]): DnsVerdict {
  let owner = name;
  let ttlS = Number.POSITIVE_INFINITY;
  for (let hops = 0; hops <= ALIASES_MAX; hops += 1) {
    const records = answers.filter((answer) => answer.type === kind && isSameName(answer.name, owner));
    if (records.length > 0) {
      for (const { ttl = 0 } of records) ttlS = Math.min(ttlS, ttl);
      return { kind: 'records', records, ttlMs: ttlS * 1000 };
    }
    const alias = answers.find((answer): answer is StringAnswer => answer.type === 'CNAME' && isSameName(answer.name, owner));
    if (alias === undefined) return { kind: 'records', records: [], ttlMs: undefined };
    owner = alias.data;
    ttlS = Math.min(ttlS, alias.ttl ?? 0);
  }
  return failed('invalid', `${name} is an alias of an alias, more than ${ALIASES_MAX} times`);
}

function isSameName(one: string, other: string): boolean {
  return one.toLowerCase().replace(/\.$/, '') === other.toLowerCase().replace(/\.$/, '');
}

function nameOf({ host, port }: DnsServer): string {
  return `DNS server ${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** As the system's resolver has them now. */
function systemServers(): readonly DnsServer[] {
  return new Resolver()
    .getServers()
    .slice(0, SYSTEM_SERVERS_MAX)
    .map((text) => {
      const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+|.*:.*:.*))(?::(\d+))?$/.exec(text) ?? [];
      return { host: bracketed ?? plain ?? text, port: Number(port ?? 53) };
    });
}
