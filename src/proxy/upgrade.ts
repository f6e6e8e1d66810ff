/** Requests for another protocol (Upgrade, RFC 9110 s7.8): which they are, and which of them are passed on as such. Used by listener.ts, before anything else is known of them. */
import type { IncomingMessage } from 'node:http';
import { fieldLines, fieldValue, parseRawFields, splitList } from '../http/header-fields.ts';
import { findRoute } from './route.ts';
import type { ProxyServices } from './services.ts';
import { hasContent } from './upload.ts';

/** Whether node's parser takes what follows for something else than HTTP, as soon as the request is over. */
export function namesProtocol({ headers }: IncomingMessage): boolean {
  return headers.upgrade !== undefined && /\bupgrade\b/i.test(headers.connection ?? '');
}

/** Whether such a request can change its connection at all: content would come before whatever follows. */
export function mayUpgrade({ rawHeaders }: IncomingMessage): boolean {
  return !hasContent(parseRawFields(rawHeaders));
}

/**
 * The protocol that a request is to be passed on with: the first that it names and its route lets through. Undefined for what is answered as if it had
 * asked for none, which a server may always do: other protocols, HTTP/1.0, and what no route takes.
 */
export function upgradeOf(request: IncomingMessage, { service }: ProxyServices): string | undefined {
  const fields = parseRawFields(request.rawHeaders);
  if (request.httpVersion !== '1.1') return undefined;
  const asked = fieldLines(fields, 'upgrade').flatMap(splitList);
  if (asked.length === 0) return undefined;
  const { method = 'GET', url = '/' } = request;
  const found = findRoute({ url, hostHeader: fieldValue(fields, 'host'), method }, service.router);
  if (found.kind !== 'ok' || found.verdict.kind !== 'route') return undefined;
  const { upgrades } = found.verdict.route.site;
  return asked.map((name) => name.toLowerCase()).find((name) => upgrades.includes(name));
}
