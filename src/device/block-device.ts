/**
 * The door of the device layer: aligned reads and writes of blocks, a flush, and where the device can, a discard. It knows nothing of
 * slices. Implemented by direct-device.ts (a block device or a regular file) and, in tests, by a simulated device that is stricter than the
 * kernel; test/contract/block-device.ts says in tests what both must do.
 */

/** Who waits for a transfer, most urgent first: a client, a record to be written, or nobody (scrubbing, checkpoints). */
export const TRANSFER_PRIORITIES = ['client', 'write', 'background'] as const;
/** One of TRANSFER_PRIORITIES. */
export type TransferPriority = (typeof TRANSFER_PRIORITIES)[number];

/** Wishes for one transfer. */
export interface TransferOptions {
  /** `client` for a read and `write` for a write when undefined. */
  readonly priority?: TransferPriority | undefined;
  /** A transfer that has not begun after so many milliseconds is not done, and fails with DEVICE_BUSY; no limit when undefined. */
  readonly beginWithinMs?: number | undefined;
}

/** `busy`: not done, one at a time; `unable`: not done, and it never will be on this device. It does not fail otherwise. */
export type DiscardOutcome = 'done' | 'busy' | 'unable';

/** A device that is open and, unless it is read-only, held by this process alone. */
export interface BlockDevice {
  readonly path: string;
  /** Unit of every offset and length: 4 KiB, or the physical block where that is larger. */
  readonly blockSizeBytes: number;
  /** Bytes that can be addressed, a multiple of blockSizeBytes. */
  readonly capacityBytes: number;
  /** False when the file system refused O_DIRECT and I/O goes through the page cache. */
  readonly isDirect: boolean;
  readonly isReadOnly: boolean;

  /**
   * Fills `buffers`, in order, from `offsetBytes` on. Short transfers are continued inside.
   * Every buffer is page-aligned arena memory, a multiple of blockSizeBytes long (asserted), and the device's until the promise settles.
   * Beside a write of the same blocks each byte is the old or the new one; no larger unit is whole, for the page cache keeps none.
   *
   * @throws EdgeError DEVICE_FAULT with context {operation, offsetBytes, lengthBytes, errno}; DEVICE_BUSY when too many wait, or when it
   *   has not begun in time: nothing was done then, and nothing is wrong with the device
   */
  read(buffers: readonly Buffer[], offsetBytes: number, options?: TransferOptions): Promise<void>;

  /** Writes `buffers`, in order, at `offsetBytes`; same rules. Durable only after flush(). */
  write(buffers: readonly Buffer[], offsetBytes: number, options?: TransferOptions): Promise<void>;

  /**
   * Resolves when every write that was complete before the call is on stable storage. After one failure every later flush fails with the
   * same error: the kernel reports a lost write once, so that a second attempt that succeeds would prove nothing.
   */
  flush(): Promise<void>;

  /**
   * Tells the device that `lengthBytes` (whole blocks) at `offsetBytes` hold nothing any more, so that it can use the room: TRIM on a block
   * device, a hole in a file. They read as anything afterwards, until they are written. Missing where discarding has no meaning.
   */
  discard?(offsetBytes: number, lengthBytes: number): Promise<DiscardOutcome>;

  /**
   * Waits for I/O under way and closes; idempotent. Any other call afterwards is an assertion failure. A device that does not answer is
   * given up after a while: what has not begun fails with DEVICE_BUSY, what the kernel has never settles, and the claim on the device stays
   * until it answers or the process ends, since a late write may still arrive there.
   */
  close(): Promise<void>;
}
