/** Used where listening sockets are handed to another process. */
import type { Server } from 'node:net';

/** The descriptor of a socket that listens. Node has no other way to tell. */
export function listeningFd(server: Server): number | undefined {
  const handle = (server as Server & { readonly _handle?: { readonly fd?: number } | null })._handle;
  return handle?.fd === undefined || handle.fd < 0 ? undefined : handle.fd;
}
