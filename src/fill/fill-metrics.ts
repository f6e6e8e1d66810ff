/** What is counted of fills: transfers from origins into slots, and those who read along. */
import type { MetricTable } from '../base/metrics.ts';
import { DECLINE_REASONS } from '../store/slice-store.ts';

/** Why a run of slices ended. */
export const RUN_ENDS = ['complete', 'met-stored', 'abandoned', 'stalled', 'no-slot', 'failed', 'changed'] as const;

export const FILL_METRICS = {
  runs: { kind: 'counter', name: 'rawslice_fill_runs_total', help: 'Runs of slices by how they ended', label: 'end', values: RUN_ENDS },
  runsActive: { kind: 'gauge', name: 'rawslice_fill_runs_active', help: 'Runs of slices in progress' },
  filledSlices: { kind: 'counter', name: 'rawslice_fill_slices_total', help: 'Slices received whole from an origin' },
  declinedSlices: {
    kind: 'counter',
    name: 'rawslice_fill_slices_declined_total',
    help: 'Filled slices that the store would not keep, by reason',
    label: 'reason',
    values: DECLINE_REASONS,
  },
  droppedBytes: {
    kind: 'counter',
    name: 'rawslice_fill_dropped_bytes_total',
    help: 'Bytes received that belonged to no slice that was kept',
  },
  keptParts: {
    kind: 'counter',
    name: 'rawslice_fill_parts_kept_total',
    help: 'Slices that a transfer ended in the middle of, and whose beginning the store took',
  },
  loadedPartBytes: {
    kind: 'counter',
    name: 'rawslice_fill_part_bytes_loaded_total',
    help: 'Bytes of slices that were not asked for again because the store had the beginning of the slice',
  },
  pauses: {
    kind: 'counter',
    name: 'rawslice_fill_pauses_total',
    help: 'Times that a run stopped reading because all of its followers were slow',
  },
  collapsed: { kind: 'counter', name: 'rawslice_fill_collapsed_total', help: 'Requests that waited for the response head of another' },
  revalidations: { kind: 'counter', name: 'rawslice_fill_revalidations_total', help: 'Conditional requests to origins' },
  renewals: { kind: 'counter', name: 'rawslice_fill_renewals_total', help: 'Objects renewed by a 304' },
  generationsReplaced: { kind: 'counter', name: 'rawslice_fill_generations_replaced_total', help: 'Objects found changed at the origin' },
  privateStreams: {
    kind: 'counter',
    name: 'rawslice_fill_private_streams_total',
    help: 'Responses streamed past the cache because no slot was free',
  },
  connectionsYielded: {
    kind: 'counter',
    name: 'rawslice_fill_connections_yielded_total',
    help: 'Connections to origins given up by transfers that stood still, because requests waited',
  },
  variantsRefused: {
    kind: 'counter',
    name: 'rawslice_fill_variants_refused_total',
    help: 'Requests that passed through because their resource had as many variants as it may, or their values make too long a key',
  },
  resumes: { kind: 'counter', name: 'rawslice_fill_resumes_total', help: 'Fills asked for again after the origin broke off' },
} as const satisfies MetricTable;
