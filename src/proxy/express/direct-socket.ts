/**
 * A socket of a server whose bytes are read into one buffer that all of them share, and handed over by a plain call: no buffer, no object and no
 * event of a stream for each read. Node has that for sockets of clients (`onread`); the server makes its own before anybody can ask for it.
 * So its connection is put into a second socket, by the option `handle`, which net.Socket has for its own use, as _handle and _server are
 * its own. Where they are missing, the server's socket stays what it is, and its stream is read.
 *
 * Whoever has no listener here has an ordinary stream: what is read is copied and pushed. So node:http may have the socket afterwards.
 */
import { type OnReadOpts, type Server, Socket, type SocketConstructorOpts } from 'node:net';

/** Takes what was received: the first `length` bytes, which are overwritten when it has returned. */
export type BytesListener = (bytes: Buffer, length: number) => void;

/** What a connection is to net.Socket. */
interface ConnectionHandle {
  useUserBuffer(buffer: Uint8Array): void;
}

/** What net.Socket has for its own use. */
interface SocketInsides {
  _handle?: Partial<ConnectionHandle> | null;
  _server?: Server | null;
  server?: Server | null;
}

/** See the file's head. */
export class DirectSocket extends Socket {
  /** Gets what comes, instead of the stream. */
  onBytes: BytesListener | undefined;

  private constructor(options: { readonly handle: unknown; readonly allowHalfOpen: boolean; readonly onread: OnReadOpts }) {
    // What is told of `handle` are others than those of connections.
    super({ ...options, noDelay: true } as SocketConstructorOpts);
  }

  /**
   * Puts a connection that was accepted just now into a socket of this kind. The one that the server made is nobody's afterwards.
   *
   * @param buffer everybody's
   * @returns `accepted` where Node does not have what it takes
   */
  static adopt(accepted: Socket, buffer: Buffer): Socket {
    const insides: SocketInsides = accepted;
    const { _handle: handle, _server: server } = insides;
    if (handle?.useUserBuffer === undefined || server === undefined || server === null) return accepted;
    const onread = { buffer, callback: (length: number): boolean => direct.#take(buffer, length) };
    const direct = new DirectSocket({ handle, allowHalfOpen: accepted.allowHalfOpen, onread });
    insides._handle = null;
    insides._server = null;
    // It counts its connections by this.
    Object.assign(direct, { _server: server, server } satisfies SocketInsides);
    return direct;
  }

  /** @returns whether to go on reading */
  #take(buffer: Buffer, length: number): boolean {
    if (this.onBytes === undefined) return this.push(Buffer.from(buffer.subarray(0, length)));
    this.onBytes(buffer, length);
    return true;
  }
}
