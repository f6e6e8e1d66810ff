/** Which error of RFC 9209 an error of ours is, for the Proxy-Status of the answers that this proxy makes itself; used by fail.ts and the listener. */
import type { EdgeError, ErrorCode } from '../base/errors.ts';
import { formatProxyStatus, type ProxyErrorType } from '../http/proxy-status.ts';

/** By the code alone; an errno may say more. Codes that are missing are no errors of a proxy (NOT_CACHED is what the client asked for). */
const TYPES: Readonly<Partial<Record<ErrorCode, ProxyErrorType>>> = {
  REQUEST_INVALID: 'http_request_error',
  TARGET_TOO_LONG: 'http_request_error',
  HEAD_TOO_LARGE: 'http_request_error',
  HEAD_TOO_SLOW: 'http_request_error',
  UPLOAD_STALLED: 'http_request_error',
  CODING_UNSUPPORTED: 'http_request_error',
  EXPECTATION_UNKNOWN: 'http_request_error',
  VERSION_UNSUPPORTED: 'http_request_error',
  METHOD_UNSUPPORTED: 'http_request_denied',
  METHOD_NOT_ALLOWED: 'http_request_denied',
  HOST_UNKNOWN: 'http_request_denied',
  ROUTE_ABSENT: 'http_request_denied',
  LOOP_DETECTED: 'proxy_loop_detected',
  SERVER_BUSY: 'http_request_denied',
  UPSTREAM_ABSENT: 'destination_unavailable',
  UPSTREAM_UNREACHABLE: 'destination_ip_unroutable',
  UPSTREAM_TIMEOUT: 'http_response_timeout',
  UPSTREAM_BROKEN: 'connection_terminated',
  UPSTREAM_INVALID: 'http_protocol_error',
  UPSTREAM_CHANGED: 'http_response_incomplete',
  MIDDLEWARE_FAILED: 'proxy_internal_error',
  INTERNAL: 'proxy_internal_error',
};

/** Where the transport's errno tells more than the code (RFC 9209 s2.3). */
const TYPES_OF_ERRNO: Readonly<Record<string, ProxyErrorType>> = {
  ENOTFOUND: 'dns_error',
  EAI_AGAIN: 'dns_error',
  ECONNREFUSED: 'connection_refused',
  ERR_TLS_CERT_ALTNAME_INVALID: 'tls_certificate_error',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'tls_certificate_error',
  SELF_SIGNED_CERT_IN_CHAIN: 'tls_certificate_error',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'tls_certificate_error',
  CERT_HAS_EXPIRED: 'tls_certificate_error',
  UND_ERR_CONNECT_TIMEOUT: 'connection_timeout',
  ETIMEDOUT: 'connection_timeout',
  UND_ERR_BODY_TIMEOUT: 'connection_read_timeout',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'http_response_incomplete',
  CONNECT_TIMEOUT: 'connection_timeout',
  BODY_TIMEOUT: 'connection_read_timeout',
  HEAD_TOO_LARGE: 'http_response_header_section_size',
  UND_ERR_HEADERS_OVERFLOW: 'http_response_header_section_size',
};

/** The Proxy-Status for an answer that names this error; undefined where the error is none of a proxy's. */
export function proxyStatusOf({ code, context }: EdgeError): string | undefined {
  const { errno, status } = context;
  const error = (typeof errno === 'string' ? TYPES_OF_ERRNO[errno] : undefined) ?? TYPES[code];
  if (error === undefined) return undefined;
  return formatProxyStatus({ error, receivedStatus: typeof status === 'number' ? status : undefined, details: code });
}
