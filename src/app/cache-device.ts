/**
 * Brings the configured devices to the point where a cache can be opened on them: looks what is there, creates and formats regular files that
 * do not exist, formats a blank device only when told to, and says how each is claimed. Anything else on a device is never written.
 */
import { rm } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { EdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { Random } from '../base/random.ts';
import type { EdgeConfig } from '../config/edge-config.ts';
import { createSparseFile, defaultFileSizeBytes } from '../device/create-file.ts';
import { findAlias } from '../device/device-alias.ts';
import type { DEVICE_METRICS } from '../device/device-metrics.ts';
import { type DirectDevice, openDirectDevice } from '../device/direct-device.ts';
import { mayCreateFile, mayFormat, mayOpen } from '../device/guard.ts';
import { type DeviceProbe, probeDevice } from '../device/probe.ts';
import { wipeEdges } from '../device/wipe.ts';
import { DEVICE_MIN_BYTES } from '../format/geometry.ts';
import type { Arena } from '../memory/arena.ts';
import { formatDevice, makeUuid } from '../store/device-format.ts';
import type { MemberDevice } from '../store/devices/device-member.ts';
import { readRoot } from '../store/recovery/root-area.ts';

/** What opening needs. */
export interface CacheDeviceOptions {
  readonly device: EdgeConfig['device'];
  /** Whether device.size was chosen, rather than left at its default. */
  readonly isSizeChosen: boolean;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: MetricSet<typeof DEVICE_METRICS>;
}

/** Devices that hold a cache each, as far as they are there. */
export interface CacheDevices {
  readonly devices: readonly MemberDevice[];
  /** Paths that were empty a moment ago. */
  readonly formatted: readonly string[];
}

/**
 * Formats what is new, all of one cache. What is missing or failing is left to be met again at its opening.
 *
 * @throws EdgeError DEVICE_*, with what to do about it; CONFIG_INVALID when two paths lead to one device
 */
export async function prepareCacheDevices(options: CacheDeviceOptions): Promise<CacheDevices> {
  const { paths, formatsBlank } = options.device;
  const alias = await findAlias(paths);
  if (alias !== undefined) throw new EdgeError('CONFIG_INVALID', `${alias[1]} names the same device as ${alias[0]}; name it once`);
  const found: { readonly path: string; readonly probe: DeviceProbe }[] = [];
  for (const path of paths) {
    const probe = await tryProbe(path);
    if (probe !== undefined) found.push({ path, probe });
  }
  const isNew = ({ probe }: { readonly probe: DeviceProbe }): boolean =>
    probe.kind === 'absent' ? mayCreateFile(probe).kind === 'allowed' : probe.signature?.kind === 'blank' && formatsBlank;
  const fresh = found.filter(isNew);
  const cacheUuid = fresh.length === 0 ? undefined : await findCacheUuid(options, found);
  for (const { path, probe } of fresh) {
    if (probe.kind === 'absent') await createAndFormat(options, path, cacheUuid);
    else {
      allowOrThrow(mayFormat(probe, { force: false, minSizeBytes: DEVICE_MIN_BYTES }));
      await format(options, path, cacheUuid);
    }
  }
  return {
    devices: paths.map((path) => ({ path, open: () => openFormatted(options, path) })),
    formatted: fresh.map(({ path }) => path),
  };
}

async function tryProbe(path: string): Promise<DeviceProbe | undefined> {
  try {
    return await probeDevice(path);
  } catch (error) {
    if (error instanceof EdgeError && error.code === 'DEVICE_FAULT') return undefined;
    throw error;
  }
}

/** The cache that new devices join: that of the first device which has one, else one of their own. */
async function findCacheUuid(options: CacheDeviceOptions, found: readonly { path: string; probe: DeviceProbe }[]): Promise<Uint8Array> {
  for (const { path, probe } of found) {
    if (probe.signature?.kind !== 'rawslice') continue;
    const device = await open(options, path, 'read-only');
    try {
      return (await readRoot(device, options.arena)).format.cacheUuid;
    } catch (error) {
      // It will be refused, or left out, when it is opened.
      if (!(error instanceof EdgeError)) throw error;
    } finally {
      await device.close();
    }
  }
  return makeUuid(options.random);
}

async function createAndFormat(options: CacheDeviceOptions, path: string, cacheUuid: Uint8Array | undefined): Promise<void> {
  await createSparseFile(path, options.isSizeChosen ? options.device.sizeBytes : await defaultFileSizeBytes(path));
  try {
    await format(options, path, cacheUuid);
  } catch (error) {
    // Half a format would be refused at every later start; the file is ours, nobody else has written to it.
    await rm(path, { force: true });
    throw error;
  }
}

async function format(options: CacheDeviceOptions, path: string, cacheUuid: Uint8Array | undefined): Promise<void> {
  const { arena, clock, random } = options;
  const device = await open(options, path, 'read-write');
  try {
    await wipeEdges(device, arena);
    await formatDevice(device, { clock, random, cacheUuid });
  } finally {
    await device.close();
  }
}

async function openFormatted(options: CacheDeviceOptions, path: string): Promise<DirectDevice> {
  allowOrThrow(mayOpen(await probeDevice(path), 'read-write'));
  return open(options, path, 'read-write');
}

async function open(options: CacheDeviceOptions, path: string, access: 'read-only' | 'read-write'): Promise<DirectDevice> {
  const { arena, clock, logger, metrics } = options;
  // One that is only looked at for a moment needs no threads.
  const io = access === 'read-only' ? 'pool' : options.device.io;
  const device = await openDirectDevice({ path, access, io, arena, clock, logger, metrics });
  if (!device.isReadOnly) logger.info({ path, io: device.io, direct: device.isDirect }, 'opened a device');
  return device;
}

function allowOrThrow(verdict: ReturnType<typeof mayOpen>): void {
  if (verdict.kind === 'refused') throw verdict.error;
}
