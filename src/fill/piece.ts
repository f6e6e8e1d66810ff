/** What a response is made of while it is on its way: pieces, each with a lease or with bytes of its own. */
import type { PooledBuffer } from '../memory/buffer-pool.ts';
import type { Lease } from '../memory/lease.ts';

/** Where a piece came from; `multipart`: it was made here, between the parts of a body. */
export type PieceTier = 'ram' | 'device' | 'fill' | 'private' | 'multipart';

/** Some bytes of a response, never none. The receiver ends `lease` and `buffer`; without either the bytes are the receiver's own. */
export interface Piece {
  readonly bytes: Buffer;
  /** The slot that they lie in. */
  readonly lease: Lease | undefined;
  /** The buffer beside the arena that they lie in, where it is to be given back. */
  readonly buffer?: PooledBuffer | undefined;
  readonly tier: PieceTier;
}
