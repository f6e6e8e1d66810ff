/** Several ranges while others want the same, the origin breaks off, or the client stands still (rows 9, 26, 49). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, MIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import { type ClientResponse, type StalledRequest, stall } from '../helpers/client.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { parseMultipart } from '../helpers/multipart-parser.ts';
import { Origin } from '../helpers/origin.ts';

const SLICE = 64 * KIB;
const LENGTH = 16 * MIB;

async function start(arenaBytes?: number): Promise<{ origin: Origin; edge: TestEdge }> {
  const origin = await Origin.start({ resolve: () => ({ lengthBytes: LENGTH, cacheControl: 'max-age=60' }) });
  return { origin, edge: await startEdge({ origin, arenaBytes }) };
}

/** Parts of `sizeBytes` in slices `gap` apart. */
function parts(count: number, gap: number, sizeBytes: number): string {
  const list = Array.from({ length: count }, (_unused, index) => `${index * gap * SLICE + 9}-${index * gap * SLICE + 8 + sizeBytes}`);
  return `bytes=${list.join()}`;
}

function checkParts(path: string, answer: ClientResponse, count: number): void {
  assert.deepEqual([answer.status, answer.isComplete], [206, true]);
  const parsed = parseMultipart(answer.headers['content-type'], answer.body);
  assert.equal(parsed.length, count);
  for (const part of parsed) {
    const expected = bodyBytes({ name: path, version: 1 }, part.start, part.end - part.start);
    assert.ok(part.bytes.equals(expected), `${path}: ${part.start}`);
  }
}

test('row 9: clients that ask for the same parts of a cold object at a time cost the origin them once', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  origin.misbehave('/a', { holdHead: true }, 1);
  const range = parts(10, 3, 100);
  const pending = Array.from({ length: 4 }, () => edge.get('/a', { range }));
  await origin.waitForHeld('/a');
  origin.release();
  for (const answer of await Promise.all(pending)) checkParts('/a', answer, 10);
  await edge.settle();
  assert.equal(origin.bytesSent('/a'), 10 * SLICE);
});

test('row 26: an origin that breaks off in a part is asked again, and the client notices nothing', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  const range = parts(6, 8, 5 * SLICE);
  origin.misbehave('/a', { closeAfterBytes: 3 * SLICE + 77 }, 5);
  checkParts('/a', await edge.get('/a', { range }), 6);
  await edge.settle();
  checkParts('/a', await edge.get('/a', { range }), 6);
});

test('row 26: an origin that is gone between two parts breaks the answer off', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  await edge.get('/a', { range: 'bytes=0-200' });
  await edge.settle();
  origin.misbehave('/a', { status: 503 });
  const cut = await edge.get('/a', { range: parts(3, 8, 100) });
  assert.equal(cut.isComplete, false);
  assert.ok(cut.body.length < Number(cut.headers['content-length']));
});

test('row 9: an origin that is gone before the first byte is an error, not a broken answer', async () => {
  const { origin, edge } = await start();
  await using _ = edge;
  await using __ = origin;
  await edge.get('/a', { range: 'bytes=0-200' });
  await edge.settle();
  origin.misbehave('/a', { status: 503 });
  const answer = await edge.get('/a', { range: `bytes=${40 * SLICE}-${40 * SLICE + 9},0-9` });
  assert.deepEqual([answer.status, answer.isComplete], [502, true]);
});

test('row 49: clients that stand still in the middle of parts hold no room that others need', async () => {
  // Room for 64 slices, and forty clients whose parts would take five times two slices each.
  const { origin, edge } = await start(4 * MIB);
  await using _ = edge;
  await using __ = origin;
  const range = parts(6, 40, 30 * SLICE);
  const stalled: StalledRequest[] = [];
  for (let client = 0; client < 40; client += 1) {
    stalled.push(await stall({ port: edge.port, path: `/s${client}`, headers: { Range: range } }));
    await origin.waitForRequest(`/s${client}`);
  }
  const answer = await edge.get('/other', { range: parts(20, 5, SLICE) });
  checkParts('/other', answer, 20);
  const resumed = await stalled[0]?.resume();
  assert.ok(resumed !== undefined);
  checkParts('/s0', resumed, 6);
  for (const client of stalled) client.destroy();
});
