/**
 * The origin breaks a transfer off (RFC 9111 s3.3, s3.4): what fills slices, and what streams past the cache for want of a slot, goes on from the
 * byte reached under the same strong validator, and the client notices nothing; where it cannot, the response is cut where that can be seen.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import type { Lease } from '../../src/memory/lease.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour } from '../helpers/origin-script.ts';

const SLICE = 64 * KIB;
const LENGTH = 16 * SLICE + 1000;

/** Every slot that fills could have is taken, so that a response streams past the cache. @returns gives them back */
function takeAllSlots(edge: TestEdge): () => void {
  const leases: Lease[] = [];
  for (let bytes = MIB; bytes >= 4 * KIB; bytes /= 2) {
    for (let lease = edge.arena.tryLease('fill', bytes); lease !== undefined; lease = edge.arena.tryLease('fill', bytes))
      leases.push(lease);
  }
  return () => {
    for (const lease of leases) lease.end();
  };
}

const WAYS = ['through slots', 'past the cache'] as const;

/** The breaks, one for each request; what the client sees; the places from which the rest was asked for. */
const BREAKS: readonly [what: string, breaks: readonly Misbehaviour[]][] = [
  ['ends within a slice', [{ closeAfterBytes: 3 * SLICE + 100 }]],
  ['ends at the end of a slice', [{ closeAfterBytes: 2 * SLICE }]],
  ['ends again and again, each time further on', [5, 4, 3, 2].map((slices) => ({ closeAfterBytes: slices * SLICE + 10 }))],
  ['ends before the first byte of the rest, twice', [{ closeAfterBytes: SLICE }, { closeAfterBytes: 0 }, { closeAfterBytes: 0 }]],
  ['is reset, and the rest is refused once', [{ resetAfterBytes: 6 * SLICE }, { status: 503 }]],
];

for (const way of WAYS) {
  for (const [what, breaks] of BREAKS) {
    test(`row 26 (RFC 9111 s3.4): a transfer ${way} that ${what} is resumed; the client gets everything`, async () => {
      await using origin = await Origin.start();
      const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
      await using edge = await startEdge({ origin, arenaBytes: 4 * MIB });
      // The object is known, so that the first thing that breaks is the transfer in question.
      await edge.get('/a', { range: 'bytes=-1' });
      await edge.settle();
      const giveBack = way === 'past the cache' ? takeAllSlots(edge) : () => undefined;
      for (const misbehaviour of breaks) origin.misbehave('/a', misbehaviour, 1);
      origin.forgetRequests();
      const got = await edge.get('/a', {}, { expect: body });
      giveBack();
      assert.deepEqual([got.status, got.wrongAt, got.isComplete, got.bodyBytes], [200, -1, true, LENGTH]);
      assert.equal(edge.services.metrics.value('bodyBytes', 'private') > 0, way === 'past the cache');
      const starts = origin.requestsFor('/a').map(({ headers }) => Number(/^bytes=(\d+)-/.exec(headers.range ?? '')?.[1] ?? 0));
      assert.ok(starts.length > breaks.length, 'each break is followed by another request');
      assert.deepEqual(
        starts,
        starts.toSorted((one, other) => one - other),
        'nothing is asked for twice',
      );
    });
  }

  test(`row 26 (RFC 9111 s3.3): a transfer ${way} that ends at the same byte for ever is cut visibly after a few requests`, async () => {
    await using origin = await Origin.start();
    const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    await using edge = await startEdge({ origin, arenaBytes: 4 * MIB });
    await edge.get('/a', { range: 'bytes=-1' });
    await edge.settle();
    const giveBack = way === 'past the cache' ? takeAllSlots(edge) : () => undefined;
    origin.misbehave('/a', { closeAfterBytes: SLICE + 100 }, 1);
    origin.misbehave('/a', { closeAfterBytes: 0 });
    origin.forgetRequests();
    const got = await edge.get('/a', {}, { expect: body });
    giveBack();
    assert.deepEqual([got.wrongAt, got.isComplete, got.bodyBytes], [-1, false, SLICE + 100]);
    assert.equal(origin.requestsFor('/a').length, 4);
  });

  test(`row 48 (RFC 9111 s3.4): a transfer ${way} breaks off and the rest is of another version: a cut, and the next one gets the new version`, async () => {
    await using origin = await Origin.start();
    const old = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
    await using edge = await startEdge({ origin, arenaBytes: 4 * MIB });
    await edge.get('/a', { range: 'bytes=-1' });
    await edge.settle();
    const giveBack = way === 'past the cache' ? takeAllSlots(edge) : () => undefined;
    origin.misbehave('/a', { closeAfterBytes: 4 * SLICE }, 1);
    origin.misbehave('/a', { holdHead: true }, 1);
    const present = edge.get('/a', {}, { expect: old });
    await origin.waitForHeld('/a');
    const young = origin.change('/a');
    origin.release('/a');
    const cut = await present;
    assert.deepEqual([cut.wrongAt, cut.isComplete, cut.bodyBytes], [-1, false, 4 * SLICE]);
    const next = await edge.get('/a', {}, { expect: young });
    giveBack();
    assert.deepEqual([next.status, next.wrongAt, next.isComplete, next.bodyBytes], [200, -1, true, LENGTH]);
  });
}

test('row 26 (RFC 9111 s3.4): a stream past the cache goes back to slices that came meanwhile', async () => {
  await using origin = await Origin.start();
  const body = origin.setObject('/a', { lengthBytes: LENGTH, cacheControl: 'max-age=60' });
  await using edge = await startEdge({ origin, arenaBytes: 4 * MIB });
  await edge.get('/a', { range: 'bytes=-1' });
  await edge.settle();
  const giveBack = takeAllSlots(edge);
  origin.misbehave('/a', { pauseAfterBytes: 2 * SLICE, closeAfterBytes: 3 * SLICE }, 1);
  const present = edge.get('/a', {}, { expect: body });
  await origin.waitForHeld('/a');
  giveBack();
  const other = await edge.get('/a', {}, { expect: body });
  assert.deepEqual([other.wrongAt, other.isComplete], [-1, true]);
  const asked = origin.requestsFor('/a').length;
  origin.release('/a');
  const got = await present;
  assert.deepEqual([got.wrongAt, got.isComplete, got.bodyBytes], [-1, true, LENGTH]);
  assert.equal(origin.requestsFor('/a').length, asked);
});
