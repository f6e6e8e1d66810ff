/** What gRPC over HTTP/2 wants of a proxy that answers by itself (its PROTOCOL-HTTP2 page): a status in a field, whatever the status of HTTP. Pure. */
import { type FieldList, fieldValue } from './header-fields.ts';

/** Statuses of gRPC for those of HTTP (its page on http-grpc-status-mapping). */
const STATUSES: Readonly<Record<number, number>> = { 400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14 };
const UNKNOWN = 2;

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

/** Bytes but printable ASCII, and the percent sign. */
function percentEncode(text: string): string {
  return [...Buffer.from(text)]
    .map((byte) => (byte >= 0x20 && byte <= 0x7e && byte !== 0x25 ? String.fromCharCode(byte) : hex(byte)))
    .join('');
}

function hex(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}
