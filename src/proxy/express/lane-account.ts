/** The accounts of requests that the express lane answered: the same counts and the same line in the log as stage *finish* keeps of the others. */
import type { EdgeError } from '../../base/errors.ts';
import { writeAccessLine } from '../access-log.ts';
import { statusClass } from '../finish.ts';
import type { ProxyServices } from '../services.ts';
import type { HeadParser } from './head-parser.ts';
import type { HitFinder } from './hit-finder.ts';
import type { LaneTarget } from './target-table.ts';

/** What has to be known of a request when its response has ended. One record serves one response after the other. */
export class LaneAccount {
  readonly #services: ProxyServices;
  clientAddress: string | undefined;
  startedMs = 0;
  firstByteMs: number | undefined;
  sentBytes = 0;
  cachedBytes = 0;
  #target: LaneTarget | undefined;
  #generation = 0;
  #status = 0;
  #cacheStatus = '';
  #isHead = false;
  #range: string | undefined;
  #userAgent: string | undefined;

  readonly #cells: Cells;

  constructor(services: ProxyServices) {
    this.#services = services;
    this.#cells = cellsOf(services.metrics);
  }

  /** A response begins. @param nowMs of the wall, @param startedMs when its request was there */
  open(request: HeadParser, hit: HitFinder, times: { readonly nowMs: number; readonly startedMs: number }): void {
    this.startedMs = times.startedMs;
    this.firstByteMs = undefined;
    this.sentBytes = 0;
    this.cachedBytes = 0;
    this.#status = hit.head?.status ?? 0;
    this.#target = hit.target;
    this.#services.load.requests += 1;
    if (!this.#services.logsAccess) return;
    this.#generation = hit.heads?.manifest.generation ?? 0;
    this.#cacheStatus = hit.heads?.cacheStatusAt(times.nowMs) ?? '';
    this.#isHead = request.isHead;
    this.#range = request.range;
    this.#userAgent = request.userAgent;
  }

  /** Its head is on its way. */
  noteFirstByte(): void {
    const { clock, metrics } = this.#services;
    this.firstByteMs = clock.monotonicMs() - this.startedMs;
    metrics.addAt(this.#cells.laneRequests, 1);
    metrics.addAt(this.#cells.hits, 1);
    if (this.#status < 300) metrics.addAt(this.#cells.successes, 1);
    else metrics.add('responses', 1, statusClass(this.#status));
    this.#target?.route.metrics.add('requests', 1, 'HIT');
    metrics.observe('firstByteSeconds', this.firstByteMs / 1000);
  }

  /** A slice in memory is sent in one write. */
  noteResident(bytes: number): void {
    this.sentBytes = bytes;
    this.cachedBytes = bytes;
    this.#services.metrics.addAt(this.#cells.ramBytes, bytes);
  }

  /** It goes through a private buffer. */
  noteCopy(): void {
    this.#services.metrics.addAt(this.#cells.copiedWrites, 1);
  }

  /** It has ended. @param error why it did before its end */
  close(error: EdgeError | undefined): void {
    const { load, metrics, logsAccess } = this.#services;
    load.requests -= 1;
    if (error !== undefined) {
      metrics.add('aborted');
      this.#target?.route.metrics.add('failures');
    }
    this.#target?.route.metrics.add('bodyBytes', this.sentBytes);
    if (logsAccess) this.#log(error);
  }

  /** It has not begun, and somebody else answers. */
  withdraw(): void {
    this.#services.load.requests -= 1;
  }

  #log(error: EdgeError | undefined): void {
    const target = this.#target;
    const record = {
      service: this.#services.service.name,
      site: target?.route.site,
      clientAddress: this.clientAddress,
      protocolVersion: '1.1',
      method: this.#isHead ? 'HEAD' : 'GET',
      path: target?.path,
      query: target?.query,
      range: this.#range,
      status: this.#status,
      sentBytes: this.sentBytes,
      userAgent: this.#userAgent,
      cacheResult: 'HIT',
      cacheStatus: this.#cacheStatus,
      cachedBytes: this.cachedBytes,
      ruleName: target?.rule.name,
      generation: this.#generation,
      firstByteMs: this.firstByteMs,
      durationMs: this.#services.clock.monotonicMs() - this.startedMs,
      isComplete: error === undefined,
      error,
    } as const;
    writeAccessLine(record, this.#services);
  }
}

/** Counters of every hit, found once for each connection. */
interface Cells {
  readonly laneRequests: number;
  readonly hits: number;
  readonly successes: number;
  readonly ramBytes: number;
  readonly copiedWrites: number;
}

function cellsOf(metrics: ProxyServices['metrics']): Cells {
  return {
    laneRequests: metrics.cell('laneRequests', 'express'),
    hits: metrics.cell('requests', 'HIT'),
    successes: metrics.cell('responses', '2xx'),
    ramBytes: metrics.cell('bodyBytes', 'ram'),
    copiedWrites: metrics.cell('copiedWrites'),
  };
}
