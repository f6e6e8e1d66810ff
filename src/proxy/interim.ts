/** Interim responses (1xx) of the origin on their way to the client (RFC 9110 s15.2): passed on as they come, and never kept. */
import { endToEndFields, type FieldList, fieldValue } from '../http/header-fields.ts';
import { appendVia } from '../http/via.ts';
import type { UpstreamHead } from '../upstream/upstream-transport.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';

/** What node:http would refuse to write. */
export const UNWRITABLE = /[^\t\x20-\x7e\x80-\xff]/;
/** They describe content, of which an interim response has none. */
const CONTENT_FIELDS = new Set(['content-length', 'content-type', 'content-encoding', 'content-range']);

/** Sends one on, unless the client speaks HTTP/1.0 or its final response has begun. 101 is a change of protocol, which nobody asked for. */
export function passInterim(context: RequestContext, services: ProxyServices, head: UpstreamHead): void {
  const { request, response } = context;
  if (request.httpVersion === '1.0' || response.headersSent || response.destroyed || head.status === 101) return;
  services.metrics.add('responses', 1, '1xx');
  if (head.status === 100) {
    context.isContinued = true;
    response.writeContinue();
  } else response.writeInformation(head.status, interimFields(head.fields).flat());
}

function interimFields(fields: FieldList): FieldList {
  const kept = endToEndFields(fields).filter(([name, value]) => name !== 'via' && !CONTENT_FIELDS.has(name) && !UNWRITABLE.test(value));
  return [...kept, ['via', appendVia(fieldValue(fields, 'via'), '1.1')]];
}
