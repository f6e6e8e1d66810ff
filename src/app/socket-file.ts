/**
 * The path of a Unix socket that a service listens on. It appears with its mode, complete, in the place of one that nobody listens on any more; and it is
 * removed at the end, unless another process listens on by then. The system would remove what it was bound to: so it is bound to another name,
 * and then gets its own. Used by listener-set.ts.
 */
import { chmodSync, lstatSync, renameSync, type Stats, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import type { SocketFile } from '../config/listen-address.ts';

/** How a place is made ready. @throws EdgeError LISTEN_FAILED where something else is there, or somebody listens */
export async function checkSocketFile({ path }: SocketFile): Promise<void> {
  const found = statOf(path);
  if (found === undefined) return;
  if (!found.isSocket())
    throw new EdgeError('LISTEN_FAILED', `Cannot listen on ${path}: it is there, and no socket; remove it, or choose another path`);
  if (await isAnswered(path))
    throw new EdgeError(
      'LISTEN_FAILED',
      `Cannot listen on ${path}: it is in use by another program; choose another path, or stop that program`,
    );
}

/** What a socket is bound to until it gets its name. */
export function temporaryPath({ path }: SocketFile): string {
  return `${path}.${process.pid}`;
}

/** A socket that listens under its own name. */
export class PlacedSocket {
  readonly #path: string;
  readonly #inode: number | undefined;

  private constructor(path: string) {
    this.#path = path;
    this.#inode = statOf(path)?.ino;
  }

  /** Gives a socket that listens under its temporary name its mode and its name. @throws EdgeError LISTEN_FAILED */
  static place(file: SocketFile): PlacedSocket {
    const temporary = temporaryPath(file);
    try {
      chmodSync(temporary, file.mode);
      renameSync(temporary, file.path);
    } catch (cause) {
      throw new EdgeError('LISTEN_FAILED', `Cannot listen on ${file.path} (${systemErrorCode(cause) ?? 'unknown'})`, { cause });
    }
    return new PlacedSocket(file.path);
  }

  /** One that was handed over, and has its name. */
  static inherit({ path }: SocketFile): PlacedSocket {
    return new PlacedSocket(path);
  }

  /** Who may connect from now on. */
  setMode(mode: number): void {
    if (statOf(this.#path)?.ino === this.#inode) chmodSync(this.#path, mode);
  }

  /** Removes the path, if it is still this socket's. */
  remove(): void {
    const found = statOf(this.#path);
    if (found !== undefined && found.ino === this.#inode) unlinkSync(this.#path);
  }
}

function statOf(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}

/** Whether somebody accepts connections there. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Refused: whoever listened is gone.
    socket.once('error', () => resolve(false));
  });
}
