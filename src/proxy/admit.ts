/** Stage *admit*: what a request must be before anything is done for it: limits, framing, methods, loops. */
import { EdgeError } from '../base/errors.ts';
import { judgeFraming } from '../http/framing.ts';
import { fieldLines, fieldValue } from '../http/header-fields.ts';
import { countCdnLoop } from '../http/via.ts';
import { refusal } from './refusal.ts';
import type { RequestContext, RequestFault } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';
import { forwardsLeft } from './upstream-request.ts';

/** Methods that make no sense through a cache: a tunnel, and an echo of what may be secret (RFC 9110 s9.3.6, s9.3.8). */
const REFUSED_METHODS = new Set(['CONNECT', 'TRACE']);
/** What an OPTIONS that is for this proxy itself is told; the origin may know more, or less. */
const PASSED_METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';
/** Fields of one request; browsers send about 20, Apache takes 100. */
const FIELDS_MAX = 256;

export function admit(context: RequestContext, services: ProxyServices): StageOutcome {
  if (services.load.requests > services.limits.requestsMax) {
    services.metrics.add('rejected');
    return { kind: 'fail', error: new EdgeError('SERVER_BUSY') };
  }
  const fault = findFault(context, services.loopId);
  if (fault !== undefined) return { kind: 'fail', error: refusal(services, fault.kind, fault.message) };
  // RFC 9110 s7.6.2, s9.3.7: the client asks this proxy, and nobody behind it; to the origin `*` would have to go as some path.
  const isAboutServer = context.method === 'OPTIONS' && context.request.url === '*';
  if (isAboutServer || forwardsLeft(context) === 0) return { kind: 'reply', reply: { status: 204, fields: [['allow', PASSED_METHODS]] } };
  return NEXT;
}

function findFault({ request, method, fields, fault }: RequestContext, loopId: string): RequestFault | undefined {
  if (fault !== undefined) return fault;
  // node:http parses a request line of HTTP/2.0 too (RFC 9110 s15.6.6).
  if (request.httpVersionMajor !== 1 && request.isHttp2 !== true) return { kind: 'version' };
  if (fields.length > FIELDS_MAX) return { kind: 'field-count' };
  const framing = judgeFraming(fields, request.httpVersion);
  if (framing.kind !== 'ok')
    return { kind: framing.kind === 'coding' ? 'coding' : 'framing', message: `The request cannot be framed: ${framing.why}` };
  const hosts = fieldLines(fields, 'host').length;
  if (hosts > 1) return { kind: 'host', message: 'The request has more than one Host field' };
  // RFC 9112 s3.2; HTTP/1.0 knows no Host.
  if (hosts === 0 && request.httpVersion !== '1.0') return { kind: 'host', message: 'The request has no Host field' };
  if (REFUSED_METHODS.has(method)) return { kind: 'method', message: `The method ${method} is not supported by this proxy` };
  // RFC 9110 s10.1.1; HTTP/1.0 knows no expectations.
  const expectation = request.httpVersion === '1.0' ? undefined : fieldValue(fields, 'expect');
  if (expectation !== undefined && expectation.toLowerCase() !== '100-continue') return { kind: 'expectation' };
  if (countCdnLoop(fieldValue(fields, 'cdn-loop'), loopId) > 0) return { kind: 'loop' };
  return undefined;
}
