/** Token buckets, and a bounded memory of them by key: who comes when it is full takes the place of who came longest ago. Used by rate-limit and bandwidth. */
import { LRUCache } from 'lru-cache';

/** How a bucket fills. */
export interface BucketShape {
  /** Tokens a second. */
  readonly perSecond: number;
  /** Tokens of a full bucket. */
  readonly capacity: number;
}

/** One bucket; it begins full, and may be in debt. */
export class TokenBucket {
  readonly #shape: BucketShape;
  #level: number;
  #atMs: number;

  constructor(shape: BucketShape, nowMs: number) {
    this.#shape = shape;
    this.#level = shape.capacity;
    this.#atMs = nowMs;
  }

  /** Tokens that are there; below 0 a debt. */
  level(nowMs: number): number {
    const { perSecond, capacity } = this.#shape;
    this.#level = Math.min(capacity, this.#level + (Math.max(0, nowMs - this.#atMs) * perSecond) / 1000);
    this.#atMs = nowMs;
    return this.#level;
  }

  /** Takes tokens if they are there. */
  tryTake(tokens: number, nowMs: number): boolean {
    if (this.level(nowMs) < tokens) return false;
    this.#level -= tokens;
    return true;
  }

  /** Takes tokens, into debt where they are not there. @returns milliseconds until the debt is paid */
  take(tokens: number, nowMs: number): number {
    const level = this.level(nowMs) - tokens;
    this.#level = level;
    return level >= 0 ? 0 : (-level / this.#shape.perSecond) * 1000;
  }

  /** Milliseconds until so many tokens are there. */
  waitFor(tokens: number, nowMs: number): number {
    return Math.max(0, ((tokens - this.level(nowMs)) / this.#shape.perSecond) * 1000);
  }

  /** Whether forgetting it changes nothing. */
  isFull(nowMs: number): boolean {
    return this.level(nowMs) >= this.#shape.capacity;
  }
}

/** Buckets by key. */
export class BucketMemory {
  readonly #shape: BucketShape;
  readonly #buckets: LRUCache<string, TokenBucket>;

  /** @param options.onLoss a bucket was forgotten that was not full */
  constructor(options: { readonly shape: BucketShape; readonly max: number; readonly nowMs: () => number; readonly onLoss: () => void }) {
    this.#shape = options.shape;
    this.#buckets = new LRUCache({
      max: options.max,
      dispose: (bucket, _key, reason) => {
        if (reason === 'evict' && !bucket.isFull(options.nowMs())) options.onLoss();
      },
    });
  }

  get size(): number {
    return this.#buckets.size;
  }

  of(key: string, nowMs: number): TokenBucket {
    const known = this.#buckets.get(key);
    if (known !== undefined) return known;
    const bucket = new TokenBucket(this.#shape, nowMs);
    this.#buckets.set(key, bucket);
    return bucket;
  }
}
