/**
 * The head of a request of HTTP/2 in the terms of HTTP/1.1 (RFC 9113 s8.3), so that everything behind it knows one kind of request. nghttp2 has
 * refused what is malformed by itself: unknown, missing, repeated and empty pseudo-fields, fields of a connection, names in upper case. Pure.
 */

/** What is wrong with a head. */
export interface HeadFault {
  readonly kind: 'host' | 'target';
  readonly message: string;
}

/** A head as HTTP/1.1 would have brought it. */
export interface TranslatedHead {
  readonly method: string;
  readonly url: string;
  /** Name, value, name, value ...; Host first. */
  readonly rawHeaders: readonly string[];
  /** As RFC 9113 s6.5.2 counts. */
  readonly sizeBytes: number;
  readonly fault: HeadFault | undefined;
}

const FIELD_OVERHEAD_BYTES = 32;
const DEFAULT_PORTS: Readonly<Record<string, string>> = { http: ':80', https: ':443' };

/**
 * @param rawPairs name, value, name, value ... as received
 * @param hasContent whether more than the head comes; without a length that is told by Transfer-Encoding, which HTTP/2 itself does not have
 */
export function translateHead(rawPairs: readonly string[], hasContent: boolean): TranslatedHead {
  const pseudo = new Map<string, string>();
  const fields: string[] = [];
  const crumbs: string[] = [];
  const hosts: string[] = [];
  let sizeBytes = 0;
  for (let index = 0; index + 1 < rawPairs.length; index += 2) {
    const [name = '', value = ''] = [rawPairs[index], rawPairs[index + 1]];
    sizeBytes += name.length + value.length + FIELD_OVERHEAD_BYTES;
    if (name.startsWith(':')) pseudo.set(name, value);
    else if (name === 'cookie') crumbs.push(value);
    else if (name === 'host') hosts.push(value);
    else fields.push(name, value);
  }
  // RFC 9113 s8.2.3: one field again, for those who know no other.
  if (crumbs.length > 0) fields.push('cookie', crumbs.join('; '));
  if (hasContent && !fields.some((name, index) => index % 2 === 0 && name === 'content-length'))
    fields.push('transfer-encoding', 'chunked');
  const method = pseudo.get(':method') ?? '';
  const authority = pseudo.get(':authority');
  const scheme = (pseudo.get(':scheme') ?? '').toLowerCase();
  const url = pseudo.get(':path') ?? authority ?? '';
  const named = authority === undefined ? hosts : [authority];
  const rawHeaders = [...named.flatMap((host) => ['host', host]), ...fields];
  const fault = method === 'CONNECT' ? undefined : findFault({ method, scheme, url, authority, hosts });
  return { method, url, rawHeaders, sizeBytes, fault };
}

function findFault(head: {
  readonly method: string;
  readonly scheme: string;
  readonly url: string;
  readonly authority: string | undefined;
  readonly hosts: readonly string[];
}): HeadFault | undefined {
  const { method, scheme, url, authority, hosts } = head;
  const port = DEFAULT_PORTS[scheme];
  if (port === undefined) return { kind: 'target', message: 'The scheme of the request is neither http nor https' };
  // RFC 9113 s8.3.1: of http and https the path is never anything else, so the authority has one place.
  if (!url.startsWith('/') && !(url === '*' && method === 'OPTIONS'))
    return { kind: 'target', message: 'The path of the request begins with no slash' };
  const plain = (host: string): string => (host.endsWith(port) ? host.slice(0, -port.length) : host).toLowerCase();
  const isAnother = authority !== undefined && hosts.some((host) => plain(host) !== plain(authority));
  return isAnother ? { kind: 'host', message: 'The request names one host in :authority and another in Host' } : undefined;
}
