/** What is counted of requests to origins. */
import type { MetricTable } from '../base/metrics.ts';

/** What can be held against a place of an origin (origin-abilities.ts). */
export const PLACE_MARKS = ['rangeless', 'tags-flap'] as const;

/** How a request to an origin ended. */
export const UPSTREAM_OUTCOMES = ['complete', 'aborted', 'unreachable', 'timeout', 'broken', 'invalid'] as const;

/** What became of a redirect under a rule that follows them. */
export const REDIRECT_OUTCOMES = ['followed', 'refused', 'too-many', 'no-room'] as const;

export const UPSTREAM_METRICS = {
  requests: {
    kind: 'counter',
    name: 'rawslice_upstream_requests_total',
    help: 'Requests to origins by how they ended (aborted: by us)',
    label: 'outcome',
    values: UPSTREAM_OUTCOMES,
  },
  retries: { kind: 'counter', name: 'rawslice_upstream_retries_total', help: 'Requests sent again because a kept connection was gone' },
  interim: { kind: 'counter', name: 'rawslice_upstream_interim_total', help: 'Interim responses (1xx) of origins' },
  receivedBytes: { kind: 'counter', name: 'rawslice_upstream_received_bytes_total', help: 'Body bytes received from origins' },
  redirects: {
    kind: 'counter',
    name: 'rawslice_upstream_redirects_total',
    help: 'Redirects under a rule that follows them, by what became of them (refused: passed to the client)',
    label: 'outcome',
    values: REDIRECT_OUTCOMES,
  },
  places: { kind: 'gauge', name: 'rawslice_upstream_places', help: 'Places (origin and first path segment) whose abilities are known' },
  placesForgotten: {
    kind: 'counter',
    name: 'rawslice_upstream_places_forgotten_total',
    help: 'Places forgotten because too many were known',
  },
  placeMarks: {
    kind: 'counter',
    name: 'rawslice_upstream_place_marks_total',
    help: 'Times that a place was found to ignore ranges, or to give one object different tags, three times in a row',
    label: 'mark',
    values: PLACE_MARKS,
  },
  connections: { kind: 'counter', name: 'rawslice_upstream_connections_total', help: 'Connections opened to origins' },
  inFlight: { kind: 'gauge', name: 'rawslice_upstream_requests_in_flight', help: 'Requests to origins in progress' },
  headSeconds: {
    kind: 'histogram',
    name: 'rawslice_upstream_head_seconds',
    help: 'Time from the request to the response head',
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  },
} as const satisfies MetricTable;
