/**
 * One class of error and one table of what can go wrong. Expected outcomes are verdicts (discriminated unions), not errors; what is left
 * is named here with its source, whether trying again can help, the HTTP status that a client sees, and a default sentence that says what
 * to do. Callers and tests match on `code`, never on text.
 */

/** Where the fault lies. */
export type ErrorSource = 'downstream' | 'upstream' | 'device' | 'store' | 'config' | 'internal';
/** Whether the same act may succeed when repeated. */
export type RetryAdvice = 'never' | 'same' | 'other-origin';

interface ErrorRow {
  readonly source: ErrorSource;
  readonly retry: RetryAdvice;
  /** The status sent downstream when no response has begun. */
  readonly httpStatus: number;
  readonly sentence: string;
}

/** Every error code of the program. README's *Errors* section lists the same rows; a parity test compares them. */
export const ERRORS = {
  REQUEST_INVALID: { source: 'downstream', retry: 'never', httpStatus: 400, sentence: 'The request is malformed' },
  TARGET_TOO_LONG: { source: 'downstream', retry: 'never', httpStatus: 414, sentence: 'The request target is longer than 8 KiB' },
  HEAD_TOO_LARGE: {
    source: 'downstream',
    retry: 'never',
    httpStatus: 431,
    sentence: 'The request head is too large (limits.headerBytes, or more than 256 fields)',
  },
  HEAD_TOO_SLOW: {
    source: 'downstream',
    retry: 'same',
    httpStatus: 408,
    sentence: 'The request head did not arrive in time (limits.headerTimeout)',
  },
  UPLOAD_STALLED: {
    source: 'downstream',
    retry: 'same',
    httpStatus: 408,
    sentence: "No byte of the request's content came for too long (limits.uploadStall)",
  },
  CODING_UNSUPPORTED: {
    source: 'downstream',
    retry: 'never',
    httpStatus: 501,
    sentence: "The request's content has a transfer coding that this proxy does not know",
  },
  EXPECTATION_UNKNOWN: {
    source: 'downstream',
    retry: 'never',
    httpStatus: 417,
    sentence: 'The request expects something other than 100-continue',
  },
  VERSION_UNSUPPORTED: { source: 'downstream', retry: 'never', httpStatus: 505, sentence: 'The listener speaks HTTP/1.0 and HTTP/1.1' },
  METHOD_UNSUPPORTED: { source: 'downstream', retry: 'never', httpStatus: 501, sentence: 'The method is not supported by this proxy' },
  HOST_UNKNOWN: {
    source: 'downstream',
    retry: 'never',
    httpStatus: 421,
    sentence: 'No route of this service answers for the host of the request; check its name, or routes in the configuration',
  },
  ROUTE_ABSENT: {
    source: 'downstream',
    retry: 'never',
    httpStatus: 404,
    sentence: 'No route of this host takes the path; check the URL, or routes in the configuration',
  },
  METHOD_NOT_ALLOWED: {
    source: 'downstream',
    retry: 'never',
    httpStatus: 405,
    sentence: 'The route of this path does not take the method',
  },
  PURGE_FORBIDDEN: { source: 'downstream', retry: 'never', httpStatus: 403, sentence: 'This client may not purge' },
  CLIENT_GONE: { source: 'downstream', retry: 'never', httpStatus: 499, sentence: 'The client closed the connection' },
  CLIENT_STALLED: { source: 'downstream', retry: 'never', httpStatus: 408, sentence: 'The client took no bytes for too long' },
  LOOP_DETECTED: {
    source: 'downstream',
    retry: 'never',
    httpStatus: 508,
    sentence: 'The request has passed through this proxy already; check the upstream',
  },
  NOT_CACHED: {
    source: 'downstream',
    retry: 'never',
    httpStatus: 504,
    sentence: 'The object is not in the cache, and the request wants nothing else (only-if-cached)',
  },
  SERVER_BUSY: { source: 'downstream', retry: 'same', httpStatus: 503, sentence: 'The server has reached its limit of requests at a time' },
  UPSTREAM_ABSENT: {
    source: 'upstream',
    retry: 'same',
    httpStatus: 503,
    sentence: 'Discovery has found no node of the upstream group; see /upstreams on the admin address',
  },
  UPSTREAM_UNREACHABLE: {
    source: 'upstream',
    retry: 'other-origin',
    httpStatus: 502,
    sentence: 'The origin refuses connections or cannot be found',
  },
  UPSTREAM_TIMEOUT: { source: 'upstream', retry: 'other-origin', httpStatus: 504, sentence: 'The origin did not answer in time' },
  UPSTREAM_BROKEN: { source: 'upstream', retry: 'other-origin', httpStatus: 502, sentence: 'The origin broke off its response' },
  UPSTREAM_INVALID: {
    source: 'upstream',
    retry: 'other-origin',
    httpStatus: 502,
    sentence: 'The origin sent a response that cannot be used',
  },
  UPSTREAM_CHANGED: {
    source: 'upstream',
    retry: 'same',
    httpStatus: 502,
    sentence: 'The origin changed the object during the transfer; ask again',
  },
  DEVICE_ABSENT: { source: 'device', retry: 'never', httpStatus: 503, sentence: 'The device does not exist' },
  DEVICE_NOT_PERMITTED: { source: 'device', retry: 'never', httpStatus: 503, sentence: 'The device may not be opened by this user' },
  DEVICE_TOO_SMALL: { source: 'device', retry: 'never', httpStatus: 503, sentence: 'The device is too small' },
  DEVICE_MOUNTED: { source: 'device', retry: 'never', httpStatus: 503, sentence: 'The device is mounted; unmount it first' },
  DEVICE_HELD: { source: 'device', retry: 'never', httpStatus: 503, sentence: 'The device is held by another process' },
  DEVICE_FOREIGN: {
    source: 'device',
    retry: 'never',
    httpStatus: 503,
    sentence: 'The device holds something that is not a rawslice cache',
  },
  DEVICE_BLANK: { source: 'device', retry: 'never', httpStatus: 503, sentence: 'The device is blank; format it first' },
  DEVICE_TRUNCATED: { source: 'device', retry: 'never', httpStatus: 503, sentence: 'The device is shorter than when it was formatted' },
  DEVICE_UNSUITABLE: {
    source: 'device',
    retry: 'never',
    httpStatus: 503,
    sentence: 'The path is neither a block device nor a regular file',
  },
  DEVICE_BUSY: { source: 'device', retry: 'same', httpStatus: 503, sentence: 'The device has too much to do to begin this now' },
  DEVICE_FAULT: { source: 'device', retry: 'same', httpStatus: 503, sentence: 'The device reported an error' },
  FORMAT_VERSION: { source: 'store', retry: 'never', httpStatus: 503, sentence: 'The device was formatted by another version of rawslice' },
  FORMAT_DAMAGED: { source: 'store', retry: 'never', httpStatus: 503, sentence: 'No label of the device can be read' },
  STORE_UNAVAILABLE: { source: 'store', retry: 'same', httpStatus: 503, sentence: 'The cache cannot do this now' },
  CONFIG_INVALID: { source: 'config', retry: 'never', httpStatus: 500, sentence: 'The configuration is not valid' },
  LISTEN_FAILED: { source: 'config', retry: 'never', httpStatus: 500, sentence: 'The address cannot be listened on' },
  USAGE: { source: 'config', retry: 'never', httpStatus: 500, sentence: 'The command cannot be understood' },
  ADMIN_UNREACHABLE: { source: 'internal', retry: 'same', httpStatus: 500, sentence: 'No running server answers on the admin address' },
  SERVER_UNREACHABLE: {
    source: 'internal',
    retry: 'same',
    httpStatus: 500,
    sentence: 'No running server answers on the address of its listener',
  },
  MIDDLEWARE_FAILED: {
    source: 'internal',
    retry: 'same',
    httpStatus: 500,
    sentence: 'A middleware of this route failed; the log says which and why',
  },
  INTERNAL: { source: 'internal', retry: 'never', httpStatus: 500, sentence: 'An internal error occurred' },
} as const satisfies Record<string, ErrorRow>;

/** A row's name in the table. */
export type ErrorCode = keyof typeof ERRORS;

/** Facts that belong to one occurrence: what was expected, what came, where. */
export type ErrorContext = Readonly<Record<string, string | number | boolean | undefined>>;

/** What is thrown wherever an outcome is not an expected one. */
export class EdgeError extends Error {
  override readonly name = 'EdgeError';
  readonly code: ErrorCode;
  readonly context: ErrorContext;

  /**
   * @param code    row of ERRORS
   * @param message what happened and what to do; the row's sentence when undefined
   * @param options context pairs, and the error underneath as `cause`
   */
  constructor(code: ErrorCode, message?: string | undefined, options: { context?: ErrorContext; cause?: unknown } = {}) {
    super(message ?? ERRORS[code].sentence, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.context = options.context ?? {};
  }

  get source(): ErrorSource {
    return ERRORS[this.code].source;
  }

  get retry(): RetryAdvice {
    return ERRORS[this.code].retry;
  }

  get httpStatus(): number {
    return ERRORS[this.code].httpStatus;
  }
}

/** `error` as an EdgeError; anything foreign becomes INTERNAL with the original as its cause. */
export function toEdgeError(error: unknown): EdgeError {
  if (error instanceof EdgeError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new EdgeError('INTERNAL', `Internal error: ${text}`, { cause: error });
}

/** The errno name (`ENOENT`, `ECONNREFUSED`) that Node puts on a system error, or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
