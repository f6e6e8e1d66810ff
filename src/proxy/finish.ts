/** Stage *finish*: lets go of what the request held and closes its accounts. Runs once for every request, however it ended. */
import { fieldValue } from '../http/header-fields.ts';
import type { AccessRecord } from './access-log.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';

export function finish(context: RequestContext, services: ProxyServices): void {
  const { metrics } = services;
  const { response } = context;
  context.answer?.reader.abort();
  const status = response.headersSent ? response.statusCode : undefined;
  metrics.add('laneRequests', 1, 'general');
  metrics.add('requests', 1, context.cacheResult);
  metrics.add('responses', 1, statusClass(status));
  context.route?.metrics.add('requests', 1, context.cacheResult);
  if (context.firstByteMs !== undefined) metrics.observe('firstByteSeconds', context.firstByteMs / 1000);
  // The response may still be on its way to the kernel; its fate is known when it closes.
  if (response.closed) close(context, services);
  else response.once('close', () => close(context, services));
}

function close(context: RequestContext, services: ProxyServices): void {
  const isComplete = context.response.writableFinished;
  if (!isComplete) services.metrics.add('aborted');
  // To a client of gRPC an error of ours has status 200.
  const status = Math.max(context.response.statusCode, context.error?.httpStatus ?? 0);
  if (!isComplete || status >= 500) context.route?.metrics.add('failures');
  context.route?.metrics.add('bodyBytes', context.sentBytes);
  context.exchange?.end({
    status: context.response.headersSent ? context.response.statusCode : undefined,
    sentBytes: context.sentBytes,
    cache: context.cacheResult,
    durationMs: services.clock.monotonicMs() - context.startedMs,
    isComplete,
    error: context.error?.code,
  });
  context.trail.span?.end({
    ...recordOf(context, services, isComplete),
    // A response that broke off is no success, whatever its head said.
    ...(isComplete || context.error?.source !== 'upstream' ? {} : { status: undefined }),
  });
  if (services.logsAccess) services.accessOutput.write(recordOf(context, services, isComplete));
}

function recordOf(context: RequestContext, services: ProxyServices, isComplete: boolean): AccessRecord {
  const { request, response, fields } = context;
  return {
    service: services.service.name,
    site: context.route?.site,
    clientAddress: context.clientAddress,
    method: context.method,
    path: context.path ?? request.url,
    query: context.query,
    range: fieldValue(fields, 'range'),
    status: response.headersSent ? response.statusCode : undefined,
    sentBytes: context.sentBytes,
    userAgent: fieldValue(fields, 'user-agent'),
    cacheResult: context.cacheResult,
    cacheStatus: context.cacheStatus,
    cachedBytes: context.cachedBytes,
    ruleName: context.rule?.name,
    middleware: context.exchange?.answeredBy,
    generation: context.resolution?.object.generation,
    firstByteMs: context.firstByteMs,
    durationMs: services.clock.monotonicMs() - context.startedMs,
    isComplete,
    requestId: context.requestId,
    traceparent: context.trail.span?.traceparent ?? fieldValue(fields, 'traceparent'),
    referer: fieldValue(fields, 'referer'),
    httpVersion: request.isHttp2 === true ? '2' : request.httpVersion,
    node: context.trail.node,
    askedCount: context.trail.askedCount,
    tunnel: context.tunnel,
    error: context.error,
  };
}

/** The label of a status. */
export function statusClass(status: number | undefined): '1xx' | '2xx' | '3xx' | '4xx' | '5xx' | 'none' {
  if (status === undefined) return 'none';
  if (status < 200) return '1xx';
  if (status < 300) return '2xx';
  if (status < 400) return '3xx';
  return status < 500 ? '4xx' : '5xx';
}
