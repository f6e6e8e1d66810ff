/** What the arena counts. Gauges are bytes of slots by class. */
import type { MetricTable } from '../base/metrics.ts';

export const MEMORY_METRICS = {
  arenaBytes: { kind: 'gauge', name: 'rawslice_arena_bytes', help: 'Size of the arena' },
  deviceReadBytes: { kind: 'gauge', name: 'rawslice_arena_device_read_bytes', help: 'Slots that a device read fills or a client drains' },
  fillBytes: { kind: 'gauge', name: 'rawslice_arena_fill_bytes', help: 'Slots that a transfer from an origin fills' },
  stagingBytes: { kind: 'gauge', name: 'rawslice_arena_staging_bytes', help: 'Slots that hold headers and encoded records' },
  residentBytes: { kind: 'gauge', name: 'rawslice_arena_resident_bytes', help: 'Slots of the RAM tier' },
  leasedSlots: { kind: 'gauge', name: 'rawslice_arena_leased_slots', help: 'Slots that are not free' },
  reclaimedSlots: {
    kind: 'counter',
    name: 'rawslice_arena_reclaimed_slots_total',
    help: 'Resident slots given up because others needed room',
  },
  slotWaitsExpired: { kind: 'counter', name: 'rawslice_arena_slot_waits_expired_total', help: 'Waits for a slot that ended without one' },
} as const satisfies MetricTable;
