/** What went wrong with a request to an origin, in the program's own words: both kinds of transfer translate their library's errors here. */
import { EdgeError, systemErrorCode } from '../base/errors.ts';
import { SPECIAL_ADDRESS_CODE } from './address-guard.ts';
import type { UPSTREAM_OUTCOMES } from './upstream-metrics.ts';

/** How a request ended, for the metrics. */
export type Outcome = (typeof UPSTREAM_OUTCOMES)[number];

const OUTCOME_OF_CODE: Readonly<Partial<Record<EdgeError['code'], Outcome>>> = {
  UPSTREAM_ABSENT: 'unreachable',
  UPSTREAM_UNREACHABLE: 'unreachable',
  UPSTREAM_TIMEOUT: 'timeout',
  UPSTREAM_BROKEN: 'broken',
  UPSTREAM_INVALID: 'invalid',
};

const UNREACHABLE_CODES = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  SPECIAL_ADDRESS_CODE,
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_HAS_EXPIRED',
]);
const TIMEOUT_CODES = new Set(['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'ETIMEDOUT']);
const BROKEN_CODES = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE', 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH']);

/** The outcome that an error is counted as; a client's own fault is our own end of the request. */
export function outcomeOf(error: EdgeError): Outcome {
  if (error.source === 'downstream') return 'aborted';
  return OUTCOME_OF_CODE[error.code] ?? 'invalid';
}

/** @param about.isInBody whether the head had come: what goes wrong then, whatever it is called, cuts the body off */
export function upstreamError(cause: unknown, about: { readonly origin: string; readonly isInBody: boolean }): EdgeError {
  if (cause instanceof EdgeError) return cause;
  const errno = systemErrorCode(cause) ?? (cause instanceof AggregateError ? systemErrorCode(cause.errors[0]) : undefined) ?? 'unknown';
  const { origin, isInBody } = about;
  const context = { origin, errno };
  if (UNREACHABLE_CODES.has(errno)) {
    return new EdgeError('UPSTREAM_UNREACHABLE', `Origin ${origin} cannot be reached (${errno}); check upstream.url and the network`, {
      context,
      cause,
    });
  }
  if (TIMEOUT_CODES.has(errno)) {
    return new EdgeError('UPSTREAM_TIMEOUT', `Origin ${origin} did not answer in time (${errno})`, { context, cause });
  }
  if (isInBody || BROKEN_CODES.has(errno)) {
    return new EdgeError('UPSTREAM_BROKEN', `Origin ${origin} broke off its response (${errno})`, { context, cause });
  }
  return new EdgeError('UPSTREAM_INVALID', `Origin ${origin} sent a response that cannot be used (${errno})`, { context, cause });
}

/** @param what did not come in time, for the log */
export function upstreamTimeout(origin: string, what: string): EdgeError {
  const context = { origin, errno: what };
  return new EdgeError('UPSTREAM_TIMEOUT', `Origin ${origin} did not answer in time (${what})`, { context });
}
