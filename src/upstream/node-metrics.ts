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
    help: 'Times that a node was left alone for a while, because it failed or was slow, by group and node',
  },
  resting: {
    kind: 'gauge',
    name: 'rawslice_node_resting',
    help: 'Whether a node is left alone after a failure (1) or not (0), by group and node',
  },
  down: { kind: 'gauge', name: 'rawslice_node_down', help: 'Whether checks say that a node is down (1) or not (0), by group and node' },
  checks: {
    kind: 'counter',
    name: 'rawslice_node_checks_total',
    help: 'Active checks of a node by their result, by group and node',
    label: 'result',
    values: ['passed', 'failed'],
  },
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
    help: 'Requests sent without regard to the health of nodes, because too few or none are well, by group',
  },
  balancerFailures: {
    kind: 'counter',
    name: 'rawslice_group_balancer_failures_total',
    help: "Requests for which a balancer of one's own threw or chose no candidate, so that the next node in turn was asked, by group",
  },
} as const satisfies MetricTable;
