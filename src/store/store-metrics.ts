/** What a store counts. Gauges are read at each scrape. */
import type { MetricTable } from '../base/metrics.ts';
import { FAULT_CLASSES } from './fault-class.ts';
import { DECLINE_REASONS } from './slice-store.ts';

/** Every metric of a store; README lists the same rows. */
export const STORE_METRICS = {
  entries: { kind: 'gauge', name: 'rawslice_store_entries', help: 'Index entries in use: one a slice, two an object' },
  entriesMax: { kind: 'gauge', name: 'rawslice_store_entries_max', help: 'Index entries that the format allows' },
  usedBytes: { kind: 'gauge', name: 'rawslice_store_used_bytes', help: 'Bytes of allocation groups in use' },
  freeBytes: { kind: 'gauge', name: 'rawslice_store_free_bytes', help: 'Bytes of allocation groups that are free' },
  queuedSlices: { kind: 'gauge', name: 'rawslice_store_queued_slices', help: 'Slices waiting for or in their write' },
  queuedBytes: { kind: 'gauge', name: 'rawslice_store_queued_bytes', help: 'Bytes of slices waiting for or in their write' },
  residentSlices: { kind: 'gauge', name: 'rawslice_store_resident_slices', help: 'Slices in memory' },
  pendingManifests: { kind: 'gauge', name: 'rawslice_store_pending_manifests', help: 'Manifests not yet written' },
  journalBlocks: { kind: 'gauge', name: 'rawslice_store_journal_blocks', help: 'Journal blocks since the last checkpoint' },
  state: {
    kind: 'gauge',
    name: 'rawslice_store_state',
    help: 'Of the device: 0 closed or absent, 1 failed, 2 loading, 3 read-only, 4 online',
  },
  isWritable: { kind: 'gauge', name: 'rawslice_store_writable', help: '1 while the store takes offers' },
  isFull: { kind: 'gauge', name: 'rawslice_store_full', help: '1 while something is evicted for what is stored, and admission chooses' },
  declinedSlices: { kind: 'gauge', name: 'rawslice_store_declined_slices', help: 'Declined slices that are still in memory' },
  requestFilterFill: {
    kind: 'gauge',
    name: 'rawslice_store_request_filter_ratio',
    help: 'How far the newer of the two filters of requests is on its way to its turn',
  },
  writeBudgetBytes: {
    kind: 'gauge',
    name: 'rawslice_store_write_budget_bytes',
    help: 'What `device.writeBudget` lets a full device be written now; negative after writes by rule, 0 without a budget',
  },
  admitted: { kind: 'counter', name: 'rawslice_store_admitted_total', help: 'Slices that were admitted' },
  declined: {
    kind: 'counter',
    name: 'rawslice_store_declined_total',
    help: 'Offers that were declined',
    label: 'reason',
    values: DECLINE_REASONS,
  },
  readmitted: {
    kind: 'counter',
    name: 'rawslice_store_readmitted_total',
    help: 'Declined slices that were admitted from memory later, by what made the store look again',
    label: 'occasion',
    values: ['room', 'read', 'request'],
  },
  declinedLost: {
    kind: 'counter',
    name: 'rawslice_store_declined_lost_total',
    help: 'Declined slices that left memory without being written',
  },
  writtenRecords: { kind: 'counter', name: 'rawslice_store_written_records_total', help: 'Extents written and put into the index' },
  writtenBytes: { kind: 'counter', name: 'rawslice_store_written_bytes_total', help: 'Bytes of extents written, headers included' },
  dropped: {
    kind: 'counter',
    name: 'rawslice_store_dropped_total',
    help: 'Admitted records that were not kept',
    label: 'reason',
    values: ['forfeited', 'no-space', 'no-slot', 'error', 'unavailable'],
  },
  evicted: {
    kind: 'counter',
    name: 'rawslice_store_evicted_total',
    help: 'Records given up, by what was short',
    label: 'reason',
    values: ['blocks', 'entries'],
  },
  orphaned: { kind: 'counter', name: 'rawslice_store_orphaned_total', help: 'Slices left behind by their manifest, freed later' },
  reads: {
    kind: 'counter',
    name: 'rawslice_store_reads_total',
    help: 'Reads of slices and manifests by outcome',
    label: 'outcome',
    values: ['ram', 'device', 'absent', 'stale', 'corrupt', 'busy'],
  },
  collapsedReads: { kind: 'counter', name: 'rawslice_store_collapsed_reads_total', help: 'Reads that joined one in progress' },
  deviceErrors: {
    kind: 'counter',
    name: 'rawslice_store_device_errors_total',
    help: 'Device operations that failed',
    label: 'operation',
    values: ['read', 'write', 'flush'],
  },
<<<<<<< HEAD
  faults: {
    kind: 'counter',
    name: 'rawslice_store_faults_total',
    help: 'Faults of the device by class; own is an error in this program and not held against it',
    label: 'class',
    values: FAULT_CLASSES,
=======
  badBlocks: { kind: 'gauge', name: 'rawslice_store_bad_blocks', help: 'Blocks that are out of use because the device failed on them' },
  quarantines: {
    kind: 'counter',
    name: 'rawslice_store_quarantines_total',
    help: 'Runs of blocks put out of use, or ignored because the format has no room for more',
    label: 'outcome',
    values: ['marked', 'ignored'],
>>>>>>> main
  },
  journalRecords: { kind: 'counter', name: 'rawslice_store_journal_records_total', help: 'Journal records appended' },
  journalDropped: {
    kind: 'counter',
    name: 'rawslice_store_journal_dropped_total',
    help: 'Journal records dropped because the journal was full',
  },
  checkpoints: { kind: 'counter', name: 'rawslice_store_checkpoints_total', help: 'Checkpoints completed' },
  purges: { kind: 'counter', name: 'rawslice_store_purges_total', help: 'Purges asked for' },
  recoveredEntries: { kind: 'counter', name: 'rawslice_store_recovered_entries_total', help: 'Records found again at start' },
  recoveryDropped: {
    kind: 'counter',
    name: 'rawslice_store_recovery_dropped_total',
    help: 'Records not taken over at start',
    label: 'reason',
    values: ['orphan', 'overlap', 'damage'],
  },
} as const satisfies MetricTable;
