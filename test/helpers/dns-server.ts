/** A DNS server over UDP and TCP on one port, with a zone that tests change, and with manners that servers have. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { type Answer, AUTHORITATIVE_ANSWER, type DecodedPacket, decode, encode, RECURSION_AVAILABLE, TRUNCATED_RESPONSE } from 'dns-packet';

/** How the server answers instead of by its zone. */
export type DnsManner =
  | { readonly kind: 'silent' }
  | { readonly kind: 'rcode'; readonly rcode: number }
  /** FORMERR to whoever sends an OPT record. */
  | { readonly kind: 'old' }
  /** UDP answers say that they are cut. */
  | { readonly kind: 'cut' }
  /** Answers with another number or question come first. */
  | { readonly kind: 'spoofed' }
  | { readonly kind: 'garbage' };

const NAME_ERROR = 3;
const FORMAT_ERROR = 1;

/** The server. */
export class DnsServer {
  readonly port: number;
  /** What was asked, such as `A web.test` or `tcp SRV _http._tcp.test`. */
  readonly questions: string[] = [];
  manner: DnsManner | undefined;
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #sockets = new Set<Socket>();
  #zone = new Map<string, readonly Answer[]>();

  private constructor(udp: UdpSocket, tcp: Server) {
    this.#udp = udp;
    this.#tcp = tcp;
    this.port = udp.address().port;
    udp.on('message', (bytes, { port, address }) => {
      for (const answer of this.#answer(bytes, 'udp')) udp.send(answer, port, address);
    });
    tcp.on('connection', (socket) => this.#serve(socket));
  }

  static async start(): Promise<DnsServer> {
    for (let tries = 0; ; tries += 1) {
      const udp = createSocket('udp4');
      udp.bind(0, '127.0.0.1');
      await once(udp, 'listening');
      const tcp = createServer();
      tcp.listen(udp.address().port, '127.0.0.1');
      try {
        await once(tcp, 'listening');
        return new DnsServer(udp, tcp);
      } catch (error) {
        // Somebody has the port for TCP.
        udp.close();
        if (tries === 10) throw error;
      }
    }
  }

  /** `127.0.0.1:PORT`. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** The records of a name are these from now on. */
  set(name: string, records: readonly Answer[]): void {
    this.#zone.set(name, records);
  }

  /** The addresses of a name, as A or AAAA records. */
  setAddresses(name: string, addresses: readonly string[], ttl = 1): void {
    this.set(
      name,
      addresses.map((data) => ({ type: data.includes(':') ? 'AAAA' : 'A', name, ttl, data })),
    );
  }

  /** The SRV records of a name. */
  setService(name: string, targets: readonly { target: string; port: number; priority?: number; weight?: number }[], ttl = 1): void {
    this.set(
      name,
      targets.map((data) => ({ type: 'SRV', name, ttl, data })),
    );
  }

  clear(): void {
    this.#zone = new Map();
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([
      new Promise((resolve) => this.#udp.close(() => resolve(undefined))),
      new Promise((resolve) => this.#tcp.close(resolve)),
    ]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => undefined);
    let received = Buffer.alloc(0);
    socket.on('data', (bytes: Buffer) => {
      received = Buffer.concat([received, bytes]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        const answers = this.#answer(received.subarray(2, end), 'tcp');
        received = received.subarray(end);
        for (const answer of answers) {
          const length = Buffer.alloc(2);
          length.writeUInt16BE(answer.length);
          socket.write(Buffer.concat([length, answer]));
        }
      }
    });
  }

  #answer(bytes: Buffer, way: 'udp' | 'tcp'): readonly Buffer[] {
    const query = decode(bytes);
    const [question] = query.questions ?? [];
    if (question === undefined) return [];
    this.questions.push(`${way === 'tcp' ? 'tcp ' : ''}${question.type} ${question.name}`);
    const { manner } = this;
    const known = this.#zone.get(question.name);
    const answers = this.#find(question.name, question.type);
    const right = reply(query, { answers, rcode: known === undefined ? NAME_ERROR : 0 });
    const hasExtension = (query.additionals ?? []).some(({ type }) => type === 'OPT');
    if (manner?.kind === 'silent') return [];
    if (manner?.kind === 'rcode') return [reply(query, { rcode: manner.rcode })];
    if (manner?.kind === 'old' && hasExtension) return [reply(query, { rcode: FORMAT_ERROR })];
    if (manner?.kind === 'cut' && way === 'udp') return [reply(query, { isCut: true })];
    if (manner?.kind === 'garbage') return [Buffer.concat([right.subarray(0, 12), Buffer.from([0xc0, 0xff, 0xff])])];
    if (manner?.kind !== 'spoofed') return [right];
    const foreign: readonly Answer[] = [{ type: 'A', name: question.name, ttl: 60, data: '203.0.113.1' }];
    return [reply({ ...query, id: ((query.id ?? 0) + 1) % 65_536 }, { answers: foreign }), bytes, right];
  }

  /** With what aliases lead to, as a resolver answers. */
  #find(name: string, type: string): readonly Answer[] {
    const records = this.#zone.get(name) ?? [];
    const alias = records.find((record) => record.type === 'CNAME');
    if (alias?.type === 'CNAME' && type !== 'CNAME') return [alias, ...(alias.data === name ? [] : this.#find(alias.data, type))];
    return records.filter((record) => record.type === type);
  }
}

function reply(
  query: DecodedPacket,
  { answers = [], rcode = 0, isCut = false }: { readonly answers?: readonly Answer[]; readonly rcode?: number; readonly isCut?: boolean },
): Buffer {
  const flags = AUTHORITATIVE_ANSWER | RECURSION_AVAILABLE | rcode | (isCut ? TRUNCATED_RESPONSE : 0);
  return encode({ type: 'response', id: query.id, flags, questions: query.questions, answers: [...answers] });
}
