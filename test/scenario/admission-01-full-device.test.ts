/** A full device: what is asked for once stays in memory, what is asked for again is kept, rules and prewarm decide for themselves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { createSilentLogger } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { PLAIN_RULE } from '../../src/cache/site-rule.ts';
import type { Arena } from '../../src/memory/arena.ts';
import { type DeviceStore, openStore } from '../../src/store/device-store.ts';
import { startEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { runWords } from '../helpers/run-program.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';
import { formatTiny } from '../store/store-bench.ts';

const LENGTH = 200 * KIB;
/** Slices of an object of LENGTH. */
const SLICES = 4;
const PARTS = 3;

/** A proxy over a real store whose device has been filled through it. */
async function startFull(origin: Origin) {
  const disk = new SimulatedDisk({ capacityBytes: 6 * MIB, random: new SeededRandom(1) });
  const device = disk.open();
  await formatTiny(device);
  let store: DeviceStore | undefined;
  const makeStore = async (arena: Arena): Promise<DeviceStore> => {
    const admission = { writeBudgetBytes: undefined };
    store = await openStore({ device, arena, clock: new SystemClock(), logger: createSilentLogger(), admission });
    return store;
  };
  const rules = (['always', 'never'] as const).map((word) => ({
    ...PLAIN_RULE,
    name: word,
    pattern: new RegExp(`^/${word}/`),
    store: word,
  }));
  const edge = await startEdge({ origin, rules, makeStore });
  assert.ok(store !== undefined);
  const { metrics } = store;
  for (let number = 0; metrics.value('isFull') === 0; number += 1) {
    assert.ok(number < 100, 'the device becomes full');
    origin.setObject(`/filler/${number}`, { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    assert.equal((await edge.get(`/filler/${number}`)).status, 200);
    await store.drain();
  }
  return { edge, store, metrics };
}

/** Slices admitted so far. */
function admitted({ metrics }: DeviceStore): number {
  return metrics.value('admitted');
}

test('asked for once it is in memory, asked for twice on the device, and the origin sends it once', async () => {
  await using origin = await Origin.start();
  const { edge, store, metrics } = await startFull(origin);
  await using _ = edge;
  const body = origin.setObject('/x', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  const before = admitted(store);
  const first = await edge.get('/x', {}, { expect: body });
  await edge.settle();
  await store.drain();
  assert.deepEqual([first.headers['x-cache'], first.wrongAt, admitted(store) - before], ['MISS', -1, 0]);
  assert.equal(metrics.value('declinedSlices'), SLICES);
  const second = await edge.get('/x', {}, { expect: body });
  await store.drain();
  assert.deepEqual([second.headers['x-cache'], second.wrongAt, admitted(store) - before], ['HIT', -1, SLICES]);
  assert.equal(metrics.value('readmitted', 'request'), SLICES);
  assert.equal(origin.requestsFor('/x').length, 1);
});

test('one viewer that takes an object in many ranges does not make it wanted, a second viewer does', async () => {
  await using origin = await Origin.start();
  const { edge, store } = await startFull(origin);
  await using _ = edge;
  origin.setObject('/film', { lengthBytes: PARTS * MIB, cacheControl: 'max-age=60' });
  const before = admitted(store);
  const view = async (): Promise<void> => {
    for (let part = 0; part < PARTS; part += 1) {
      const answer = await edge.get('/film', { range: `bytes=${part * MIB}-${(part + 1) * MIB - 1}` });
      assert.equal(answer.status, 206);
    }
  };
  await view();
  assert.equal(admitted(store), before);
  await view();
  await store.drain();
  assert.ok(admitted(store) - before >= (PARTS * MIB) / (64 * KIB), 'all of it is kept');
});

test('rules say always or never', async () => {
  await using origin = await Origin.start();
  const { edge, store } = await startFull(origin);
  await using _ = edge;
  for (const path of ['/always/x', '/never/x']) origin.setObject(path, { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  const before = admitted(store);
  assert.equal((await edge.get('/always/x')).headers['x-cache'], 'MISS');
  await edge.settle();
  assert.equal(admitted(store) - before, SLICES);
  for (let turn = 0; turn < 3; turn += 1) assert.equal((await edge.get('/never/x')).headers['x-cache'], 'BYPASS');
  await edge.settle();
  assert.equal(admitted(store) - before, SLICES);
  assert.equal(origin.requestsFor('/never/x').length, 3);
});

test('what prewarm fetches through the server is kept', async () => {
  await using origin = await Origin.start();
  const { edge, store } = await startFull(origin);
  await using _ = edge;
  origin.setObject('/x', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  const before = admitted(store);
  const { code, stderr } = await runWords(['prewarm', '/x', '--server', `127.0.0.1:${edge.port}`]);
  assert.equal(code, 0, stderr);
  await edge.settle();
  assert.equal(admitted(store) - before, SLICES);
  assert.equal(origin.requestsFor('/x').length, 1, 'the first of its two requests costs the origin nothing');
});
