/**
 * Brings the configured device to the point where a store can be opened on it: looks what is there, creates and formats a regular file that
 * does not exist, formats a blank device only when told to, and claims it. Anything else on it is never written.
 */
import { rm } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { EdgeConfig } from '../config/edge-config.ts';
import { createSparseFile, defaultFileSizeBytes } from '../device/create-file.ts';
import { type DirectDevice, openDirectDevice } from '../device/direct-device.ts';
import { mayCreateFile, mayFormat, mayOpen } from '../device/guard.ts';
import { type DeviceProbe, probeDevice } from '../device/probe.ts';
import { wipeEdges } from '../device/wipe.ts';
import { DEVICE_MIN_BYTES } from '../format/geometry.ts';
import type { Arena } from '../memory/arena.ts';
import { formatDevice } from '../store/device-format.ts';

/** What opening needs. */
export interface CacheDeviceOptions {
  readonly device: EdgeConfig['device'];
  /** Whether device.size was chosen, rather than left at its default. */
  readonly isSizeChosen: boolean;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** An open device, and whether it was empty a moment ago. */
export interface OpenedDevice {
  readonly device: DirectDevice;
  readonly wasFormatted: boolean;
}

/** @throws EdgeError DEVICE_*, with what to do about it */
export async function openCacheDevice(options: CacheDeviceOptions): Promise<OpenedDevice> {
  const { path } = options.device;
  const probe = await probeDevice(path);
  if (probe.kind === 'absent') return createAndFormat(options, probe);
  if (probe.signature?.kind === 'blank' && options.device.formatsBlank) {
    allowOrThrow(mayFormat(probe, { force: false, minSizeBytes: DEVICE_MIN_BYTES }));
    return { device: await format(options), wasFormatted: true };
  }
  allowOrThrow(mayOpen(probe, 'read-write'));
  return { device: await open(options), wasFormatted: false };
}

async function createAndFormat(options: CacheDeviceOptions, probe: DeviceProbe): Promise<OpenedDevice> {
  const { path, sizeBytes } = options.device;
  allowOrThrow(mayCreateFile(probe));
  await createSparseFile(path, options.isSizeChosen ? sizeBytes : await defaultFileSizeBytes(path));
  try {
    return { device: await format(options), wasFormatted: true };
  } catch (error) {
    // Half a format would be refused at every later start; the file is ours, nobody else has written to it.
    await rm(path, { force: true });
    throw error;
  }
}

async function format(options: CacheDeviceOptions): Promise<DirectDevice> {
  const { arena, clock, random } = options;
  const device = await open(options);
  try {
    await wipeEdges(device, arena);
    await formatDevice(device, { clock, random });
    return device;
  } catch (error) {
    await device.close();
    throw error;
  }
}

async function open(options: CacheDeviceOptions): Promise<DirectDevice> {
  const { arena, clock, logger } = options;
  const { path, io } = options.device;
  const device = await openDirectDevice({ path, access: 'read-write', io, arena, clock, logger });
  logger.info({ path, io: device.io, direct: device.isDirect }, 'opened the device');
  return device;
}

function allowOrThrow(verdict: ReturnType<typeof mayOpen>): void {
  if (verdict.kind === 'refused') throw verdict.error;
}
