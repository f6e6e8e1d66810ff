/** Requests that are refused for what they are: the error for each kind, and the one place where they are counted. Used by stages and listener. */
import { EdgeError, type ErrorCode } from '../base/errors.ts';
import type { REFUSAL_KINDS } from './proxy-metrics.ts';
import type { ProxyServices } from './services.ts';

/** What was wrong with a request. */
export type RefusalKind = (typeof REFUSAL_KINDS)[number];

const CODES: Readonly<Record<RefusalKind, ErrorCode>> = {
  syntax: 'REQUEST_INVALID',
  content: 'REQUEST_INVALID',
  framing: 'REQUEST_INVALID',
  host: 'REQUEST_INVALID',
  target: 'REQUEST_INVALID',
  'target-length': 'TARGET_TOO_LONG',
  'head-size': 'HEAD_TOO_LARGE',
  'field-count': 'HEAD_TOO_LARGE',
  'head-time': 'HEAD_TOO_SLOW',
  'upload-stall': 'UPLOAD_STALLED',
  pipelining: 'REQUEST_INVALID',
  coding: 'CODING_UNSUPPORTED',
  expectation: 'EXPECTATION_UNKNOWN',
  method: 'METHOD_UNSUPPORTED',
  version: 'VERSION_UNSUPPORTED',
  loop: 'LOOP_DETECTED',
  upgrade: 'REQUEST_INVALID',
};

/** Counts a refusal. @param message the code's own sentence when undefined */
export function refusal(services: Pick<ProxyServices, 'metrics'>, kind: RefusalKind, message?: string): EdgeError {
  services.metrics.add('refused', 1, kind);
  return new EdgeError(CODES[kind], message);
}

/** After these nobody can be sure where the next request of the connection begins, or wants to know. */
const CLOSING_CODES: ReadonlySet<ErrorCode> = new Set([
  'REQUEST_INVALID',
  'TARGET_TOO_LONG',
  'HEAD_TOO_LARGE',
  'HEAD_TOO_SLOW',
  'UPLOAD_STALLED',
  'CODING_UNSUPPORTED',
  'VERSION_UNSUPPORTED',
]);

/** Whether the connection ends with the answer that names this error. */
export function endsConnection(error: EdgeError): boolean {
  return CLOSING_CODES.has(error.code);
}
