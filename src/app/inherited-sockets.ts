/**
 * Listening sockets that another process has opened: systemd (socket activation, sd_listen_fds(3)), or the process that this one takes over
 * from. Each has a name, which says who is to listen on it. Used by `serve`.
 */
import { EdgeError } from '../base/errors.ts';

/** Listening sockets by name; a service may have several. */
export type SocketsByName = ReadonlyMap<string, readonly number[]>;

/** Descriptors of sockets that listen already. */
export interface InheritedSockets {
  /** From systemd: whatever addresses a service has are in them. */
  readonly byService: SocketsByName;
  /** From the process before: each is that of one address, by the key that listener-set.ts gives it. */
  readonly byAddress: ReadonlyMap<string, number>;
  readonly admin: number | undefined;
}

/** Nothing was inherited. */
export const NO_SOCKETS: InheritedSockets = { byService: new Map(), byAddress: new Map(), admin: undefined };

/** A listening socket to hand over, by the name that socketName() makes. */
export interface NamedSocket {
  readonly name: string;
  readonly fd: number;
}

/** What systemd calls the admin port's socket: `FileDescriptorName=admin`. */
const ADMIN_SOCKET = 'admin';
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
    if (Number(parent) === ppid) return { sockets: handedOver(Number(first), names), isHandover: true };
  }
  // Meant for another process, from which this one has the environment.
  if (LISTEN_FDS === undefined || Number(LISTEN_PID) !== pid) return { sockets: NO_SOCKETS, isHandover: false };
  const count = Number(LISTEN_FDS);
  if (!Number.isInteger(count) || count < 0 || count > SOCKETS_MAX)
    throw new EdgeError('LISTEN_FAILED', `LISTEN_FDS says ${JSON.stringify(LISTEN_FDS)}; there can be 0 to ${SOCKETS_MAX} sockets`);
  const names = LISTEN_FDNAMES.split(':');
  return {
    sockets: fromSystemd(Array.from({ length: count }, (_unused, place) => names[place] ?? '')),
    isHandover: false,
  };
}

/**
 * Hands each socket to a service by name; a name that is no service's means the only one, where there is only one.
 *
 * @throws EdgeError LISTEN_FAILED for a socket that nobody would listen on
 */
export function socketsOfServices(sockets: SocketsByName, services: readonly string[]): SocketsByName {
  const found = new Map<string, readonly number[]>();
  for (const [name, fds] of sockets) {
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

/** The name under which a socket is handed over: of a service, of an address, or the admin port's. */
export function socketName(kind: 'service' | 'address' | 'admin', name: string): string {
  return `${kind}/${encodeURIComponent(name)}`;
}

function handedOver(firstFd: number, names: readonly string[]): InheritedSockets {
  const byService = new Map<string, number[]>();
  const byAddress = new Map<string, number>();
  let admin: number | undefined;
  for (const [place, text] of names.entries()) {
    const [kind, encoded = ''] = text.split('/');
    const name = decodeURIComponent(encoded);
    const fd = firstFd + place;
    if (kind === 'admin') admin = fd;
    else if (kind === 'address') byAddress.set(name, fd);
    else byService.set(name, [...(byService.get(name) ?? []), fd]);
  }
  return { byService, byAddress, admin };
}

function fromSystemd(names: readonly string[]): InheritedSockets {
  const byService = new Map<string, number[]>();
  let admin: number | undefined;
  for (const [place, name] of names.entries()) {
    if (name === ADMIN_SOCKET) admin = FIRST_FD + place;
    else byService.set(name, [...(byService.get(name) ?? []), FIRST_FD + place]);
  }
  return { byService, byAddress: new Map(), admin };
}
