/** The access log: one JSON line a request, field names after OpenTelemetry's, written when the response has ended. Both lanes write it. */
import type { EdgeError } from '../base/errors.ts';
import type { CacheResult } from './proxy-metrics.ts';
import type { TunnelReport } from './request-context.ts';
import type { ProxyServices, Site } from './services.ts';

/** What a line says of one request. */
export interface AccessRecord {
  /** Name of the service. */
  readonly service: string;
  /** Undefined where no route takes the request. */
  readonly site: Pick<Site, 'route' | 'group'> | undefined;
  readonly clientAddress: string | undefined;
  /** Of HTTP: `1.1`, `2`. */
  readonly protocolVersion: string;
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
  /** Only where the protocol was changed. */
  readonly tunnel?: TunnelReport | undefined;
  readonly error: EdgeError | undefined;
}

/** Writes the line of one request. */
export function writeAccessLine(record: AccessRecord, services: Pick<ProxyServices, 'logger'>): void {
  services.logger.info(
    {
      service: record.service,
      route: record.site?.route,
      group: record.site?.group,
      'client.address': record.clientAddress,
      'network.protocol.version': record.protocolVersion,
      'http.request.method': record.method,
      'url.path': record.path,
      'url.query': record.query,
      'http.request.range': record.range,
      'http.response.status_code': record.status,
      'http.response.body.size': record.sentBytes,
      'user_agent.original': record.userAgent,
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
