/**
 * kill -9 and orderly ends of the real program: what was stored is there again, what was purged is not, what changed at the origin is never
 * mixed, and no byte is ever wrong.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { type BodyIdentity, verifyBody } from '../helpers/body.ts';
import { CACHE_PLACES, type CachePlace } from '../helpers/cache-place.ts';
import { type ClientResponse, stall } from '../helpers/client.ts';
import { heavyUnlessFirst, isHeavy } from '../helpers/heavy.ts';
import { Origin } from '../helpers/origin.ts';
import { type RawsliceProcess, startRawslice } from '../helpers/rawslice-process.ts';

const SET = { 'memory.arena': '32MiB', 'slice.size': '64KiB' };

/** What the test knows of one object at the origin. */
interface KnownObject {
  readonly path: string;
  readonly lengthBytes: number;
  /** The present version. */
  identity: BodyIdentity;
  /** Every version so far: a load under way may be answered from an older one, but never from two. */
  readonly versions: BodyIdentity[];
}

/** One campaign of crashes against one device, and what is known of the objects. */
class Campaign {
  readonly random: SeededRandom;
  /** Written to the device: hits after a crash. */
  readonly stored: KnownObject[] = [];
  /** Purged before the crash, and not asked for since. */
  purged: KnownObject[] = [];
  /** Purged, changed and under way when the crash came. */
  unsettled: KnownObject[] = [];
  /** New and under way when the crash came. */
  partial: KnownObject[] = [];
  readonly #origin: Origin;
  #count = 0;

  constructor(origin: Origin, random: SeededRandom) {
    this.#origin = origin;
    this.random = random;
  }

  add(): KnownObject {
    const lengthBytes = 50 * KIB + this.random.integerBelow(512 * KIB);
    const path = `/${this.#count}.bin`;
    this.#count += 1;
    const identity = this.#origin.setObject(path, { lengthBytes, cacheControl: 'max-age=3600' });
    return { path, lengthBytes, identity, versions: [identity] };
  }

  change(object: KnownObject): void {
    object.identity = this.#origin.change(object.path);
    object.versions.push(object.identity);
  }

  /** Takes some of the stored objects away. */
  takeStored(count: number): KnownObject[] {
    return Array.from({ length: count }, () => this.stored.splice(this.random.integerBelow(this.stored.length), 1)).flat();
  }

  /** The rest of the object from its start or from anywhere. */
  range({ lengthBytes }: KnownObject): { start: number; text: string } {
    const start = this.random.integerBelow(2) === 0 ? 0 : this.random.integerBelow(lengthBytes);
    return { start, text: `bytes=${start}-` };
  }
}

/** Asks for the whole object; which of its versions the answer is, decided by ETag and verified to the byte. */
async function fetchWhole(rawslice: RawsliceProcess, origin: Origin, object: KnownObject): Promise<ClientResponse> {
  const { etag } = origin.validators(object.path);
  const answer = await rawslice.get(object.path, {}, { expect: object.identity });
  assert.deepEqual([answer.status, answer.isComplete, answer.bodyBytes], [200, true, object.lengthBytes], object.path);
  assert.equal(answer.headers.etag, etag, object.path);
  assert.equal(answer.wrongAt, -1, `${object.path}: a wrong byte`);
  return answer;
}

/** Load that a kill cuts off: each answer, as far as it came, is one version's bytes throughout. */
async function loadUntilCut(rawslice: RawsliceProcess, campaign: Campaign, objects: readonly KnownObject[]): Promise<void> {
  const loads = objects.map(async (object) => {
    const { start, text } = campaign.range(object);
    const pieces: Buffer[] = [];
    const onBytes = (bytes: Buffer): void => void pieces.push(bytes);
    // Cut off before the head came: nothing to look at.
    await rawslice.get(object.path, { Range: text }, { onBytes }).catch(() => undefined);
    const bytes = Buffer.concat(pieces);
    const isOneVersion = object.versions.some((version) => verifyBody(bytes, version, start) === -1);
    assert.ok(isOneVersion, `${object.path} from ${start}: ${bytes.length} bytes are of no single version`);
  });
  await Promise.all(loads);
}

/** The object changes while slices of its old version are stored: the answer is one version or visibly cut, the one after it the new version. */
async function changeAndFetch(rawslice: RawsliceProcess, origin: Origin, campaign: Campaign, object: KnownObject): Promise<void> {
  campaign.change(object);
  const pieces: Buffer[] = [];
  const answer = await rawslice.get(object.path, {}, { onBytes: (bytes) => void pieces.push(bytes) });
  const bytes = Buffer.concat(pieces);
  assert.ok(
    object.versions.some((version) => verifyBody(bytes, version, 0) === -1),
    `${object.path}: a mixture of versions`,
  );
  if (!answer.isComplete) await fetchWhole(rawslice, origin, object);
}

/** One life of the program: looks at what the last one left, adds to it, and is killed under load. */
async function liveAndDie(rawslice: RawsliceProcess, origin: Origin, campaign: Campaign): Promise<void> {
  const { random } = campaign;
  // Nothing whose purge was acknowledged may be answered from the cache again.
  for (const object of campaign.purged) {
    const answer = await fetchWhole(rawslice, origin, object);
    assert.equal(answer.headers['x-cache'], 'MISS', `${object.path} was purged`);
  }
  for (const object of campaign.unsettled) await fetchWhole(rawslice, origin, object);
  for (const object of campaign.partial) await changeAndFetch(rawslice, origin, campaign, object);
  // What was written before the crash is a hit again, whatever the origin says.
  origin.misbehave('*', { status: 503 });
  for (const object of campaign.stored) {
    const answer = await fetchWhole(rawslice, origin, object);
    assert.equal(answer.headers['x-cache'], 'HIT', `${object.path} was stored before the crash`);
  }
  origin.behave();

  const added = Array.from({ length: 6 }, () => campaign.add());
  for (const object of added) await fetchWhole(rawslice, origin, object);
  campaign.stored.push(...campaign.purged, ...added);
  await rawslice.untilStored();

  campaign.purged = campaign.takeStored(2);
  for (const object of campaign.purged) assert.equal((await rawslice.purge(object.path)).objects, 1, object.path);
  // These are purged, changed and asked for again: either nothing or the new version may be found after the crash.
  campaign.unsettled = campaign.takeStored(2);
  for (const object of campaign.unsettled) {
    await rawslice.purge(object.path);
    campaign.change(object);
  }
  campaign.partial = Array.from({ length: 3 }, () => campaign.add());
  const load = loadUntilCut(rawslice, campaign, [...campaign.partial, ...campaign.unsettled]);
  await new SystemClock().sleep(random.integerBelow(200));
  await rawslice.kill();
  await load;
}

async function crashRepeatedly(context: TestContext, place: CachePlace, rounds: number): Promise<void> {
  const seed = rounds * 1000 + place.name.length;
  context.diagnostic(`seed ${seed}`);
  await using origin = await Origin.start();
  const campaign = new Campaign(origin, new SeededRandom(seed));
  const { device, flags } = await place.make(context, 256 * MIB);
  for (let round = 0; round < rounds; round += 1) {
    const rawslice = await startRawslice(context, { upstream: origin.url, device, set: SET, ...(round === 0 ? { flags } : {}) });
    await liveAndDie(rawslice, origin, campaign);
  }
  context.diagnostic(`survived: ${JSON.stringify({ killRounds: rounds })}`);
}

for (const place of CACHE_PLACES) {
  const rounds = isHeavy ? 10 : place.isFirst ? 5 : 2;
  test(
    `kill -9 in ${rounds} rounds loses nothing that was written and brings nothing back, on ${place.name}`,
    { skip: place.skip },
    (context) => crashRepeatedly(context, place, rounds),
  );

  test(`SIGTERM closes in order, and everything stored is a hit afterwards, on ${place.name}`, {
    skip: place.skip || heavyUnlessFirst(place),
  }, async (context) => {
    await using origin = await Origin.start();
    const campaign = new Campaign(origin, new SeededRandom(5));
    const { device, flags } = await place.make(context, 256 * MIB);
    const first = await startRawslice(context, { upstream: origin.url, device, flags, set: SET });
    const objects = Array.from({ length: 12 }, () => campaign.add());
    for (const object of objects) await fetchWhole(first, origin, object);
    // At once: what is still queued is written on the way out.
    assert.equal(await first.stop(), 0, first.report());
    const messages = first.logLines.map((line) => line.msg).filter((message) => message !== 'request');
    assert.deepEqual(messages.slice(-2), ['stopping', 'stopped']);
    await origin.stop();
    const second = await startRawslice(context, { upstream: origin.url, device, set: SET });
    for (const object of objects) assert.equal((await fetchWhole(second, origin, object)).headers['x-cache'], 'HIT', object.path);
    assert.equal(await second.stop('SIGINT'), 0);
  });
}

test('SIGTERM lets a download in progress end', async (context) => {
  const [place] = CACHE_PLACES;
  await using origin = await Origin.start();
  const lengthBytes = 8 * MIB;
  const identity = origin.setObject('/slow.iso', { lengthBytes, cacheControl: 'max-age=60' });
  origin.misbehave('/slow.iso', { pauseAfterBytes: 3 * MIB }, 1);
  const { device, flags } = await place.make(context, 128 * MIB);
  const rawslice = await startRawslice(context, { upstream: origin.url, device, flags });
  const download = rawslice.get('/slow.iso', {}, { expect: identity });
  await origin.waitForHeld('/slow.iso');
  const stopped = rawslice.stop();
  // No longer ready is the sign that it has begun to stop.
  await rawslice.untilAdmin('/readyz', ({ body }) => body.includes('"draining":true'));
  origin.release();
  const answer = await download;
  assert.deepEqual([answer.status, answer.wrongAt, answer.isComplete, answer.bodyBytes], [200, -1, true, lengthBytes]);
  assert.equal(await stopped, 0);
});

test('a client that takes nothing holds up the end for shutdown.drain and no longer; a second signal does not wait', async (context) => {
  const [place] = CACHE_PLACES;
  await using origin = await Origin.start();
  origin.setObject('/large.iso', { lengthBytes: 64 * MIB, cacheControl: 'max-age=60' });
  const { device, flags } = await place.make(context, 64 * MIB);
  for (const { drain, signals, exit } of [
    { drain: '1s', signals: 1, exit: 0 },
    { drain: '1h', signals: 2, exit: 1 },
  ]) {
    const rawslice = await startRawslice(context, { upstream: origin.url, device, flags, set: { 'shutdown.drain': drain } });
    const stalled = await stall({ port: rawslice.port, path: '/large.iso' });
    await rawslice.untilMetrics('the request', (scrape) => scrape.get('rawslice_http_requests_in_flight') === 1);
    const ended = rawslice.stop();
    if (signals === 2) {
      await rawslice.untilAdmin('/readyz', ({ body }) => body.includes('"draining":true'));
      // One that follows at once counts as the first (npm passes signals on), so it is repeated until it is taken for a second.
      const again = setInterval(() => process.kill(rawslice.processId, 'SIGTERM'), 50);
      await ended.finally(() => clearInterval(again));
    }
    assert.equal(await ended, exit);
    stalled.destroy();
  }
});
