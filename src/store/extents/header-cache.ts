/**
 * Headers of slices that proved themselves, so that reading another part of such a slice takes one read of the device, of its chunks alone.
 * By write sequence, which is never given twice: what is kept cannot become wrong, only useless. It says what was written, not what lies on
 * the device now: chunks are held against its checksums, and nobody who looks for damage may use it. Used by extent-reader.
 */
import { LRUCache } from 'lru-cache';
import type { MetricSet } from '../../base/metrics.ts';
import type { ChunkTable, ExtentHeader } from '../../format/extent-header.ts';
import type { StoreLimits } from '../store-limits.ts';
import type { STORE_METRICS } from '../store-metrics.ts';

/** What is needed to read and verify any part of an extent. */
export interface KnownHeader {
  readonly header: Omit<ExtentHeader, 'keyText'>;
  readonly chunks: ChunkTable;
}

/** Headers used lately; one cache per mounted store. */
export class HeaderCache {
  readonly #metrics: MetricSet<typeof STORE_METRICS>;
  readonly #headers: LRUCache<number, KnownHeader>;

  /** Bounded by `headersKept` and `headerChunksKept`. */
  constructor(limits: StoreLimits, metrics: MetricSet<typeof STORE_METRICS>) {
    this.#metrics = metrics;
    this.#headers = new LRUCache({
      max: limits.headersKept,
      maxSize: limits.headerChunksKept,
      sizeCalculation: ({ chunks }) => Math.max(1, chunks.length),
      dispose: (_known, _writeSequence, reason) => (reason === 'evict' ? metrics.add('headersGivenUp') : undefined),
    });
  }

  /** Counted as a look-up for a part of a slice. */
  find(writeSequence: number): KnownHeader | undefined {
    const known = this.#headers.get(writeSequence);
    this.#metrics.add('headerReads', 1, known === undefined ? 'device' : 'memory');
    return known;
  }

  /** Keeps a header that proved itself, without the text of its key. */
  keep({ header: { keyText: _keyText, ...header }, chunks }: { readonly header: ExtentHeader; readonly chunks: ChunkTable }): void {
    this.#headers.set(header.writeSequence, { header, chunks });
  }

  /** What lies on the device is something else: the header is to be read again. */
  doubt(writeSequence: number): void {
    this.#metrics.add('headerReads', 1, 'doubted');
    this.#headers.delete(writeSequence);
  }
}
