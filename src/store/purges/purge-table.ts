/**
 * Purges by what they cover: finds those that cover an object without looking at each. Two of one scope and softness are kept as one: it
 * covers what the later does, and makes stale since the earlier. An object from between the two counts as stale a little too early, which
 * costs a revalidation; the other way round it would outlive the first. Used by purge-memory.ts, for what is remembered and for what the
 * index has to be held against, and by recovery.
 */
import { type Coverable, type Purge, type PurgeOrder, type PurgeScope, purgeHash, tagHash } from './purge.ts';

/** Purges of different scopes; the caller bounds their number. */
export class PurgeTable {
  /** Oldest first. */
  readonly #purges = new Map<string, Purge>();
  /** How many purges there are by prefixes of each length, and by tags below such; 0 for tags wherever they are. */
  readonly #lengths = { prefix: new Map<number, number>(), tag: new Map<number, number>() };

  get size(): number {
    return this.#purges.size;
  }

  /** Oldest first. */
  values(): Iterable<Purge> {
    return this.#purges.values();
  }

  has(purge: PurgeOrder): boolean {
    return this.#purges.has(keyOf(purge, purge.isSoft));
  }

  /** Adds a purge; one with another of the same scope that is known, whichever of them came first. */
  add(purge: Purge): void {
    const key = keyOf(purge, purge.isSoft);
    const known = this.#purges.get(key) ?? purge;
    this.delete(known);
    this.#purges.set(key, {
      ...purge,
      generation: Math.max(known.generation, purge.generation),
      sequence: Math.max(known.sequence, purge.sequence),
      atMs: Math.min(known.atMs, purge.atMs),
    });
    this.#count(purge, 1);
  }

  delete(purge: Purge): void {
    if (this.#purges.delete(keyOf(purge, purge.isSoft))) this.#count(purge, -1);
  }

  /** Every purge whose scope the object lies in, whatever its generation. */
  *covering(object: Coverable): Generator<Purge> {
    yield* this.#find({ kind: 'everything', hash: '', prefixBytes: 0 });
    yield* this.#find({ kind: 'object', hash: object.objectHash, prefixBytes: 0 });
    const { prefix, tag: below } = this.#lengths;
    const mayBeTagged = object.tags.length > 0 && below.size > 0;
    if (prefix.size === 0 && !mayBeTagged) return;
    const key = Buffer.from(object.keyText, 'utf8');
    for (const prefixBytes of prefix.keys()) {
      if (prefixBytes > key.length) continue;
      yield* this.#find({ kind: 'prefix', hash: purgeHash(key.subarray(0, prefixBytes)), prefixBytes });
    }
    if (!mayBeTagged) return;
    for (const prefixBytes of below.keys()) {
      if (prefixBytes > key.length) continue;
      const keyPrefix = key.subarray(0, prefixBytes);
      for (const tag of object.tags) yield* this.#find({ kind: 'tag', hash: tagHash(keyPrefix, tag), prefixBytes });
    }
  }

  *#find(scope: PurgeScope): Generator<Purge> {
    for (const isSoft of [false, true]) {
      const purge = this.#purges.get(keyOf(scope, isSoft));
      if (purge !== undefined) yield purge;
    }
  }

  #count(purge: Purge, amount: number): void {
    if (purge.kind !== 'prefix' && purge.kind !== 'tag') return;
    const lengths = this.#lengths[purge.kind];
    const count = (lengths.get(purge.prefixBytes) ?? 0) + amount;
    if (count === 0) lengths.delete(purge.prefixBytes);
    else lengths.set(purge.prefixBytes, count);
  }
}

function keyOf(scope: PurgeScope, isSoft: boolean): string {
  const depth = isSoft ? 'soft' : 'hard';
  return scope.kind === 'everything' ? `everything/${depth}` : `${scope.kind}/${depth}/${scope.prefixBytes}/${scope.hash}`;
}
