/**
 * The door of the device layer: aligned reads and writes of blocks, and a flush. It knows nothing of slices. Implemented by
 * direct-device.ts (a block device or a regular file) and, in tests, by a simulated device that is stricter than the kernel;
 * test/contract/block-device.ts says in tests what both must do.
 */

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
   * Every buffer is page-aligned arena memory, a multiple of blockSizeBytes long (asserted).
   *
   * @throws EdgeError DEVICE_FAULT with context {operation, offsetBytes, lengthBytes, errno}
   */
  read(buffers: readonly Buffer[], offsetBytes: number): Promise<void>;

  /** Writes `buffers`, in order, at `offsetBytes`; same rules. Durable only after flush(). */
  write(buffers: readonly Buffer[], offsetBytes: number): Promise<void>;

  /**
   * Resolves when every write that was complete before the call is on stable storage. After one failure every later flush fails with the
   * same error: the kernel reports a lost write once, so that a second attempt that succeeds would prove nothing.
   */
  flush(): Promise<void>;

  /** Waits for I/O in flight, without a deadline, and closes; idempotent. Any other call afterwards is an assertion failure. */
  close(): Promise<void>;
}
