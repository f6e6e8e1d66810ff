/**
 * Device I/O through libuv's pool, which DNS, zlib and file access share. It takes no more of the pool's threads than its lanes are wide, so
 * that a device that hangs leaves some for the others (tools/rawslice sets 16). Made by direct-device.ts.
 */
import { fdatasync, readv, writev } from 'node:fs';
import { promisify } from 'node:util';
import type { IoEngine, MoveOperation } from './io-engine.ts';

/** DECISIONS.md has the numbers: four reads at a time were a third of eight; more than two writes made reads beside them slower. */
const READS_MAX = 8;
const WRITES_MAX = 2;

/** See IoEngine. Its errors are Node's own, which have the `code` of an IoError. */
export class PoolEngine implements IoEngine {
  readonly kind = 'pool';
  readonly lanes = { read: { atOnceMax: READS_MAX, threads: READS_MAX }, write: { atOnceMax: WRITES_MAX, threads: WRITES_MAX } };
  /** IOV_MAX of Linux. */
  readonly buffersMax = 1024;
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  move(operation: MoveOperation, buffers: readonly Buffer[], offsetBytes: number): Promise<number> {
    const call = operation === 'read' ? readv : writev;
    return new Promise((resolve, reject) => {
      call(this.#fd, buffers, offsetBytes, (error, moved) => (error === null ? resolve(moved) : reject(error)));
    });
  }

  flush(): Promise<void> {
    return promisify(fdatasync)(this.#fd);
  }

  async close(): Promise<void> {}
}
