/** What is counted of each node of an upstream group, and of the groups; every series has the labels `group` and `node`, or `group` alone. */
import type { MetricTable } from '../base/metrics.ts';
import { UPSTREAM_OUTCOMES } from './upstream-metrics.ts';

/** What became of a request that a node failed before its first byte. */
export const RETRY_OUTCOMES = ['sent', 'budget', 'limit', 'no-node'] as const;

export const NODE_METRICS = {
  requests: {
    kind: 'counter',
    name: 'rawslice_node_requests_total',
    help: 'Requests to a node by how they ended, by group and node',
    label: 'outcome',
    values: UPSTREAM_OUTCOMES,
  },
  inFlight: { kind: 'gauge', name: 'rawslice_node_requests_in_flight', help: 'Requests to a node in progress, by group and node' },
  rests: {
    kind: 'counter',
    name: 'rawslice_node_rests_total',
    help: 'Times that a node failed and was left alone for a while, by group and node',
  },
  isResting: { kind: 'gauge', name: 'rawslice_node_resting', help: 'Whether a node is left alone now (1) or not (0), by group and node' },
} as const satisfies MetricTable;

export const GROUP_METRICS = {
  retries: {
    kind: 'counter',
    name: 'rawslice_group_retries_total',
    help: 'Requests that a node failed before their first byte: sent to another node, or not for want of budget, past the limit of nodes, or for want of another node; by group',
    label: 'outcome',
    values: RETRY_OUTCOMES,
  },
  panics: {
    kind: 'counter',
    name: 'rawslice_group_panics_total',
    help: 'Requests sent to a node that is left alone because all others are too, by group',
  },
} as const satisfies MetricTable;
