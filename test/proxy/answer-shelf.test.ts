/** Answers that stand ready: how many there may be, which of them give way, and that what is being sent is not written anew. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricSet } from '../../src/base/metrics.ts';
import type { Manifest } from '../../src/format/manifest.ts';
import { AnswerShelf } from '../../src/proxy/answer-shelf.ts';
import { StoredHead } from '../../src/proxy/express/stored-head.ts';
import { PROXY_METRICS } from '../../src/proxy/proxy-metrics.ts';

const BODY = Buffer.from('0123456789');
const WHOLE = { start: 0, end: BODY.length };

function newShelf(sizeBytes: number): { shelf: AnswerShelf; declined: () => number } {
  const metrics = new MetricSet(PROXY_METRICS);
  return { shelf: new AnswerShelf(metrics, sizeBytes), declined: () => metrics.value('answersDeclined') };
}

/** Received at 0, fresh for a thousand seconds. */
function newHead(): StoredHead {
  const manifest = { receivedAtMs: 0, initialAgeSeconds: 0, freshUntilMs: 1_000_000, lengthBytes: BODY.length } as Manifest;
  const fields = [
    ['date', 'x'],
    ['age', '0'],
    ['cache-status', 'rawslice; hit; ttl=0'],
  ] as const;
  return new StoredHead(manifest, { status: 200, fields }, { keepAlive: '\r\n', close: 'Connection: close\r\n\r\n', idField: '' });
}

test('an answer gives way when it was not written for ten seconds, and no sooner', () => {
  const { shelf, declined } = newShelf(300);
  const [first, second] = [shelf.tryAdd(100, 0), shelf.tryAdd(100, 5000)];
  assert.ok(shelf.tryAdd(100, 5000) !== undefined);
  assert.equal(shelf.heldBytes, 300);
  assert.equal(shelf.tryAdd(100, 9000), undefined);
  assert.equal(declined(), 1);
  const next = shelf.tryAdd(50, 10_001);
  assert.ok(next !== undefined && first !== undefined && second !== undefined);
  assert.equal(first.bytes.length, 0, 'its memory is free');
  assert.equal(second.bytes.length, 100);
  assert.equal(shelf.heldBytes, 250);
  assert.equal(shelf.tryAdd(400, 60_000), undefined, 'larger than the shelf');
});

test('what is being sent stays what it is, and counts until it is sent', () => {
  const { shelf } = newShelf(1000);
  const answer = shelf.tryAdd(100, 0);
  assert.ok(answer !== undefined);
  answer.hold();
  answer.hold();
  assert.equal(answer.isWritable, false);
  assert.equal(shelf.isIdle, false);
  shelf.remove(answer);
  answer.giveBack();
  assert.deepEqual([answer.bytes.length, shelf.heldBytes], [100, 100]);
  answer.giveBack();
  assert.deepEqual([answer.bytes.length, shelf.heldBytes, shelf.isIdle], [0, 0, true]);
});

test('an answer is made for the second request of a second, and again in each second after', () => {
  const { shelf } = newShelf(1000);
  const head = newHead();
  head.render(1, WHOLE, false);
  assert.equal(head.tryMakeAnswer(BODY, { shelf, nowMs: 1 }), undefined);
  assert.equal(head.answerAt(1), undefined);
  head.render(900, WHOLE, false);
  const answer = head.tryMakeAnswer(BODY, { shelf, nowMs: 900 });
  assert.match(answer?.bytes.toString() ?? '', /age: 0\r\n.*ttl=999\r\n\r\n0123456789$/s);
  assert.equal(head.answerAt(999), answer);
  assert.equal(head.answerAt(1000), undefined, 'Age is another');
  assert.equal(head.answerAt(0), undefined, 'the clock went back');
  head.render(1500, WHOLE, false);
  assert.equal(head.tryMakeAnswer(BODY, { shelf, nowMs: 1500 }), head.answerAt(1500));
  assert.match(head.answerAt(1500)?.bytes.toString() ?? '', /age: 1\r\n.*ttl=998\r\n/s);
});

test('an answer that has given way is not sent when the clock goes back to its time', () => {
  const { shelf } = newShelf(300);
  const head = newHead();
  for (const nowMs of [10, 20]) head.render(nowMs, WHOLE, false);
  assert.ok(head.tryMakeAnswer(BODY, { shelf, nowMs: 20 }) !== undefined);
  assert.ok(shelf.tryAdd(300, 20_000) !== undefined);
  assert.equal(head.answerAt(20), undefined);
});

test('an answer that is being sent is not written anew, and a head that was lent is not either', () => {
  const { shelf } = newShelf(1000);
  const head = newHead();
  for (const nowMs of [10, 20]) head.render(nowMs, WHOLE, false);
  const answer = head.tryMakeAnswer(BODY, { shelf, nowMs: 20 });
  assert.ok(answer !== undefined);
  const before = Buffer.from(answer.bytes);
  answer.hold();
  head.render(5000, WHOLE, false);
  const other = head.tryMakeAnswer(BODY, { shelf, nowMs: 5000 });
  assert.ok(other !== undefined && other !== answer);
  assert.deepEqual(answer.bytes, before);
  answer.giveBack();
  assert.equal(shelf.heldBytes, other.lengthBytes);
  const rendered = head.render(5000, WHOLE, false);
  head.lend();
  assert.notEqual(head.render(5000, WHOLE, false), rendered);
});

test('a head with a date of its own time, or the last one of a connection, makes no answer', () => {
  const { shelf } = newShelf(1000);
  const manifest = { receivedAtMs: 0, initialAgeSeconds: 0, freshUntilMs: 1_000_000 } as Manifest;
  const tails = { keepAlive: '\r\n', close: '\r\n', idField: '' };
  const dateless = new StoredHead(manifest, { status: 200, fields: [['age', '0']] }, tails);
  for (const nowMs of [10, 20]) dateless.render(nowMs, WHOLE, false);
  assert.equal(dateless.tryMakeAnswer(BODY, { shelf, nowMs: 20 }), undefined);
  const head = newHead();
  for (const nowMs of [10, 20]) head.render(nowMs, WHOLE, true);
  assert.equal(head.tryMakeAnswer(BODY, { shelf, nowMs: 20 }), undefined);
});
