/** What is counted of requests by clients. */
import type { MetricTable } from '../base/metrics.ts';

/** Words of X-Cache. */
export const CACHE_RESULTS = ['HIT', 'PARTIAL', 'MISS', 'STALE', 'REVALIDATED', 'BYPASS', 'NONE'] as const;
/** Limits that a request with ranges can meet. */
export const RANGE_LIMITS = ['count', 'overlap', 'length', 'order', 'request', 'client', 'clients'] as const;
/** One of CACHE_RESULTS; NONE where the cache had no part in the answer. */
export type CacheResult = (typeof CACHE_RESULTS)[number];

/** What is wrong with requests that are refused. */
export const REFUSAL_KINDS = [
  'syntax',
  'content',
  'framing',
  'host',
  'target',
  'target-length',
  'head-size',
  'field-count',
  'head-time',
  'upload-stall',
  'pipelining',
  'coding',
  'expectation',
  'method',
  'version',
  'loop',
  'upgrade',
] as const;

/** Why a connection goes from the express lane to node:http. */
export const HANDOVER_REASONS = [
  'method',
  'target',
  'version',
  'syntax',
  'field',
  'size',
  'rule',
  'middleware',
  'directive',
  'range',
  'absent',
  'partial',
  'overload',
  'failed',
] as const;
/** One of HANDOVER_REASONS. */
export type HandoverReason = (typeof HANDOVER_REASONS)[number];

/** What a connection of HTTP/2 met, or was ended for. */
export const HTTP2_LIMITS = ['streams', 'resets', 'control', 'protocol', 'idle', 'slow', 'unread'] as const;

export const PROXY_METRICS = {
  requests: {
    kind: 'counter',
    name: 'rawslice_http_requests_total',
    help: 'Requests by what the cache contributed',
    label: 'cache',
    values: CACHE_RESULTS,
  },
  responses: {
    kind: 'counter',
    name: 'rawslice_http_responses_total',
    help: 'Responses by class of status',
    label: 'class',
    values: ['1xx', '2xx', '3xx', '4xx', '5xx', 'none'],
  },
  aborted: { kind: 'counter', name: 'rawslice_http_responses_aborted_total', help: 'Responses that did not reach their end' },
  bodyBytes: {
    kind: 'counter',
    name: 'rawslice_http_body_bytes_total',
    help: 'Body bytes handed to clients, by where they came from',
    label: 'tier',
    values: ['ram', 'device', 'fill', 'private', 'multipart'],
  },
  firstByteSeconds: {
    kind: 'histogram',
    name: 'rawslice_http_first_byte_seconds',
    help: 'Time from the request to the first byte of its response',
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  },
  inFlight: { kind: 'gauge', name: 'rawslice_http_requests_in_flight', help: 'Requests in progress' },
  laneRequests: {
    kind: 'counter',
    name: 'rawslice_http_lane_requests_total',
    help: 'Requests by the lane that answered them: `express`, from the raw socket, or `general`, through node:http',
    label: 'lane',
    values: ['express', 'general'],
  },
  handovers: {
    kind: 'counter',
    name: 'rawslice_http_lane_handovers_total',
    help: 'Connections that went from the express lane to node:http, by what was asked for: a `method`, `target`, `version`, `syntax` or `field` beyond its grammar; a head or more fields than it takes (`size`); a `rule`, a `middleware` or a request `directive` that it leaves to the other; several ranges (`range`); what is not stored, fresh and alike for all (`absent`), or not there whole (`partial`); more than limits.requests (`overload`); bytes that could not be read (`failed`)',
    label: 'reason',
    values: HANDOVER_REASONS,
  },
  targetsForgotten: {
    kind: 'counter',
    name: 'rawslice_http_lane_targets_forgotten_total',
    help: 'Request targets, with their stored heads, that the express lane forgot because others were asked for lately',
  },
  answersDeclined: {
    kind: 'counter',
    name: 'rawslice_http_lane_answers_declined_total',
    help: 'Answers to what is asked for again and again that the express lane had no memory left to keep ready in one piece; they were put together for each request',
  },
  connectionsDropped: {
    kind: 'counter',
    name: 'rawslice_http_connections_dropped_total',
    help: 'Connections that were closed at once because limits.connections was reached',
  },
  connections: { kind: 'gauge', name: 'rawslice_http_connections', help: 'Connections of clients' },
  http2Connections: { kind: 'gauge', name: 'rawslice_stream_connections', help: 'Connections of clients that speak HTTP/2' },
  http2Streams: { kind: 'gauge', name: 'rawslice_streams', help: 'Open streams of HTTP/2' },
  http2Limits: {
    kind: 'counter',
    name: 'rawslice_stream_limits_total',
    help: 'What connections of HTTP/2 met: as many `streams` at a time as limits.streams has; or were ended for: more `resets` of streams, or more PING and SETTINGS (`control`), than anybody needs; frames that break the `protocol`, or more of a kind than node takes; no stream for 65 s (`idle`), no beginning (`slow`, limits.headerTimeout), or no answer to a PING in 5 s after a response was broken off (`unread`)',
    label: 'limit',
    values: HTTP2_LIMITS,
  },
  doorRefused: {
    kind: 'counter',
    name: 'rawslice_http_connections_refused_total',
    help: 'Connections let go before their first request: no valid PROXY protocol, no TLS that both sides speak, or not in time (limits.headerTimeout)',
    label: 'reason',
    values: ['proxy-protocol', 'tls', 'slow'],
  },
  certificateChanges: {
    kind: 'counter',
    name: 'rawslice_tls_certificate_changes_total',
    help: 'Changed certificate files: taken, or refused because they cannot be used (the ones before stay)',
    label: 'result',
    values: ['taken', 'refused'],
  },
  certificateValidTo: {
    kind: 'gauge',
    name: 'rawslice_tls_certificate_valid_to_seconds',
    help: 'Until when all certificates in use are valid, in seconds of Unix time; 0 without any',
  },
  rangeLimits: {
    kind: 'counter',
    name: 'rawslice_http_range_limits_total',
    help: 'Limits met by requests with ranges: more than limits.ranges, or parts longer than the object or out of order where it cannot be fetched in parts (answered with everything); overlap (merged); limits.rangeSurplus (fetched as asked); limits.clientSurplus (passed through); clients whose surplus was forgotten',
    label: 'limit',
    values: RANGE_LIMITS,
  },
  surplusClients: {
    kind: 'gauge',
    name: 'rawslice_http_surplus_clients',
    help: 'Clients whose ranges made the cache fetch more than they were sent',
  },
  rejected: {
    kind: 'counter',
    name: 'rawslice_http_requests_rejected_total',
    help: 'Requests refused because limits.requests was reached',
  },
  purgesRefused: {
    kind: 'counter',
    name: 'rawslice_http_purges_refused_total',
    help: 'Requests with the method PURGE that were refused: nobody may (`off`), not this `address`, not without the `token`, by a `middleware`, `invalid`, or the store could not (`failed`)',
    label: 'reason',
    values: ['off', 'address', 'token', 'middleware', 'invalid', 'failed'],
  },
  refused: {
    kind: 'counter',
    name: 'rawslice_http_requests_refused_total',
    help: 'Requests refused for what they are: malformed, ambiguous, too large, too slow, not supported',
    label: 'kind',
    values: REFUSAL_KINDS,
  },
  stalled: {
    kind: 'counter',
    name: 'rawslice_http_clients_stalled_total',
    help: 'Clients cut off because they took no byte for limits.clientStall',
  },
  copiedWrites: {
    kind: 'counter',
    name: 'rawslice_http_writes_copied_total',
    help: 'Writes that went through a private buffer instead of their slot',
  },
  bufferBytes: {
    kind: 'gauge',
    name: 'rawslice_http_buffer_bytes',
    help: 'Memory beside the arena for copies to clients, for answers that stand ready and for bodies that are not stored, in use or kept',
  },
  unrouted: {
    kind: 'counter',
    name: 'rawslice_http_requests_unrouted_total',
    help: 'Requests that no route takes: of another host (421), for another path (404), with another method (405)',
    label: 'why',
    values: ['host', 'path', 'method'],
  },
  tunnels: {
    kind: 'counter',
    name: 'rawslice_http_tunnels_total',
    help: 'Connections that have changed their protocol and were joined with one to the origin',
    label: 'protocol',
    values: ['websocket', 'other'],
  },
  tunnelsOpen: {
    kind: 'gauge',
    name: 'rawslice_http_tunnels_open',
    help: 'Such connections now, those included whose origin has yet to answer (limits.tunnels)',
  },
  tunnelsRefused: {
    kind: 'counter',
    name: 'rawslice_http_tunnels_refused_total',
    help: 'Requests for another protocol that were answered with 503: limits.tunnels was reached (`limit`), or the program is `draining`',
    label: 'reason',
    values: ['limit', 'draining'],
  },
  tunnelEnds: {
    kind: 'counter',
    name: 'rawslice_http_tunnel_ends_total',
    help: 'Tunnels by how they ended: both sides have `closed`; one broke off, or was cut at the end of a drain (`broken`); nothing came for limits.tunnelIdle (`idle`)',
    label: 'end',
    values: ['closed', 'broken', 'idle'],
  },
  tunnelBytes: {
    kind: 'counter',
    name: 'rawslice_http_tunnel_bytes_total',
    help: 'Bytes that passed through tunnels, by who sent them',
    label: 'from',
    values: ['client', 'origin'],
  },
  pinnedSlots: { kind: 'gauge', name: 'rawslice_http_pinned_slots', help: 'Slots that a write to a client is holding' },
} as const satisfies MetricTable;

export const ROUTE_METRICS = {
  requests: {
    kind: 'counter',
    name: 'rawslice_route_requests_total',
    help: 'Requests by what the cache contributed, by service, route and group',
    label: 'cache',
    values: CACHE_RESULTS,
  },
  failures: {
    kind: 'counter',
    name: 'rawslice_route_failures_total',
    help: 'Requests answered with a status of 500 or above, or not to their end, by service, route and group',
  },
  bodyBytes: {
    kind: 'counter',
    name: 'rawslice_route_body_bytes_total',
    help: 'Body bytes handed to clients, by service, route and group',
  },
} as const satisfies MetricTable;
