/**
 * Active checks of one node: every so often a connection, or a request whose answer has to have the right status and text, apart from the requests of clients.
 * What a check says goes to node-health.ts. Owned by upstream-node.ts.
 */
import { connect } from 'node:net';
import type { Clock, Timer } from '../base/clock.ts';
import { MetricSet } from '../base/metrics.ts';
import { KIB } from '../base/units.ts';
import { OriginTransport } from './origin-transport.ts';
import type { TransportOptions } from './transport-options.ts';
import { UPSTREAM_METRICS } from './upstream-metrics.ts';
import type { BodySink, UpstreamHead } from './upstream-transport.ts';

/** How a node is checked. */
export interface CheckOptions {
  readonly kind: 'tcp' | 'http';
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Checks in a row after which a node that is down is up again, and one that is up is down. */
  readonly rise: number;
  readonly fall: number;
  /** Of the request; path and query. */
  readonly path: string;
  /** Host of the request; undefined: the node's own. */
  readonly host: string | undefined;
  /** Inclusive. */
  readonly statuses: readonly { readonly first: number; readonly last: number }[];
  /** Text that the beginning of the answer has to contain; undefined: whatever. */
  readonly body: string | undefined;
}

/** How much of an answer is looked at. */
const BODY_BYTES_MAX = 64 * KIB;

/** Checks one node until it is stopped. */
export class HealthCheck {
  readonly #options: CheckOptions;
  readonly #origin: URL;
  readonly #clock: Clock;
  readonly #onResult: (fault: string | undefined) => void;
  /** Of its own, so that checks wait for no client and count as none. */
  readonly #transport: OriginTransport;
  #timer: Timer | undefined;
  #isChecking = false;

  /** @param onResult undefined: it passed */
  constructor(options: CheckOptions, transport: Omit<TransportOptions, 'onOutcome'>, onResult: (fault: string | undefined) => void) {
    this.#options = options;
    this.#origin = new URL(transport.origin);
    this.#clock = transport.clock;
    this.#onResult = onResult;
    const { timeoutMs } = options;
    const times = { connectTimeoutMs: timeoutMs, headTimeoutMs: timeoutMs, bodyTimeoutMs: timeoutMs };
    this.#transport = new OriginTransport({ ...transport, ...times, connectionsMax: 1, metrics: new MetricSet(UPSTREAM_METRICS) });
  }

  /** Begins, with a check at once; harmless when it has begun. */
  start(): void {
    if (this.#timer !== undefined) return;
    this.#timer = this.#clock.startInterval(this.#options.intervalMs, () => void this.#check());
    void this.#check();
  }

  async stop(): Promise<void> {
    this.#timer?.stop();
    await this.#transport.close();
  }

  async #check(): Promise<void> {
    // One that has not ended by the next is over soon, by its own time.
    if (this.#isChecking) return;
    this.#isChecking = true;
    const fault = await (this.#options.kind === 'tcp' ? this.#checkConnection() : this.#checkAnswer());
    this.#isChecking = false;
    this.#onResult(fault);
  }

  #checkConnection(): Promise<string | undefined> {
    const { hostname, port, protocol } = this.#origin;
    const host = hostname.replace(/^\[|\]$/g, '');
    return new Promise((resolve) => {
      const socket = connect({ host, port: Number(port || (protocol === 'https:' ? 443 : 80)) });
      const timer = this.#clock.startTimer(this.#options.timeoutMs, () => finish('no connection in time'));
      const finish = (fault: string | undefined): void => {
        timer.stop();
        socket.destroy();
        resolve(fault);
      };
      socket.once('connect', () => finish(undefined));
      socket.once('error', (error) => finish(error.message));
    });
  }

  #checkAnswer(): Promise<string | undefined> {
    const { path, host = this.#origin.host, timeoutMs } = this.#options;
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      const finish = (fault: string | undefined): void => {
        timer?.stop();
        resolve(fault);
      };
      const transfer = this.#transport.start(
        {
          method: 'GET',
          path,
          fields: [
            ['host', host],
            ['user-agent', 'rawslice-check'],
          ],
        },
        { onFailure: (error) => finish(error.message), onHead: (head) => this.#judge(head, finish) },
      );
      // An answer that drips has its own limits, which are not of the whole.
      timer = this.#clock.startTimer(timeoutMs, () => {
        transfer.abort();
        finish('no answer in time');
      });
    });
  }

  #judge({ status }: UpstreamHead, finish: (fault: string | undefined) => void): BodySink {
    const { statuses, body } = this.#options;
    const isRight = statuses.some(({ first, last }) => status >= first && status <= last);
    if (!isRight) finish(`status ${status}`);
    else if (body === undefined) finish(undefined);
    const room = new Uint8Array(4 * KIB);
    let text = '';
    const search = (isOver: boolean): void => {
      if (body !== undefined && text.includes(body)) finish(undefined);
      else if (isOver || text.length >= BODY_BYTES_MAX) finish('the answer does not contain what it should');
    };
    return {
      room: () => room,
      onBytes: (count) => {
        if (text.length < BODY_BYTES_MAX) text += Buffer.from(room.subarray(0, count)).toString('latin1');
        search(false);
      },
      onEnd: () => search(true),
      onError: (error) => finish(error.message),
    };
  }
}
