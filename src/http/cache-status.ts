/**
 * The Cache-Status field (RFC 9211): what this cache did with a request, as a structured field. The caller sends it as a line of its own
 * behind those that came from upstream, since each cache adds one member.
 */
import { PROXY_PSEUDONYM } from './via.ts';

/** Why a request went to the origin (RFC 9211 s2.2). */
export type ForwardReason = 'bypass' | 'method' | 'uri-miss' | 'vary-miss' | 'miss' | 'request' | 'stale' | 'partial';

/** The story of one request. `hit` and `forward` exclude each other; a hit wins. */
export interface CacheStatus {
  readonly hit?: boolean | undefined;
  readonly forward?: ForwardReason | undefined;
  /** Status that the origin answered with, where it differs from the one sent on or is worth saying (s2.3). */
  readonly forwardStatus?: number | undefined;
  /** Remaining freshness; negative when stale (s2.4). */
  readonly ttlSeconds?: number | undefined;
  readonly isStored?: boolean | undefined;
  readonly isCollapsed?: boolean | undefined;
  /** Words of our own, best a token (s2.8). */
  readonly detail?: string | undefined;
  readonly key?: string | undefined;
}

/** RFC 9651 s3.3.4. */
const SF_TOKEN = /^[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*$/;
/** RFC 9651 s3.3.1. */
const SF_INTEGER_MAX = 999_999_999_999_999;
/** A longer text is cut: the field is for people, and a head has a limit. */
const MAX_TEXT = 1024;

/** The field's value, such as `rawslice; hit; ttl=30`. */
export function formatCacheStatus(status: CacheStatus): string {
  let text: string = PROXY_PSEUDONYM;
  if (status.hit === true) text += '; hit';
  else if (status.forward !== undefined) {
    text += `; fwd=${status.forward}`;
    if (status.forwardStatus !== undefined) text += `; fwd-status=${formatInteger(status.forwardStatus)}`;
  }
  if (status.ttlSeconds !== undefined) text += `; ttl=${formatInteger(status.ttlSeconds)}`;
  if (status.isStored === true) text += '; stored';
  if (status.isCollapsed === true) text += '; collapsed';
  if (status.key !== undefined) text += `; key=${formatSfString(status.key)}`;
  if (status.detail !== undefined) text += `; detail=${SF_TOKEN.test(status.detail) ? status.detail : formatSfString(status.detail)}`;
  return text;
}

function formatInteger(value: number): string {
  if (Number.isNaN(value)) return '0';
  // Adding 0 turns -0, which has no text of its own, into 0.
  return String(Math.min(Math.max(Math.trunc(value), -SF_INTEGER_MAX), SF_INTEGER_MAX) + 0);
}

/** A structured string (RFC 9651 s4.1.6); what it cannot hold becomes `?`, and a long text is cut. */
export function formatSfString(text: string): string {
  return `"${text
    .slice(0, MAX_TEXT)
    .replace(/[^\x20-\x7e]/g, '?')
    .replace(/["\\]/g, '\\$&')}"`;
}
