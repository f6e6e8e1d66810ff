/** Which requests for another protocol (Upgrade, RFC 9110 s7.8) are passed on as such. Used by listener.ts, before anything else is known of them. */
import type { IncomingMessage } from 'node:http';
import { fieldLines, fieldValue, parseRawFields, splitList } from '../http/header-fields.ts';
import { findRoute } from './route.ts';
import type { ProxyServices } from './services.ts';
import { hasContent } from './upload.ts';

/**
 * The protocol that a request is to be passed on with: the first that it names and its route lets through. Undefined for what is answered as if it had
 * asked for none, which a server may always do: other protocols, HTTP/1.0, requests with content, and what no route takes.
 */
export function upgradeOf(request: IncomingMessage, { service }: ProxyServices): string | undefined {
  const fields = parseRawFields(request.rawHeaders);
  if (request.httpVersion !== '1.1' || hasContent(fields)) return undefined;
  const asked = fieldLines(fields, 'upgrade').flatMap(splitList);
  if (asked.length === 0) return undefined;
  const { method = 'GET', url = '/' } = request;
  const found = findRoute({ url, hostHeader: fieldValue(fields, 'host'), method }, service.router);
  if (found.kind !== 'ok' || found.verdict.kind !== 'route') return undefined;
  const { upgrades } = found.verdict.route.site;
  return asked.map((name) => name.toLowerCase()).find((name) => upgrades.includes(name));
}
