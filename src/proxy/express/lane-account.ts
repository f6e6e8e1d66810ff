/** The accounts of requests that the express lane answered: the same counts and the same line in the log as stage *finish* keeps of the others. */
import type { EdgeError } from '../../base/errors.ts';
import type { HistogramCell } from '../../base/metrics.ts';
import { statusClass } from '../finish.ts';
import type { ProxyServices } from '../services.ts';
import type { RequestSpan } from '../tracing.ts';
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
  #referer: string | undefined;
  #traceparent: string | undefined;
  /** Made when the head is, where clients are told, else when the line is written. */
  requestId: string | undefined;

  #span: RequestSpan | undefined;
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
    if (!this.#services.keepsAccounts) return;
    this.#span = this.#services.tracing?.begin({
      method: request.isHead ? 'HEAD' : 'GET',
      target: request.target,
      isSecure: false,
      clientAddress: this.clientAddress,
      httpVersion: '1.1',
      fields: [['host', request.host], ...(request.traceparent === undefined ? [] : [['traceparent', request.traceparent] as const])],
    });
    this.#generation = hit.heads?.manifest.generation ?? 0;
    this.#cacheStatus = hit.heads?.cacheStatusAt(times.nowMs) ?? '';
    this.#isHead = request.isHead;
    this.#range = request.range;
    this.#userAgent = request.userAgent;
    this.#referer = request.referer;
    this.#traceparent = request.traceparent;
  }

  /** Its head is on its way. @param nowMs monotonic */
  noteFirstByte(nowMs: number): void {
    const { metrics } = this.#services;
    const cells = this.#cells;
    this.firstByteMs = nowMs - this.startedMs;
    metrics.addAt(cells.laneRequests, 1);
    metrics.addAt(cells.hits, 1);
    if (this.#status < 300) metrics.addAt(cells.successes, 1);
    else metrics.add('responses', 1, statusClass(this.#status));
    const target = this.#target;
    target?.route.metrics.addAt(target.cells.hits, 1);
    metrics.observeAt(cells.firstByte, this.firstByteMs / 1000);
  }

  /** What is in memory is sent in one write. */
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
    const { load, metrics, keepsAccounts } = this.#services;
    const target = this.#target;
    load.requests -= 1;
    if (error !== undefined) {
      metrics.add('aborted');
      target?.route.metrics.add('failures');
    }
    target?.route.metrics.addAt(target.cells.bodyBytes, this.sentBytes);
    if (keepsAccounts) this.#tell(error);
  }

  /** It has not begun, and somebody else answers. */
  withdraw(): void {
    this.#services.load.requests -= 1;
  }

  #tell(error: EdgeError | undefined): void {
    const target = this.#target;
    const { requestIds, requestIdAudience, logsAccess, accessOutput } = this.#services;
    const record = {
      service: this.#services.service.name,
      site: target?.route.site,
      clientAddress: this.clientAddress,
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
      requestId: this.requestId ?? (requestIdAudience === 'off' ? undefined : requestIds.next()),
      traceparent: this.#span?.traceparent ?? this.#traceparent,
      referer: this.#referer,
      httpVersion: '1.1',
      node: undefined,
      askedCount: 0,
      error,
    } as const;
    if (logsAccess) accessOutput.write(record);
    this.#span?.end(record);
  }
}

/** Counters of every hit, found once for each connection. */
interface Cells {
  readonly laneRequests: number;
  readonly hits: number;
  readonly successes: number;
  readonly firstByte: HistogramCell;
  readonly ramBytes: number;
  readonly copiedWrites: number;
}

function cellsOf(metrics: ProxyServices['metrics']): Cells {
  return {
    laneRequests: metrics.cell('laneRequests', 'express'),
    hits: metrics.cell('requests', 'HIT'),
    successes: metrics.cell('responses', '2xx'),
    firstByte: metrics.histogramCell('firstByteSeconds'),
    ramBytes: metrics.cell('bodyBytes', 'ram'),
    copiedWrites: metrics.cell('copiedWrites'),
  };
}
