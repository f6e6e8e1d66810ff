/**
 * The objects that somebody works with now: by generation, so that all who use one version share its runs, and by key, so that a request
 * finds the newest version even while the store knows nothing of it (growing, declined, or no store at all).
 */
import { EdgeError } from '../base/errors.ts';
import { TurnoverMap } from '../base/turnover-map.ts';
import type { Manifest, ObjectHash } from '../format/manifest.ts';
import type { FillContext, FillTarget } from './fill-context.ts';
import { LiveObject, type LiveObjectOwner } from './live-object.ts';

/** The table of live objects. */
export class LiveObjects implements LiveObjectOwner {
  readonly #context: FillContext;
  readonly #byGeneration = new TurnoverMap<number, LiveObject>();
  readonly #current = new TurnoverMap<ObjectHash, LiveObject>();

  constructor(context: FillContext) {
    this.#context = context;
  }

  get count(): number {
    return this.#byGeneration.size;
  }

  /** The newest version of the key that is in use, if any. */
  findCurrent(objectHash: ObjectHash): LiveObject | undefined {
    return this.#current.get(objectHash);
  }

  /** The live object of a stored manifest. */
  open(target: FillTarget, manifest: Manifest): LiveObject {
    const live = this.#byGeneration.get(manifest.generation);
    if (live !== undefined) return live;
    const object = this.#add(target, manifest, this.#context.store.purgeSequence);
    this.#current.set(target.objectHash, object);
    return object;
  }

  /**
   * A generation that has just begun; it takes the key over from an older one, which is over: its readers finish it from what there is.
   *
   * @param source.isJoinable false when the key was purged after the request for it was sent: only those who waited for it get it
   */
  begin(target: FillTarget, manifest: Manifest, source: { purgeSequence: number; isJoinable: boolean }): LiveObject {
    const object = this.#add(target, manifest, source.purgeSequence);
    const older = this.#current.get(target.objectHash);
    if (source.isJoinable) {
      this.#current.set(target.objectHash, object);
      older?.fail(new EdgeError('UPSTREAM_CHANGED', 'The origin has another version of the object now; ask again'));
    }
    return object;
  }

  isCurrent(object: LiveObject): boolean {
    return this.#current.get(object.target.objectHash) === object;
  }

  /** Nobody new joins what is being filled for keys that match (they were purged). */
  detachAll(matches: (manifest: Manifest) => boolean): void {
    for (const [objectHash, object] of this.#current.entries()) if (matches(object.manifest)) this.#current.delete(objectHash);
  }

  /** Objects that match are stale from `atMs` on: new requests ask the origin first. */
  makeStale(matches: (manifest: Manifest) => boolean, atMs: number): void {
    for (const [, object] of this.#current.entries()) {
      const { manifest } = object;
      if (matches(manifest) && manifest.freshUntilMs > atMs) object.replaceManifest({ ...manifest, freshUntilMs: atMs });
    }
  }

  /** Nobody new joins what is being filled for this key. */
  detach(objectHash: ObjectHash): void {
    this.#current.delete(objectHash);
  }

  forget(object: LiveObject): void {
    // A failed generation is still read by those who have it; only its key is free at once.
    if (object.failure === undefined || object.isIdle) this.#byGeneration.delete(object.generation);
    if (this.isCurrent(object)) this.#current.delete(object.target.objectHash);
  }

  #add(target: FillTarget, manifest: Manifest, purgeSequence: number): LiveObject {
    const object = new LiveObject(this, this.#context, target, { manifest, purgeSequence });
    this.#byGeneration.set(manifest.generation, object);
    // Parts would be answered with everything, or come with the tag of another node: one response brings it all.
    const { abilities } = this.#context;
    if (abilities.isRangeless(target.place) || abilities.areTagsFlapping(target.place)) object.markRangeless();
    return object;
  }
}
