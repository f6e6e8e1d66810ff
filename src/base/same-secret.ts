/** Compares what a client sent with a secret, in a time that tells neither where they differ nor how long the secret is. Used by both ports. */
import { hash, timingSafeEqual } from 'node:crypto';

/** Whether both are the same text. */
export function isSameSecret(given: string, secret: string): boolean {
  return timingSafeEqual(hash('sha256', given, 'buffer'), hash('sha256', secret, 'buffer'));
}
