/** What is counted of the discovery of nodes; every series has the label `group`. */
import type { MetricTable } from '../../base/metrics.ts';

/** What became of a question: other nodes than before, the same, none (and those of before were kept), or why there was no answer. */
export const DISCOVERY_OUTCOMES = ['changed', 'same', 'empty', 'timeout', 'unreachable', 'refused', 'invalid'] as const;

export const DISCOVERY_METRICS = {
  answers: {
    kind: 'counter',
    name: 'rawslice_discovery_answers_total',
    help: 'Questions for the nodes of a group by what came of them: nodes that changed, the same, none while those of before are kept, or no answer; by group',
    label: 'outcome',
    values: DISCOVERY_OUTCOMES,
  },
  nodes: { kind: 'gauge', name: 'rawslice_discovery_nodes', help: 'Nodes that discovery has found, by group' },
  current: {
    kind: 'gauge',
    name: 'rawslice_discovery_current',
    help: 'Whether the last question for nodes was answered (1), or those of before are kept (0), by group',
  },
  age: {
    kind: 'gauge',
    name: 'rawslice_discovery_age_seconds',
    help: 'Time since the last answer that counts, or since the first question where there was none, by group',
  },
  refused: {
    kind: 'counter',
    name: 'rawslice_discovery_entries_refused_total',
    help: 'Entries of answers that were not taken as nodes: no address, or one that may not be used; by group',
  },
  cut: {
    kind: 'counter',
    name: 'rawslice_discovery_nodes_cut_total',
    help: 'Nodes of answers that were left out because a group has 1024 at most, by group',
  },
} as const satisfies MetricTable;
