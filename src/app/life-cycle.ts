/**
 * The life of the serving process after its start: what it says to the service manager, how it takes over from the process before it, and
 * how it ends: by a signal to stop, or by handing over to the next process (SIGUSR2). Used by `serve`.
 */
import type { Clock } from '../base/clock.ts';
import { toEdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Edge } from './edge.ts';
import { ServiceManager } from './service-manager.ts';
import { Predecessor, Successor } from './successor.ts';

/** What a life needs from outside. */
export interface LifeOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** It takes over from its parent, which holds the devices. */
  readonly isHandover: boolean;
  /** Calls back once, when the process is to stop. */
  readonly watchStop: (stop: (signal: NodeJS.Signals) => void) => void;
}

/** For the next process to load itself, read the configuration and listen. */
const SUCCESSOR_DEADLINE_MS = 60_000;
/** Kept-alive connections are answered for so long by a process that hands over; longer than busy clients pause. */
const IDLE_GRACE_MS = 1500;
const HAND_OVER = 'SIGUSR2';

/** Serves until it is told to stop, or has handed over. */
export async function serveUntilTold(edge: Edge, options: LifeOptions): Promise<void> {
  const { clock, logger, environment } = options;
  const stopped = new Promise<NodeJS.Signals>((resolve) => options.watchStop(resolve));
  const orders = new HandOverOrders();
  const manager = new ServiceManager({ environment, pid: process.pid, clock, logger });
  // Whoever takes over in turn waits for devices that this process has, or never will have.
  const settled = options.isHandover ? takeOver(edge, logger) : Promise.resolve();
  await manager.ready('serving');
  let successor: Successor | undefined;
  while (successor === undefined) {
    const signal = await Promise.race([stopped, orders.next()]);
    if (signal !== HAND_OVER) return stop(edge, manager, logger, signal);
    await Promise.race([settled, stopped]);
    successor = await tryStartSuccessor(edge, options);
  }
  manager.resign();
  logger.info({ pid: successor.pid }, 'another process serves from now on; finishing what is in progress');
  await edge.close(IDLE_GRACE_MS);
  await successor.release();
  logger.info('stopped');
}

async function stop(edge: Edge, manager: ServiceManager, logger: Logger, signal: NodeJS.Signals): Promise<void> {
  logger.info({ signal }, 'stopping');
  await manager.stopping();
  await edge.close();
  logger.info('stopped');
}

function takeOver(edge: Edge, logger: Logger): Promise<void> {
  const predecessor = new Predecessor();
  predecessor.announceReady();
  return predecessor.released
    .then(() => edge.openDevices())
    .then(
      () => logger.info({ store: edge.store.state }, 'took over the devices'),
      (cause) =>
        logger.error({ err: toEdgeError(cause) }, 'The devices cannot be taken over; everything comes from the origin until a restart'),
    );
}

async function tryStartSuccessor(edge: Edge, { clock, environment, logger }: LifeOptions): Promise<Successor | undefined> {
  try {
    return await Successor.start(edge.sockets, { clock, environment, deadlineMs: SUCCESSOR_DEADLINE_MS });
  } catch (cause) {
    logger.error({ err: toEdgeError(cause) }, 'could not hand over');
    return undefined;
  }
}

/** SIGUSR2, as often as it comes; several that come while one is carried out are one. */
class HandOverOrders {
  #isPending = false;
  #wake: (() => void) | undefined;

  constructor() {
    process.on(HAND_OVER, () => {
      this.#isPending = true;
      this.#wake?.();
    });
  }

  async next(): Promise<typeof HAND_OVER> {
    if (!this.#isPending)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    this.#isPending = false;
    return HAND_OVER;
  }
}
