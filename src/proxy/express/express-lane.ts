/**
 * The express lane: plain hits are answered from the raw socket, without node:http's objects. Every connection begins here; the first request
 * that is not understood completely, or that the cache cannot answer at once, takes the connection with all its bytes to node:http, for good.
 * What node:http would do for its connections is done here: deadlines for heads, idle connections, the end of them at the drain.
 */
import type { Socket } from 'node:net';
import type { Timer } from '../../base/clock.ts';
import { KIB } from '../../base/units.ts';
import type { RefusalKind } from '../refusal.ts';
import { REQUEST_ID_CHARACTERS, REQUEST_ID_FIELD } from '../request-id.ts';
import type { ProxyServices } from '../services.ts';
import type { LaneTables } from './hit-finder.ts';
import { KnownFields } from './known-fields.ts';
import { LaneConnection, type LaneShare } from './lane-connection.ts';
import type { ConnectionTails } from './stored-head.ts';
import { TargetTable } from './target-table.ts';

/** A longer head is for node:http; browsers send a tenth of it. */
const HEAD_BYTES_MAX = 8 * KIB;

/** What a lane is built from. */
export interface ExpressLaneOptions {
  readonly services: ProxyServices;
  /** Whether connections may begin and go on here. */
  readonly isOpen: boolean;
  readonly headerBytesMax: number;
  readonly headerTimeoutMs: number;
  /** How long an idle connection is kept, as node:http is told to. */
  readonly keepAliveMs: number;
  /** How often deadlines are looked at. */
  readonly checkMs: number;
  readonly toGeneral: (socket: Socket) => void;
  readonly refuse: (kind: RefusalKind, socket: Socket) => void;
}

/** The lane of one listener. */
export class ExpressLane {
  #share: LaneShare;
  readonly #tails: Omit<ConnectionTails, 'idField'>;
  readonly #connections = new Set<LaneConnection>();
  readonly #timer: Timer;
  readonly #lifecycle: { isClosing: boolean; isOpen: boolean };

  constructor(options: ExpressLaneOptions) {
    const { services, headerBytesMax, keepAliveMs, checkMs } = options;
    const keepAlive = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveMs / 1000)}\r\n\r\n`;
    this.#tails = { keepAlive, close: 'Connection: close\r\n\r\n' };
    this.#lifecycle = { isClosing: false, isOpen: options.isOpen };
    this.#share = {
      ...options,
      tables: this.#newTables(services),
      known: new KnownFields(),
      // node:http counts a little less than all bytes of a head, so what is accepted here would be there.
      headBytesMax: Math.min(HEAD_BYTES_MAX, headerBytesMax - 1),
      lifecycle: this.#lifecycle,
      onGone: (connection) => this.#connections.delete(connection),
    };
    this.#timer = services.clock.startInterval(checkMs, () => {
      const nowMs = services.clock.monotonicMs();
      for (const connection of this.#connections) connection.check(nowMs);
    });
  }

  /** Requests that come from now on are answered with these; what was known of targets is found anew. */
  use(services: ProxyServices, { headerTimeoutMs, isOpen }: Pick<ExpressLaneOptions, 'headerTimeoutMs' | 'isOpen'>): void {
    this.#lifecycle.isOpen = isOpen;
    this.#share = { ...this.#share, services, headerTimeoutMs, tables: this.#newTables(services) };
    for (const connection of this.#connections) connection.use(this.#share);
  }

  #newTables(services: ProxyServices): LaneTables {
    const idField = services.requestIdAudience === 'client' ? `${REQUEST_ID_FIELD}: ${'0'.repeat(REQUEST_ID_CHARACTERS)}` : '';
    const tails = { ...this.#tails, idField: idField === '' ? '' : `${idField}\r\n` };
    return { get: new TargetTable(services, 'GET', tails), head: new TargetTable(services, 'HEAD', tails) };
  }

  /** Whether it takes connections. */
  get isOpen(): boolean {
    return this.#lifecycle.isOpen;
  }

  /** Takes a connection over. */
  accept(socket: Socket): void {
    this.#connections.add(new LaneConnection(socket, this.#share));
  }

  /** From now on connections end with their next response. */
  beginClosing(): void {
    this.#lifecycle.isClosing = true;
  }

  /** Ends connections on which nothing is going on. */
  closeIdle(): void {
    for (const connection of this.#connections) if (connection.isIdle) connection.destroy();
  }

  /** Ends what is left. */
  close(): void {
    this.#timer.stop();
    for (const connection of this.#connections) connection.destroy();
  }
}
