/** Side exit *fail*: an error becomes a short answer that names it, or, when the response has begun, an end that nobody can take for complete. */
import type { EdgeError } from '../base/errors.ts';
import { formatCacheStatus } from '../http/cache-status.ts';
import { grpcErrorFields, isGrpc } from '../http/grpc.ts';
import type { FieldList } from '../http/header-fields.ts';
import { appendVia } from '../http/via.ts';
import { commitHead } from './deliver.ts';
import { proxyStatusOf } from './proxy-error.ts';
import { endsConnection } from './refusal.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';

/** How long a client should wait where trying again can help. */
const RETRY_AFTER_SECONDS = 1;

/** Answers with the error. */
export function fail(context: RequestContext, services: ProxyServices, cause: EdgeError): void {
  // The request was refused meanwhile: whatever failed then, failed for that.
  const error = context.refusal ?? cause;
  context.error = error;
  if (error.code === 'INTERNAL') services.logger.error({ err: error, path: context.path }, 'request failed inside the program');
  const { response } = context;
  if (response.headersSent || (context.signal.aborted && context.refusal === undefined) || response.destroyed) {
    breakOff(context);
    return;
  }
  if (context.cacheResult === 'NONE' && error.source === 'upstream') context.cacheResult = 'MISS';
  if (context.request.isHttp2 === true && isGrpc(context.fields)) return failGrpc(context, services, error);
  const text = `${error.message}\n`;
  const isForwarded = error.source === 'upstream';
  context.cacheStatus = formatCacheStatus({
    forward: isForwarded ? (context.forward ?? (context.bypassReason === undefined ? 'miss' : 'bypass')) : undefined,
    detail: error.code,
  });
  const proxyStatus = proxyStatusOf(error);
  const fields: FieldList = [
    ['content-type', 'text/plain; charset=utf-8'],
    ['content-length', String(Buffer.byteLength(text))],
    ['cache-control', 'no-store'],
    ['via', appendVia(undefined, '1.1')],
    ['cache-status', context.cacheStatus],
    ...(proxyStatus === undefined ? [] : [['proxy-status', proxyStatus] as const]),
    ['x-cache', context.cacheResult],
    // RFC 9110 s15.5.6.
    ...(typeof error.context.allow === 'string' ? [['allow', error.context.allow] as const] : []),
    ...(error.httpStatus === 503 ? [['retry-after', String(RETRY_AFTER_SECONDS)] as const] : []),
  ];
  context.head = { status: error.httpStatus, fields };
  if (endsConnection(error)) response.shouldKeepAlive = false;
  commitHead(context, services);
  response.end(context.method === 'HEAD' ? undefined : text);
}

/** A client of gRPC looks for a status in a field, and takes any status of HTTP but 200 for a fault of the way. */
function failGrpc(context: RequestContext, services: ProxyServices, error: EdgeError): void {
  const proxyStatus = proxyStatusOf(error);
  const fields: FieldList = [
    ...grpcErrorFields(error.httpStatus, error.message),
    ['cache-control', 'no-store'],
    ['via', appendVia(undefined, '1.1')],
    ...(proxyStatus === undefined ? [] : [['proxy-status', proxyStatus] as const]),
  ];
  context.head = { status: 200, fields };
  commitHead(context, services);
  context.response.end();
}

/**
 * Ends a response that has begun so that nobody takes it for complete: Content-Length or the last chunk is missing (RFC 9112 s8). A client
 * of HTTP/1.0 that was told no length would take an orderly close for the end of the body, so its connection is reset.
 */
function breakOff({ response, head }: RequestContext): void {
  const isFramed = response.chunkedEncoding || head?.fields.some(([name]) => name === 'content-length') === true;
  if (!isFramed) response.socket?.resetAndDestroy();
  response.destroy();
}
