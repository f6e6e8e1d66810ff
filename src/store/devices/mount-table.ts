/**
 * Mounts the devices of a cache together: opens what is there, sees that it belongs together, loads the indexes in an order in which each
 * device can be told of the purges that it missed, and only then writes the mount's name on it. A crash in between leaves the device what it
 * was, and it is told again. Devices that come later, or come back, go the same way.
 */
import { EdgeError, type ErrorCode } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Random } from '../../base/random.ts';
import { formatUuid } from '../../format/format-block.ts';
import type { DeviceStore } from '../device-store.ts';
import type { MissedPurges } from '../purges/purge-desk.ts';
import type { NumberSequence } from '../recovery/persistent-counter.ts';
import type { DeviceMember } from './device-member.ts';
import { type MountHistory, type MountRole, nextMount, planMount, roleOf } from './membership.ts';

/** A device in these states is left out while others serve; for the rest an operator has to do something. */
const LEFT_OUT: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['DEVICE_ABSENT', 'DEVICE_FAULT', 'DEVICE_TRUNCATED', 'FORMAT_DAMAGED']);
const MOUNT_ID_BYTES = 8;

/** Dependencies of a mount table. */
export interface MountTableOptions {
  readonly members: readonly DeviceMember[];
  readonly random: Random;
  readonly logger: Logger;
  readonly generations: NumberSequence;
  /** Called with the stores that are there, when there were none before; their indexes are not loaded yet, or not yet served from. */
  readonly onFirstStores: (stores: readonly DeviceStore[]) => void;
}

/** One per set. */
export class MountTable {
  readonly #options: MountTableOptions;
  readonly #mountId: string;
  /** What every device of this mount remembers; undefined until the first is loaded. */
  #history: MountHistory | undefined;
  /** Stores whose indexes are loaded: each knows of every purge since. */
  readonly #loaded = new Set<DeviceStore>();

  constructor(options: MountTableOptions) {
    this.#options = options;
    this.#mountId = Buffer.from(options.random.bytes(MOUNT_ID_BYTES)).toString('hex');
  }

  /** Opens every device that can be. @throws EdgeError when an operator has to do something first, or nothing is there */
  async open(): Promise<void> {
    const { members, logger } = this.#options;
    const left: { readonly member: DeviceMember; readonly error: EdgeError }[] = [];
    for (const member of members) {
      // A second try, after one that failed for another device.
      if (member.store !== undefined) continue;
      const error = await this.#tryOpen(member);
      if (error !== undefined) left.push({ member, error });
    }
    for (const { member, error } of left) {
      // Alone, a path where nothing is may be misspelt; what is there and does not answer is a bad disk, on which no restart may loop.
      const isAlone = left.length === members.length && error.code !== 'DEVICE_FAULT';
      if (isAlone || !LEFT_OUT.has(error.code)) throw error;
      logger.error({ err: error, path: member.path }, 'A device of the cache is left out; it is tried again later');
      member.retryLater();
    }
    this.#options.onFirstStores(members.flatMap(({ store }) => store ?? []));
  }

  /** Loads the indexes of what was opened. Never throws: a device that cannot be loaded is failed, and says so. */
  async recover(): Promise<void> {
    const present = this.#options.members.filter(({ store }) => store !== undefined);
    const roles = planMount(present.map((member) => storeOf(member).superblock));
    const withRole = (...wanted: MountRole[]): DeviceStore[] =>
      present.filter((_, place) => wanted.includes(roles[place] ?? 'stranger')).map((member) => storeOf(member));
    const strangers = withRole('stranger');
    await Promise.all(strangers.map((store) => this.#load(store, this.#forgetting(store))));
    for (const store of [...withRole('leader'), ...withRole('in-step')]) {
      const role = this.#history === undefined ? 'leader' : 'in-step';
      await this.#load(store, this.#missed(store, role, strangers));
      if (isLoaded(store)) this.#history ??= nextMount(this.#mountId, store.superblock);
    }
    await Promise.all(withRole('away', 'new').map((store) => this.#load(store, this.#missed(store, 'away', strangers))));
    // Where none is there yet, the first that comes leads: it is no stranger to a mount that has held nothing.
    if (present.length > 0) this.#history ??= nextMount(this.#mountId, { mountId: this.#mountId, earlierMountIds: [] });
    for (const store of withRole('leader', 'in-step', 'away', 'new', 'stranger')) await this.#join(store);
    for (const member of present) if (storeOf(member).state !== 'online') member.retryLater();
  }

  /** Attaches a device again, or late. @throws EdgeError why it cannot be */
  async attach(member: DeviceMember): Promise<void> {
    const { logger } = this.#options;
    const before = member.store;
    const store = await member.open();
    try {
      this.#checkBelongs(member, store);
      await store.tryReading();
      const role = this.#history === undefined ? 'leader' : roleOf(store.superblock, this.#history);
      if (role === 'stranger') {
        const text = `${member.path} was used without this cache since it left; restart rawslice to take it in, empty`;
        throw new EdgeError('DEVICE_FOREIGN', text);
      }
      await store.recover(this.#missed(store, role, []));
    } catch (error) {
      await store.close();
      throw error;
    }
    if (this.#options.members.every((other) => other.store === undefined)) this.#options.onFirstStores([store]);
    if (before !== undefined) this.#loaded.delete(before);
    this.#loaded.add(store);
    member.take(store);
    this.#history ??= nextMount(this.#mountId, store.superblock);
    await this.#join(store);
    logger.info({ path: member.path, state: store.state, role: roleOf(store.superblock, this.#history) }, 'The device was attached');
  }

  async #tryOpen(member: DeviceMember): Promise<EdgeError | undefined> {
    try {
      const store = await member.open();
      try {
        this.#checkBelongs(member, store);
      } catch (error) {
        await store.close();
        throw error;
      }
      member.take(store);
      return undefined;
    } catch (error) {
      if (error instanceof EdgeError) return error;
      throw error;
    }
  }

  /** One cache, and every device once. */
  #checkBelongs(member: DeviceMember, store: DeviceStore): void {
    const { identity, cacheUuid } = store;
    for (const other of this.#options.members) {
      if (other === member || other.store === undefined) continue;
      if (Buffer.compare(other.store.identity.uuid, identity.uuid) === 0) {
        const text = `${other.path} and ${member.path} are the same device, or one is a copy of the other (UUID ${formatUuid(identity.uuid)}); name one of them`;
        throw new EdgeError('DEVICE_UNSUITABLE', text);
      }
      if (Buffer.compare(other.store.cacheUuid, cacheUuid) !== 0) {
        const uuids = `cache ${formatUuid(cacheUuid)}, ${other.path} to ${formatUuid(other.store.cacheUuid)}`;
        const text = `${member.path} belongs to ${uuids}; serve them apart, or format ${member.path} with --join ${other.path}`;
        throw new EdgeError('DEVICE_FOREIGN', text);
      }
    }
  }

  async #load(store: DeviceStore, missed: MissedPurges | undefined): Promise<void> {
    // The program may end before all are loaded.
    if (store.state !== 'loading') return;
    try {
      await store.recover(missed);
      this.#loaded.add(store);
    } catch (error) {
      this.#options.logger.error({ err: error, path: store.path }, 'The index could not be loaded');
    }
  }

  /** The mount's name goes onto a device when all that it missed is durable there. */
  async #join(store: DeviceStore): Promise<void> {
    if (this.#history !== undefined && isLoaded(store)) await store.joinMount(this.#history);
  }

  #forgetting(store: DeviceStore): MissedPurges {
    const { logger } = this.#options;
    logger.error({ path: store.path }, 'The device was used without the others; everything on it is forgotten');
    return { newestSequence: store.purgeSequence, purges: 'unknown' };
  }

  /** What a device has to be told of. `strangers`: devices whose purges nobody else heard of. */
  #missed(store: DeviceStore, role: MountRole, strangers: readonly DeviceStore[]): MissedPurges | undefined {
    const newestSequence = Math.max(0, ...[...this.#loaded].map((other) => other.purgeSequence));
    if (role === 'leader') return this.#purgesOf(strangers);
    const since = store.durablePurgeSequence;
    if (newestSequence <= since && role === 'in-step') return undefined;
    for (const other of this.#loaded) {
      const purges = other.purgeSequence === newestSequence ? other.purgesSince(since) : 'unknown';
      if (purges !== 'unknown') return { newestSequence, purges };
    }
    // Nobody knows: what was flushed by all was flushed by a device in step.
    return role === 'in-step' && this.#loaded.size === 0 ? undefined : { newestSequence, purges: 'unknown' };
  }

  /** The purges that strangers remember, as if they came now; `unknown` when one of them does not remember all that it ever heard of. */
  #purgesOf(strangers: readonly DeviceStore[]): MissedPurges | undefined {
    if (strangers.length === 0) return undefined;
    const { generations } = this.#options;
    const newestSequence = Math.max(...strangers.map((store) => store.purgeSequence));
    const purges = [];
    for (const stranger of strangers) {
      const known = isLoaded(stranger) ? stranger.purgesSince(0) : 'unknown';
      if (known === 'unknown') return { newestSequence, purges: 'unknown' };
      // The last one is that by which it forgot everything itself.
      purges.push(...known.slice(0, -1).map((purge) => ({ ...purge, generation: generations.next })));
    }
    return { newestSequence, purges, isForeign: true };
  }
}

function storeOf(member: DeviceMember): DeviceStore {
  if (member.store === undefined) throw new EdgeError('INTERNAL', `${member.path} has no store`);
  return member.store;
}

function isLoaded(store: DeviceStore): boolean {
  return store.state === 'online' || store.state === 'readonly';
}
