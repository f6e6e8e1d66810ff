/**
 * What carries system calls for a device: libuv's pool (pool-engine.ts) or threads of its own (thread-engine.ts). An engine knows neither
 * priorities nor metrics; direct-device.ts gives it no more at a time than `lanes` says, and closes it when nothing is under way.
 */
import type { LaneName, LaneWidth } from './transfer-queue.ts';

/** What an engine can be told to do with bytes. */
export type MoveOperation = 'read' | 'write';

/** See the header. */
export interface IoEngine {
  readonly kind: 'pool' | 'threads';
  readonly lanes: Readonly<Record<LaneName, LaneWidth>>;
  /** Buffers that one call takes. */
  readonly buffersMax: number;

  /**
   * One system call: as much as the kernel moves at once.
   *
   * @returns bytes moved
   * @throws IoError
   */
  move(operation: MoveOperation, buffers: readonly Buffer[], offsetBytes: number): Promise<number>;

  /** One fdatasync(2). @throws IoError */
  flush(): Promise<void>;

  /** Ends what the engine started. Nothing may be under way. */
  close(): Promise<void>;
}

/** A system call that failed, or could not be made; `code` is the errno's name where the kernel gave one. */
export class IoError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}
