/** The list of objects on a device: one line each as they are read, in JSON too. */
import { countText } from '../../src/base/count-text.ts';
import { formatBytes } from '../../src/base/units.ts';
import { printableKeyText } from '../../src/cache/variant-key.ts';
import { isMarker } from '../../src/cache/variant-marker.ts';
import { type DeviceView, listObjects, type StoredObject } from '../../src/store/inspect-device.ts';
import type { CommandIo } from '../command-io.ts';
import { pathOfKey } from './find-object.ts';
import { ListWriter } from './list-writer.ts';

/** What to list. */
export interface ListWishes {
  /** Beginning of the key or of the path in it; empty for all. */
  readonly prefix: string;
  readonly limit: number;
  readonly isJson: boolean;
}

/** Prints the objects; says when there are more than the limit, and how many records could not be read. */
export async function printObjects(io: CommandIo, view: DeviceView, wishes: ListWishes): Promise<void> {
  const { prefix, limit, isJson } = wishes;
  const head = `${'length'.padStart(10)}  ${'slices'.padStart(13)}  ${'fresh until'.padEnd(20)}  key`;
  const list = new ListWriter(io.terminal, { name: 'objects', limit, isJson, head });
  let unreadable = 0;
  for await (const verdict of listObjects(view)) {
    if (verdict.kind === 'unreadable') {
      unreadable += 1;
      continue;
    }
    const { keyText } = verdict.object.manifest;
    if (!keyText.startsWith(prefix) && !pathOfKey(keyText).startsWith(prefix)) continue;
    if (!list.add(toRow(verdict.object), toLine(verdict.object))) break;
  }
  list.end(prefix === '' ? 'no objects are stored' : `no object begins with ${prefix}`, { unreadable });
  if (unreadable > 0 && !isJson) {
    const records = countText(unreadable, 'record');
    io.terminal.note(`${records} could not be read (damaged, or changed by a running server meanwhile)`);
  }
}

function toRow({ manifest, sliceCount, storedSlices }: StoredObject): unknown {
  const { keyText, status, lengthBytes, generation, freshUntilMs, sliceSizeBytes } = manifest;
  return { key: keyText, status, lengthBytes, generation, freshUntilMs, sliceSizeBytes, sliceCount, storedSlices };
}

function toLine({ manifest, sliceCount, storedSlices }: StoredObject): string {
  const length = formatBytes(manifest.lengthBytes ?? 0).padStart(10);
  const slices = `${storedSlices}/${sliceCount}`.padStart(13);
  const fresh = new Date(Math.min(manifest.freshUntilMs, 253_402_300_799_000)).toISOString().slice(0, 19);
  return `${length}  ${slices}  ${`${fresh}Z`.padEnd(20)}  ${printableKeyText(manifest.keyText)}${isMarker(manifest) ? '  (variants)' : ''}`;
}
