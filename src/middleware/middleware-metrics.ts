/** What is counted of middlewares, each by its name in the configuration. */
import type { MetricTable } from '../base/metrics.ts';

/** Where a middleware can fail. */
export const HOOK_NAMES = ['request', 'purge', 'response', 'end', 'close'] as const;
/** One of HOOK_NAMES. */
export type HookName = (typeof HOOK_NAMES)[number];

export const MIDDLEWARE_METRICS = {
  requests: {
    kind: 'counter',
    name: 'rawslice_middleware_requests_total',
    help: 'Requests (PURGE too) that a middleware saw: passed on, answered by it, or answered with 500 because it failed',
    label: 'outcome',
    values: ['passed', 'answered', 'failed'],
  },
  failures: {
    kind: 'counter',
    name: 'rawslice_middleware_failures_total',
    help: 'Hooks of a middleware that threw, returned what is none of the interface, or did not decide in time; the log says what',
    label: 'hook',
    values: HOOK_NAMES,
  },
  timeouts: {
    kind: 'counter',
    name: 'rawslice_middleware_timeouts_total',
    help: "Those of the failures that were no decision within the middleware's timeout",
  },
  inUse: { kind: 'gauge', name: 'rawslice_middleware_requests_in_flight', help: 'Requests in progress that a middleware takes part in' },
  entries: {
    kind: 'gauge',
    name: 'rawslice_middleware_entries',
    help: 'What a middleware remembers: clients, keys; bounded by its options',
  },
} as const satisfies MetricTable;

/** Of each event that a middleware declares. */
export const EVENT_METRICS = {
  events: {
    kind: 'counter',
    name: 'rawslice_middleware_events_total',
    help: 'Events that a middleware counts itself; README says which the shipped ones have',
  },
} as const satisfies MetricTable;
