/**
 * The Proxy-Status field (RFC 9209): why this proxy answered with an error of its own, as a structured field. The caller sends it as a line of
 * its own, since each intermediary adds one member.
 */
import { formatSfString } from './cache-status.ts';
import { PROXY_PSEUDONYM } from './via.ts';

/** The types of RFC 9209 s2.3 that this proxy has cause for. */
export type ProxyErrorType =
  | 'dns_error'
  | 'destination_unavailable'
  | 'destination_ip_unroutable'
  | 'connection_refused'
  | 'connection_terminated'
  | 'connection_timeout'
  | 'connection_read_timeout'
  | 'tls_certificate_error'
  | 'http_request_error'
  | 'http_request_denied'
  | 'http_response_incomplete'
  | 'http_response_header_section_size'
  | 'http_response_timeout'
  | 'http_protocol_error'
  | 'proxy_internal_error'
  | 'proxy_loop_detected';

/** One error of this proxy. */
export interface ProxyStatus {
  readonly error: ProxyErrorType;
  /** Status that the next hop answered with, when it did (s2.1.5). */
  readonly receivedStatus?: number | undefined;
  /** Words of our own (s2.1.6); nothing in it that a client should not read. */
  readonly details?: string | undefined;
}

/** The field's value, such as `rawslice; error=connection_refused`. */
export function formatProxyStatus({ error, receivedStatus, details }: ProxyStatus): string {
  let text = `${PROXY_PSEUDONYM}; error=${error}`;
  if (receivedStatus !== undefined) text += `; received-status=${receivedStatus}`;
  if (details !== undefined) text += `; details=${formatSfString(details)}`;
  return text;
}
