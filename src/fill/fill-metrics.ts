/** What is counted of fills: transfers from origins into slots, and those who read along. */

import type { MetricTable } from '../base/metrics.ts';
import { INVALIDATION_CAUSES } from '../cache/invalidation.ts';
import { PURGE_SCOPES } from '../cache/named-purge.ts';
import { NOT_STORABLE_REASONS } from '../cache/response-policy.ts';
import { DECLINE_REASONS } from '../store/slice-store.ts';

/** Why a run of slices ended. */
export const RUN_ENDS = ['complete', 'met-stored', 'abandoned', 'stalled', 'no-slot', 'failed', 'changed'] as const;

/** What came of the wish to renew an object in the background; `limit`: too many were under way, `held-off`: the origin had just failed. */
export const BACKGROUND_RESULTS = ['renewed', 'replaced', 'overtaken', 'failed', 'limit', 'held-off'] as const;

const PURGE_KINDS = [...PURGE_SCOPES, ...PURGE_SCOPES.map((scope) => `soft-${scope}` as const)] as const;

export const FILL_METRICS = {
  runs: { kind: 'counter', name: 'rawslice_fill_runs_total', help: 'Runs of slices by how they ended', label: 'end', values: RUN_ENDS },
  runsActive: { kind: 'gauge', name: 'rawslice_fill_runs_active', help: 'Runs of slices in progress' },
  filledSlices: { kind: 'counter', name: 'rawslice_fill_slices_total', help: 'Slices received whole from an origin' },
  notStorable: {
    kind: 'counter',
    name: 'rawslice_fill_not_storable_total',
    help: 'Answers of origins to requests for what is shared that may not be stored, by the first reason found',
    label: 'reason',
    values: NOT_STORABLE_REASONS,
  },
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
    help: 'Slices that a transfer brought a part of, and of which the store took that part',
  },
  loadedPartBytes: {
    kind: 'counter',
    name: 'rawslice_fill_part_bytes_loaded_total',
    help: 'Bytes of slices that were not asked for again because a part of the slice was kept',
  },
  narrowAnswers: {
    kind: 'counter',
    name: 'rawslice_fill_narrow_answers_total',
    help: 'Answers of origins that brought less than was asked for',
  },
  partMemoryBytes: { kind: 'gauge', name: 'rawslice_fill_part_memory_bytes', help: 'Bytes in memory of slices that are not there whole' },
  aheadBytes: {
    kind: 'gauge',
    name: 'rawslice_fill_read_ahead_bytes',
    help: 'Memory for slices read ahead from devices, beyond the two that each response may always read ahead',
  },
  aheadRefused: {
    kind: 'counter',
    name: 'rawslice_fill_read_ahead_refused_total',
    help: 'Times that a response read ahead less since all of them together had read ahead an eighth of the arena',
  },
  evictedParts: {
    kind: 'counter',
    name: 'rawslice_fill_parts_evicted_total',
    help: 'Slices whose parts in memory had to make room for others',
  },
  pauses: {
    kind: 'counter',
    name: 'rawslice_fill_pauses_total',
    help: 'Times that a run stopped reading because all of its followers were slow',
  },
  collapsed: { kind: 'counter', name: 'rawslice_fill_collapsed_total', help: 'Requests that waited for the response head of another' },
  revalidations: { kind: 'counter', name: 'rawslice_fill_revalidations_total', help: 'Conditional requests to origins' },
  renewals: { kind: 'counter', name: 'rawslice_fill_renewals_total', help: 'Objects renewed by a 304, or by a HEAD' },
  headsDiffering: {
    kind: 'counter',
    name: 'rawslice_fill_heads_differing_total',
    help: 'Answers to HEAD that did not confirm the stored version, which is stale then',
  },
  backgroundRenewals: {
    kind: 'counter',
    name: 'rawslice_fill_background_renewals_total',
    help: 'Stale objects that were served while the origin was asked about them, by what came of it',
    label: 'result',
    values: BACKGROUND_RESULTS,
  },
  backgroundRenewalsActive: {
    kind: 'gauge',
    name: 'rawslice_fill_background_renewals_active',
    help: 'Stale objects that the origin is being asked about in the background',
  },
  generationsReplaced: { kind: 'counter', name: 'rawslice_fill_generations_replaced_total', help: 'Objects found changed at the origin' },
  privateStreams: {
    kind: 'counter',
    name: 'rawslice_fill_private_streams_total',
    help: 'Ranges streamed past the cache: no slot was free, or the slices around them would have been too much (limits.rangeSurplus)',
  },
  connectionsYielded: {
    kind: 'counter',
    name: 'rawslice_fill_connections_yielded_total',
    help: 'Connections to origins given up by transfers that stood still, because requests waited',
  },
  variantsRefused: {
    kind: 'counter',
    name: 'rawslice_fill_variants_refused_total',
    help: 'Requests that passed through because as many variants of their resource as there may be were in use, or their values make too long a key',
  },
  variantsReplaced: {
    kind: 'counter',
    name: 'rawslice_fill_variants_replaced_total',
    help: 'Stored variants that were forgotten because their resource had as many as it may (limits.variants) and another one was asked for',
  },
  purges: {
    kind: 'counter',
    name: 'rawslice_purges_total',
    help: 'Purges asked for, through the admin port or by the method PURGE; `soft` ones make stale',
    label: 'kind',
    values: PURGE_KINDS,
  },
  invalidations: {
    kind: 'counter',
    name: 'rawslice_invalidations_total',
    help: 'Objects and groups of objects (Cache-Group-Invalidation) invalidated by answers to unsafe methods, by what named them',
    label: 'cause',
    values: INVALIDATION_CAUSES,
  },
  invalidationsFailed: {
    kind: 'counter',
    name: 'rawslice_invalidations_failed_total',
    help: 'Invalidations that hold in memory only, or were not done: too many purges in force, or more than 128 groups in one answer',
  },
  resumes: { kind: 'counter', name: 'rawslice_fill_resumes_total', help: 'Fills asked for again after the origin broke off' },
} as const satisfies MetricTable;
