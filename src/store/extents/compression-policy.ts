/**
 * Whether a slice is worth trying to compress. It costs a thread 3 ms a MiB, so what is packed already is not tried: by what its response
 * says of it, and by what became of the object's slices before. The table is about bytes: formats that compress themselves.
 */
import { LRUCache } from 'lru-cache';
import type { Manifest } from '../../format/manifest.ts';

/** `auto`: where it pays. */
export type CompressionMode = 'auto' | 'off';

/** What became of a slice: stored compressed; or raw because of its type, its object's earlier slices, itself, or for want of time. */
export const COMPRESSION_OUTCOMES = ['compressed', 'type', 'memory', 'probe', 'load'] as const;

/** Families whose members are packed, with the exceptions. */
const PACKED_FAMILIES: ReadonlyMap<string, readonly string[]> = new Map([
  ['audio', ['midi', 'wav', 'x-wav', 'vnd.wave']],
  ['image', ['svg+xml', 'bmp', 'x-ms-bmp', 'tiff', 'x-icon', 'vnd.microsoft.icon']],
  ['video', []],
]);
const PACKED_TYPES = new Set([
  'application/brotli',
  'application/epub+zip',
  'application/gzip',
  'application/java-archive',
  'application/vnd.android.package-archive',
  'application/vnd.debian.binary-package',
  'application/vnd.rar',
  'application/x-7z-compressed',
  'application/x-brotli',
  'application/x-bzip',
  'application/x-bzip2',
  'application/x-compress',
  'application/x-deb',
  'application/x-debian-package',
  'application/x-gzip',
  'application/x-lzip',
  'application/x-lzma',
  'application/x-rar-compressed',
  'application/x-redhat-package-manager',
  'application/x-rpm',
  'application/x-xz',
  'application/x-zip-compressed',
  'application/x-zstd',
  'application/zip',
  'application/zstd',
  'font/woff',
  'font/woff2',
]);
const PACKED_PREFIXES = ['application/vnd.oasis.opendocument.', 'application/vnd.openxmlformats-officedocument.'];

/** Objects whose slices did not shrink. */
const OBJECTS_REMEMBERED = 4096;
/** Slices of an object that must fail in a row before the rest is passed over, and how many of that rest one is tried again. */
const FAILURES_BEFORE_SKIP = 2;
const RETRY_EVERY = 16;

/** Decides for one store. */
export class CompressionPolicy {
  readonly #mode: CompressionMode;
  /** Slices that failed in a row, by generation. */
  readonly #failures = new LRUCache<number, number>({ max: OBJECTS_REMEMBERED });

  constructor(mode: CompressionMode) {
    this.#mode = mode;
  }

  /** `try` it, or why not. `manifest` where it is known. */
  decide(
    slice: { readonly generation: number; readonly sliceNumber: number },
    manifest: Manifest | undefined,
  ): 'try' | 'off' | 'type' | 'memory' {
    if (this.#mode === 'off') return 'off';
    if (manifest !== undefined && isPacked(manifest)) return 'type';
    const failures = this.#failures.get(slice.generation) ?? 0;
    return failures >= FAILURES_BEFORE_SKIP && slice.sliceNumber % RETRY_EVERY !== 0 ? 'memory' : 'try';
  }

  /** Remembers what became of a slice that was tried. */
  remember(generation: number, hasShrunk: boolean): void {
    if (hasShrunk) this.#failures.delete(generation);
    else this.#failures.set(generation, (this.#failures.get(generation) ?? 0) + 1);
  }
}

/** Whether the response says that its bytes are compressed: a content coding, or a media type of a packed format. */
function isPacked(manifest: Manifest): boolean {
  for (const [name, value] of manifest.fields) {
    if (name === 'content-encoding' && value.toLowerCase() !== 'identity') return true;
    if (name === 'content-type' && isPackedType((value.split(';', 1)[0] ?? '').trim().toLowerCase())) return true;
  }
  return false;
}

function isPackedType(type: string): boolean {
  const [family = '', member = ''] = type.split('/', 2);
  const exceptions = PACKED_FAMILIES.get(family);
  if (exceptions !== undefined) return !exceptions.includes(member);
  return PACKED_TYPES.has(type) || PACKED_PREFIXES.some((prefix) => type.startsWith(prefix));
}
