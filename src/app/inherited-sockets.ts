/**
 * Listening sockets that another process has opened: systemd (socket activation, sd_listen_fds(3)), or the process that this one takes over
 * from. Each has a name, which says who is to listen on it. Used by `serve`.
 */
import { EdgeError } from '../base/errors.ts';

/** Names of listening sockets to their descriptors; a service may have several. */
export type InheritedSockets = ReadonlyMap<string, readonly number[]>;

/** What systemd calls the admin port's socket: `FileDescriptorName=admin`. */
export const ADMIN_SOCKET = 'admin';
/** sd_listen_fds(3): the first one. */
const FIRST_FD = 3;
/** Set for a successor: the process that it takes over from, its first descriptor, and a name for each of them. */
export const HANDOVER_VARIABLE = 'RAWSLICE_HANDOVER';
/** More than anybody has addresses. */
const SOCKETS_MAX = 64;

/** Where sockets come from. */
export interface Inheritance {
  readonly sockets: InheritedSockets;
  /** This process takes over from its parent, which serves until it is told that this one does. */
  readonly isHandover: boolean;
}

/**
 * Reads what was inherited, and takes the variables out of `environment`, so that no child takes the sockets for its own.
 *
 * @param process ids of this process and its parent
 * @throws EdgeError LISTEN_FAILED for variables that are addressed to this process and make no sense
 */
export function takeInheritance(
  environment: NodeJS.ProcessEnv,
  { pid, ppid }: { readonly pid: number; readonly ppid: number },
): Inheritance {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '', [HANDOVER_VARIABLE]: handover } = environment;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', HANDOVER_VARIABLE]) delete environment[name];
  if (handover !== undefined) {
    const [parent, first, ...names] = handover.split(':');
    if (Number(parent) === ppid) return { sockets: named(Number(first), names), isHandover: true };
  }
  // Meant for another process, from which this one has the environment.
  if (LISTEN_FDS === undefined || Number(LISTEN_PID) !== pid) return { sockets: new Map(), isHandover: false };
  const count = Number(LISTEN_FDS);
  if (!Number.isInteger(count) || count < 0 || count > SOCKETS_MAX)
    throw new EdgeError('LISTEN_FAILED', `LISTEN_FDS says ${JSON.stringify(LISTEN_FDS)}; there can be 0 to ${SOCKETS_MAX} sockets`);
  const names = LISTEN_FDNAMES.split(':');
  return {
    sockets: named(
      FIRST_FD,
      Array.from({ length: count }, (_unused, place) => names[place] ?? ''),
    ),
    isHandover: false,
  };
}

/**
 * Hands each socket to a service by name; a name that is no service's means the only one, where there is only one.
 *
 * @throws EdgeError LISTEN_FAILED for a socket that nobody would listen on
 */
export function socketsOfServices(sockets: InheritedSockets, services: readonly string[]): InheritedSockets {
  const found = new Map<string, readonly number[]>();
  for (const [name, fds] of sockets) {
    if (name === ADMIN_SOCKET) continue;
    const service = services.includes(name) ? name : services.length === 1 ? services[0] : undefined;
    if (service === undefined) {
      const known = [...services, ADMIN_SOCKET].join(', ');
      throw new EdgeError(
        'LISTEN_FAILED',
        `No service is called ${JSON.stringify(name)} like a socket that was inherited; there are ${known}`,
      );
    }
    found.set(service, [...(found.get(service) ?? []), ...fds]);
  }
  return found;
}

function named(firstFd: number, names: readonly string[]): InheritedSockets {
  const sockets = new Map<string, number[]>();
  for (const [place, name] of names.entries()) sockets.set(name, [...(sockets.get(name) ?? []), firstFd + place]);
  return sockets;
}
