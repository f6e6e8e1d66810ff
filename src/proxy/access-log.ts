/** The access log: one line a request, written when the response has ended, by both lanes; as JSON with field names after OpenTelemetry's. */
import type { EdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { parseTraceParent } from '../http/trace-context.ts';
import type { CacheResult } from './proxy-metrics.ts';
import type { TunnelReport } from './tunnel-join.ts';

/** What a line says of one request. */
export interface AccessRecord {
  /** Name of the service. */
  readonly service: string;
  /** Undefined where no route takes the request. */
  readonly site: { readonly route: string; readonly group: string } | undefined;
  readonly clientAddress: string | undefined;
  readonly method: string;
  readonly path: string | undefined;
  readonly query: string | undefined;
  readonly range: string | undefined;
  /** Undefined when no head was sent. */
  readonly status: number | undefined;
  readonly sentBytes: number;
  readonly userAgent: string | undefined;
  readonly cacheResult: CacheResult;
  readonly cacheStatus: string | undefined;
  readonly cachedBytes: number;
  readonly ruleName: string | undefined;
  /** That answered instead of cache and origin. */
  readonly middleware?: string | undefined;
  readonly generation: number | undefined;
  readonly firstByteMs: number | undefined;
  readonly durationMs: number;
  readonly isComplete: boolean;
  readonly requestId: string | undefined;
  /** As received. */
  readonly traceparent: string | undefined;
  readonly referer: string | undefined;
  /** `1.0`, `1.1`, `2`. */
  readonly httpVersion: string;
  /** The last node that was asked on behalf of the request, and how many times one was. */
  readonly node: string | undefined;
  readonly askedCount: number;
  /** Only where the protocol was changed. */
  readonly tunnel?: TunnelReport | undefined;
  readonly error: EdgeError | undefined;
}

/** Takes the lines of requests. */
export interface AccessOutput {
  write(record: AccessRecord): void;
}

/** Writes the line of one request as JSON. */
export function writeAccessLine(record: AccessRecord, logger: Logger): void {
  const trace = parseTraceParent(record.traceparent);
  logger.info(
    {
      'http.request.id': record.requestId,
      trace_id: trace?.traceId,
      span_id: trace?.spanId,
      service: record.service,
      route: record.site?.route,
      group: record.site?.group,
      'client.address': record.clientAddress,
      'http.request.method': record.method,
      'url.path': record.path,
      'url.query': record.query,
      'http.request.range': record.range,
      'http.request.referer': record.referer,
      'network.protocol.version': record.httpVersion,
      'http.response.status_code': record.status,
      'http.response.body.size': record.sentBytes,
      'user_agent.original': record.userAgent,
      'upstream.node': record.node,
      'upstream.requests': record.askedCount === 0 ? undefined : record.askedCount,
      'cache.result': record.cacheResult,
      'cache.status': record.cacheStatus,
      'cache.bytes': record.cachedBytes,
      'cache.rule': record.ruleName,
      middleware: record.middleware,
      'cache.generation': record.generation,
      ttfb_ms: round(record.firstByteMs),
      duration_ms: round(record.durationMs),
      'tunnel.protocol': record.tunnel?.protocol,
      'tunnel.received_bytes': record.tunnel?.receivedBytes,
      'tunnel.end': record.tunnel?.end,
      aborted: record.isComplete ? undefined : true,
      error: record.error?.code,
      'error.message': record.error?.message,
    },
    'request',
  );
}

function round(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : Math.round(milliseconds * 1000) / 1000;
}
