/** What open devices count. One set may serve several devices; gauges are sums over those that are open. */
import type { MetricTable } from '../base/metrics.ts';
import { TRANSFER_PRIORITIES } from './block-device.ts';

// From a hit in an NVMe drive's own cache to a disk that retries a bad sector.
const SECONDS_BUCKETS = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30] as const;

export const DEVICE_METRICS = {
  reads: { kind: 'counter', name: 'rawslice_device_reads_total', help: 'Reads that a device completed' },
  readBytes: { kind: 'counter', name: 'rawslice_device_read_bytes_total', help: 'Bytes read from devices' },
  joinedReads: {
    kind: 'counter',
    name: 'rawslice_device_joined_reads_total',
    help: 'Reads that were made together with others that lie beside them, in one request',
  },
  writes: { kind: 'counter', name: 'rawslice_device_writes_total', help: 'Writes that a device completed' },
  writtenBytes: { kind: 'counter', name: 'rawslice_device_written_bytes_total', help: 'Bytes written to devices' },
  flushes: { kind: 'counter', name: 'rawslice_device_flushes_total', help: 'Flushes that a device completed' },
  errors: {
    kind: 'counter',
    name: 'rawslice_device_errors_total',
    help: 'Operations that a device failed',
    label: 'operation',
    values: ['read', 'write', 'flush', 'discard'],
  },
  refusedRequests: {
    kind: 'counter',
    name: 'rawslice_device_refused_requests_total',
    help: 'Operations that the kernel called invalid (EINVAL): an error in this program, not in the device',
  },
  inFlight: { kind: 'gauge', name: 'rawslice_device_in_flight', help: 'Operations begun and not yet completed' },
  waiting: {
    kind: 'gauge',
    name: 'rawslice_device_waiting',
    help: 'Operations that wait for their turn at a device',
    label: 'priority',
    values: TRANSFER_PRIORITIES,
  },
  waitSeconds: {
    kind: 'counter',
    name: 'rawslice_device_wait_seconds_total',
    help: 'Time that operations waited for their turn',
    label: 'priority',
    values: TRANSFER_PRIORITIES,
  },
  busy: {
    kind: 'counter',
    name: 'rawslice_device_busy_total',
    help: 'Operations not done because a line was full (client, write, background) or because they had not begun in time',
    label: 'bound',
    values: ['client-line', 'write-line', 'background-line', 'deadline'],
  },
  ioThreads: {
    kind: 'gauge',
    name: 'rawslice_device_threads',
    help: "Threads that serve devices only; 0 when libuv's pool does their I/O",
  },
  hungThreads: {
    kind: 'gauge',
    name: 'rawslice_device_hung_threads',
    help: 'Threads that the kernel has kept in one operation for more than 10 s',
  },
  discards: { kind: 'counter', name: 'rawslice_device_discards_total', help: 'Discards (TRIM, holes punched) that a device completed' },
  discardedBytes: { kind: 'counter', name: 'rawslice_device_discarded_bytes_total', help: 'Bytes discarded' },
  open: { kind: 'gauge', name: 'rawslice_device_open', help: 'Devices that are open' },
  direct: { kind: 'gauge', name: 'rawslice_device_direct', help: 'Open devices that bypass the page cache' },
  readSeconds: { kind: 'histogram', name: 'rawslice_device_read_seconds', help: 'Duration of reads', buckets: SECONDS_BUCKETS },
  writeSeconds: { kind: 'histogram', name: 'rawslice_device_write_seconds', help: 'Duration of writes', buckets: SECONDS_BUCKETS },
  flushSeconds: { kind: 'histogram', name: 'rawslice_device_flush_seconds', help: 'Duration of flushes', buckets: SECONDS_BUCKETS },
} as const satisfies MetricTable;
