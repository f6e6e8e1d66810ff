/** One DNS message out, one in: over UDP (one datagram each), or over TCP (RFC 7766: a length of two bytes before each). Used by dns-client.ts. */
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import type { Clock } from '../../base/clock.ts';

/** Where a DNS server listens, by its address. */
export interface DnsServer {
  readonly host: string;
  readonly port: number;
}

/** How long it may take. */
export interface ExchangeLimits {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Datagrams that are no answer to what was asked; a server that sends more of them is not listened to. */
const FOREIGN_MAX = 16;

/** @throws Error of the system; ETIMEDOUT when nothing came in time, or the signal aborted */
export function exchangeUdp(server: DnsServer, query: Uint8Array, limits: ExchangeLimits): Promise<Buffer> {
  return settled(limits, (resolve, reject) => {
    const socket = createSocket(isIPv6(server.host) ? 'udp6' : 'udp4');
    let foreign = 0;
    socket.on('error', reject);
    socket.on('message', (bytes) => {
      if (isReplyTo(bytes, query)) resolve(bytes);
      else if (++foreign > FOREIGN_MAX) reject(new Error('datagrams that answer nothing'));
    });
    // Connected, so that nobody else's datagrams arrive, and a closed port is known at once.
    socket.connect(server.port, server.host, () => socket.send(query));
    return () => socket.close();
  });
}

/** @throws as exchangeUdp() */
export function exchangeTcp(server: DnsServer, query: Uint8Array, limits: ExchangeLimits): Promise<Buffer> {
  return settled(limits, (resolve, reject) => {
    const socket = connect(server);
    let received = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the connection ended before the answer')));
    socket.on('data', (bytes: Buffer) => {
      received = Buffer.concat([received, bytes]);
      const end = received.length < 2 ? Number.POSITIVE_INFINITY : 2 + received.readUInt16BE(0);
      if (received.length < end) return;
      const message = received.subarray(2, end);
      if (isReplyTo(message, query)) resolve(message);
      else reject(new Error('it answers another question'));
    });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    socket.write(Buffer.concat([length, query]));
    return () => socket.destroy();
  });
}

/** Whether it has the number of the query and is an answer (RFC 1035 s4.1.1). */
function isReplyTo(message: Uint8Array, query: Uint8Array): boolean {
  return message.length >= 12 && message[0] === query[0] && message[1] === query[1] && ((message[2] ?? 0) & 0x80) !== 0;
}

/** @param begin begins, and returns how to let go of what it opened */
function settled(
  { clock, timeoutMs, signal }: ExchangeLimits,
  begin: (resolve: (bytes: Buffer) => void, reject: (error: Error) => void) => () => void,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(timeout());
    let letGo: (() => void) | undefined;
    let isOver = false;
    const finish = (settle: () => void): void => {
      if (isOver) return;
      isOver = true;
      timer.stop();
      signal.removeEventListener('abort', onAbort);
      letGo?.();
      settle();
    };
    const onAbort = (): void => finish(() => reject(timeout()));
    const timer = clock.startTimer(timeoutMs, onAbort);
    signal.addEventListener('abort', onAbort);
    letGo = begin(
      (bytes) => finish(() => resolve(bytes)),
      (error) => finish(() => reject(error)),
    );
  });
}

function timeout(): Error {
  return Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' });
}
