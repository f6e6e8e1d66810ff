/** What gRPC over HTTP/2 wants of a proxy that answers by itself (its PROTOCOL-HTTP2 page): a status in a field, whatever the status of HTTP. Pure. */
import { type FieldList, fieldValue, hasField } from './header-fields.ts';

/**
 * Statuses of gRPC for those of HTTP: its page on http-grpc-status-mapping, but for 429. That page is for clients that have only a status of HTTP to go by, and
 * says UNAVAILABLE, at which clients try again; who knows that a limit was reached says RESOURCE_EXHAUSTED.
 */
const STATUSES: Readonly<Record<number, number>> = { 400: 13, 401: 16, 403: 7, 404: 12, 429: 8, 502: 14, 503: 14, 504: 14 };
const UNKNOWN = 2;
/** Characters of a text that becomes a message: a field has room for them, encoded. */
const MESSAGE_LENGTH_MAX = 512;

/** Whether a message is of gRPC. */
export function isGrpc(fields: FieldList): boolean {
  const type = fieldValue(fields, 'content-type')?.toLowerCase() ?? '';
  return /^application\/grpc(?:[+;\s]|$)/.test(type);
}

/** The fields of an answer without content that tells of an error. @param httpStatus of the error; @param message for people */
export function grpcErrorFields(httpStatus: number, message: string): FieldList {
  return [
    ['content-type', 'application/grpc'],
    ['grpc-status', String(STATUSES[httpStatus] ?? UNKNOWN)],
    ['grpc-message', percentEncode(message)],
  ];
}

/** An answer in terms of HTTP as one of gRPC without messages: its text is the message, its other fields are metadata. One that is of gRPC stays as it is. */
export function grpcAnswer<Answer extends { readonly status: number; readonly fields: FieldList; readonly text?: string | undefined }>(
  answer: Answer,
): Answer | { readonly status: number; readonly fields: FieldList; readonly text: undefined } {
  const { status, fields, text } = answer;
  if (status === 200 || hasField(fields, 'grpc-status')) return answer;
  const isPlain = fieldValue(fields, 'content-type')?.toLowerCase().startsWith('text/plain') === true;
  const message = (isPlain ? text?.trim().slice(0, MESSAGE_LENGTH_MAX) : undefined) || `Status ${status} of HTTP`;
  const kept = fields.filter(([name]) => !name.startsWith('content-'));
  return { status: 200, fields: [...grpcErrorFields(status, message), ...kept], text: undefined };
}

/** Bytes but printable ASCII, and the percent sign. */
function percentEncode(text: string): string {
  return [...Buffer.from(text)]
    .map((byte) => (byte >= 0x20 && byte <= 0x7e && byte !== 0x25 ? String.fromCharCode(byte) : hex(byte)))
    .join('');
}

function hex(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}
