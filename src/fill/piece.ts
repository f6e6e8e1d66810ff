/** What a response is made of while it is on its way: pieces, each with a lease or with bytes of its own. */
import type { Lease } from '../memory/lease.ts';

/** Where a piece came from; `multipart`: it was made here, between the parts of a body. */
export type PieceTier = 'ram' | 'device' | 'fill' | 'private' | 'multipart';

/** Some bytes of a response, never none. The receiver ends `lease`; without one the bytes are the receiver's own. */
export interface Piece {
  readonly bytes: Buffer;
  readonly lease: Lease | undefined;
  readonly tier: PieceTier;
}
