/**
 * Golden images: small devices written by one version of the program and committed, so that every later version either reads them exactly
 * or refuses them by their version. An image is a device compressed with gzip; beside it lies what it holds, each slice by its SHA-256, so
 * that nothing of today's helpers is needed to check it.
 *
 * `node test/format/golden/golden-world.ts` writes the images of the present version; commit them when a format has settled, and never
 * write an image of an older version again.
 */
import { createHash } from 'node:crypto';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { createSilentLogger } from '../../../src/base/log.ts';
import { SeededRandom } from '../../../src/base/random.ts';
import { KIB, MIB } from '../../../src/base/units.ts';
import { FORMAT_VERSION } from '../../../src/format/format-block.ts';
import type { Manifest } from '../../../src/format/manifest.ts';
import { Arena } from '../../../src/memory/arena.ts';
import { formatDevice } from '../../../src/store/device-format.ts';
import { openStore } from '../../../src/store/device-store.ts';
import { SimulatedDisk } from '../../simulation/simulated-device.ts';
import { VirtualClock } from '../../simulation/virtual-clock.ts';
import { makeManifest, sliceBytes, sliceCount, sliceLength } from '../../store/store-bench.ts';

const FOLDER = import.meta.dirname;
const CAPACITY_BYTES = 1536 * KIB;
const LIMIT_MS = 60_000;

/** One object of an image. */
export interface GoldenObject {
  readonly manifest: Manifest;
  /** SHA-256 of the bytes of every slice, in hexadecimal. */
  readonly slices: readonly string[];
}

/** What is known of an image. */
export interface GoldenFacts {
  readonly formatVersion: number;
  /** `clean`: closed in order. `crash`: the power failed; part of it is in the journal only. */
  readonly end: 'clean' | 'crash';
  readonly present: readonly GoldenObject[];
  /** Keys that were purged or dropped: not to be found. */
  readonly absent: readonly string[];
}

/** An image as it was committed. */
export interface GoldenImage {
  readonly name: string;
  readonly facts: GoldenFacts;
  readonly bytes: Buffer;
}

/** Every image in the folder, in the order of their names. */
export function readGoldenImages(): GoldenImage[] {
  return globSync('*.json', { cwd: FOLDER })
    .sort()
    .map((file) => {
      const name = file.slice(0, -'.json'.length);
      const facts: GoldenFacts = JSON.parse(readFileSync(path.join(FOLDER, file), 'utf8'));
      return { name, facts, bytes: gunzipSync(readFileSync(path.join(FOLDER, `${name}.img.gz`))) };
    });
}

/** A disk that holds `bytes`. */
export function diskWith(bytes: Buffer): SimulatedDisk {
  const disk = new SimulatedDisk({ capacityBytes: bytes.length, random: new SeededRandom(1) });
  disk.poke(0, bytes);
  return disk;
}

/** An image of the present version: the same bytes at every call. */
export async function makeGoldenImage(end: 'clean' | 'crash'): Promise<GoldenImage> {
  const clock = new VirtualClock();
  const arena = new Arena({ sizeBytes: 4 * MIB, clock });
  const random = new SeededRandom(end === 'clean' ? 101 : 102);
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY_BYTES, random });
  const formatting = disk.open();
  const parameters = { labelBytes: 32 * KIB, journalBytes: 64 * KIB, groupBytes: MIB, entryCount: 64 };
  await formatDevice(formatting, { clock, random, parameters });
  await formatting.close();
  const store = await openStore({ device: disk.open(), arena, clock, logger: createSilentLogger(), compression: 'auto' });
  const wait = <T>(promise: Promise<T>): Promise<T> => clock.wait(promise, 'the maker of golden images', LIMIT_MS);

  const add = async (keyText: string, lengthBytes: number, changes: Partial<Manifest> = {}): Promise<GoldenObject> => {
    const manifest = makeManifest(keyText, store.nextGeneration(), lengthBytes, changes);
    store.offerManifest(manifest, store.purgeSequence);
    const slices: string[] = [];
    for (let sliceNumber = 0; sliceNumber < sliceCount(manifest); sliceNumber += 1) {
      const bytes = sliceBytes(keyText, manifest.generation, sliceNumber, sliceLength(manifest, sliceNumber));
      slices.push(createHash('sha256').update(bytes).digest('hex'));
      const lease = arena.tryLease('fill', bytes.length);
      if (lease === undefined) throw new Error('the arena holds a slice');
      lease.bytes.set(bytes);
      const { objectHash, generation } = manifest;
      store.offerSlice({ objectHash, generation, sliceNumber, lease, lengthBytes: bytes.length });
      lease.end();
    }
    await wait(store.drain());
    return { manifest, slices };
  };
  const old = await add('http://golden/replaced', 30 * KIB);
  const large = await add('http://golden/large', 200_001, {
    fields: [
      ['etag', '"large"'],
      ['x-odd', 'ä \t;,"'],
    ],
  });
  const purged = await add('http://golden/purged', 70 * KIB);
  const empty = await add('http://golden/empty', 0, { status: 404 });
  await wait(store.checkpoint());
  const small = await add('http://golden/small', 1, { sliceSizeBytes: 8 * MIB });
  const replaced = await add('http://golden/replaced', 5000);
  const dropped = await add('http://golden/dropped', 100);
  const freshness = { receivedAtMs: 1_800_000_000_001, initialAgeSeconds: 77, freshUntilMs: 1_900_000_000_009 };
  store.refreshManifest(large.manifest.objectHash, large.manifest.generation, freshness);
  store.dropManifest(dropped.manifest.objectHash, dropped.manifest.generation);
  await wait(store.purge({ kind: 'object', objectHash: purged.manifest.objectHash }));
  const hidden = await add('http://golden/by-prefix/one', 70 * KIB);
  const tagged = await add('http://golden/by-tag', 300, { tags: ['release'] });
  await wait(store.purge({ kind: 'prefix', keyPrefix: 'http://golden/by-prefix/' }));
  await wait(store.purge({ kind: 'tag', tag: 'release' }));
  const last = await add('http://golden/last', 65_537, { fields: [['content-type', 'text/plain']] });
  if (old.manifest.generation >= replaced.manifest.generation) throw new Error('generations rise');
  if (end === 'crash') disk.crash(random, 'none');
  await wait(store.close());
  const present = [{ ...large, manifest: { ...large.manifest, ...freshness } }, empty, small, replaced, last];
  const gone = [purged, dropped, hidden, tagged].map(({ manifest }) => manifest.keyText);
  const facts = { formatVersion: FORMAT_VERSION, end, present, absent: gone };
  return { name: `v${FORMAT_VERSION}-${end}`, facts, bytes: disk.peek(0, CAPACITY_BYTES) };
}

if (import.meta.main) {
  for (const end of ['clean', 'crash'] as const) {
    const { name, facts, bytes } = await makeGoldenImage(end);
    writeFileSync(path.join(FOLDER, `${name}.img.gz`), gzipSync(bytes, { level: 9 }));
    writeFileSync(path.join(FOLDER, `${name}.json`), `${JSON.stringify(facts, null, 2)}\n`);
    process.stdout.write(`${name}: ${bytes.length} bytes, ${facts.present.length} objects\n`);
  }
}
