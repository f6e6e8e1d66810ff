/** The access log: one JSON line a request, field names after OpenTelemetry's, written when the response has ended. */
import { fieldValue } from '../http/header-fields.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';

/** Writes the line of one request. */
export function writeAccessLine(context: RequestContext, services: ProxyServices, isComplete: boolean): void {
  const { request, response, resolution } = context;
  services.logger.info(
    {
      service: services.service.name,
      route: context.route?.site.route,
      group: context.route?.site.group,
      'client.address': context.clientAddress,
      'http.request.method': context.method,
      'url.path': context.path ?? request.url,
      'url.query': context.query,
      'http.request.range': fieldValue(context.fields, 'range'),
      'http.response.status_code': response.headersSent ? response.statusCode : undefined,
      'http.response.body.size': context.sentBytes,
      'user_agent.original': fieldValue(context.fields, 'user-agent'),
      'cache.result': context.cacheResult,
      'cache.status': context.cacheStatus,
      'cache.bytes': context.cachedBytes,
      'cache.rule': context.rule?.name,
      'cache.generation': resolution?.object.generation,
      ttfb_ms: round(context.firstByteMs),
      duration_ms: round(services.clock.monotonicMs() - context.startedMs),
      aborted: isComplete ? undefined : true,
      error: context.error?.code,
      'error.message': context.error?.message,
    },
    'request',
  );
}

function round(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : Math.round(milliseconds * 1000) / 1000;
}
