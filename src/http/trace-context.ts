/** The place of a request in a distributed trace, as `traceparent` tells it (W3C Trace Context s3.2). Pure. */

/** Ids in lower-case hexadecimal. */
export interface TraceParent {
  readonly traceId: string;
  /** Of whoever sent the request. */
  readonly spanId: string;
  readonly isSampled: boolean;
}

/** Of a version that is not known yet only what version 00 has is read (s4.3); ff is none. */
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const NO_TRACE = '0'.repeat(32);
const NO_SPAN = '0'.repeat(16);

/** Undefined where the text is no such place: then there is none. */
export function parseTraceParent(text: string | undefined): TraceParent | undefined {
  const [, version, traceId = NO_TRACE, spanId = NO_SPAN, flags = '00', rest] = TRACEPARENT.exec(text ?? '') ?? [];
  if (traceId === NO_TRACE || spanId === NO_SPAN || (version === '00' && rest !== undefined)) return undefined;
  return { traceId, spanId, isSampled: Number.parseInt(flags, 16) % 2 === 1 };
}
