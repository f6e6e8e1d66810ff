/** Stage *admit*: methods, limits, loops. */
import { EdgeError } from '../base/errors.ts';
import { fieldLines, fieldValue } from '../http/header-fields.ts';
import { countCdnLoop } from '../http/via.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

/** Methods that make no sense through a cache: a tunnel, and an echo of what may be secret (RFC 9110 s9.3.6, s9.3.8). */
const REFUSED_METHODS = new Set(['CONNECT', 'TRACE']);

export function admit(context: RequestContext, services: ProxyServices): StageOutcome {
  if (services.load.requests > services.limits.requestsMax) {
    services.metrics.add('rejected');
    return fail(new EdgeError('SERVER_BUSY'));
  }
  if (REFUSED_METHODS.has(context.method))
    return fail(new EdgeError('METHOD_UNSUPPORTED', `The method ${context.method} is not supported by this proxy`));
  if (fieldLines(context.fields, 'host').length > 1)
    return fail(new EdgeError('REQUEST_INVALID', 'The request has more than one Host field'));
  if (countCdnLoop(fieldValue(context.fields, 'cdn-loop'), services.loopId) > 0) return fail(new EdgeError('LOOP_DETECTED'));
  return NEXT;
}

function fail(error: EdgeError): StageOutcome {
  return { kind: 'fail', error };
}
