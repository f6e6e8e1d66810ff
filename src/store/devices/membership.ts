/**
 * Who was mounted with whom. Every mount has a random name; all devices that are mounted together write it into their superblocks, with the
 * names of the mounts before. What two devices remember tells whether one of them was away, and which purges it has to be told of.
 *
 *   in-step    mounted last with the leader           told of purges that it had not flushed
 *   away       its last mount is an earlier one       told of the purges since; forgets everything when they are not all remembered
 *   new        never mounted                          it is empty
 *   stranger   in nobody's history                    forgets everything, its generations may be given twice; what it remembers of purges
 *                                                     counts for the others too
 */
import { EARLIER_MOUNTS_MAX, NO_MOUNT_ID, type Superblock } from '../../format/superblock.ts';

/** What a superblock says of mounts. */
export type MountHistory = Pick<Superblock, 'mountId' | 'earlierMountIds'>;
/** What a device is to the one that leads. */
export type MountRole = 'leader' | 'in-step' | 'away' | 'new' | 'stranger';

/** What a device with `history` is to those that are mounted as `leading`. */
export function roleOf(history: MountHistory, leading: MountHistory): Exclude<MountRole, 'leader'> {
  if (history.mountId === NO_MOUNT_ID) return 'new';
  if (history.mountId === leading.mountId) return 'in-step';
  return leading.earlierMountIds.includes(history.mountId) ? 'away' : 'stranger';
}

/** The role of each device. The leader is the one whose history explains the most others; then the one that knows of the newest purge. */
export function planMount(devices: readonly Superblock[]): readonly MountRole[] {
  const explained = (leading: Superblock): number => devices.filter((device) => roleOf(device, leading) !== 'stranger').length;
  const better = (left: Superblock, right: Superblock): number =>
    explained(right) - explained(left) ||
    Number(left.mountId === NO_MOUNT_ID) - Number(right.mountId === NO_MOUNT_ID) ||
    right.purgeSequence - left.purgeSequence ||
    right.sequence - left.sequence;
  const [leader] = [...devices].sort(better);
  return devices.map((device) => (device === leader || leader === undefined ? 'leader' : roleOf(device, leader)));
}

/** The history that all devices have once they are mounted together after `leading` was. */
export function nextMount(mountId: string, leading: MountHistory): MountHistory {
  const earlier = [leading.mountId, ...leading.earlierMountIds].filter((id) => id !== NO_MOUNT_ID && id !== mountId);
  return { mountId, earlierMountIds: earlier.slice(0, EARLIER_MOUNTS_MAX) };
}
