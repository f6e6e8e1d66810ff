/** Waiting for a stream that takes no more for now. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { drained } from '../../src/upstream/drained.ts';

test('whoever has waited leaves no listener behind, however it ended', async () => {
  for (const event of ['drain', 'close']) {
    const stream = new EventEmitter();
    const waiting = drained(stream);
    stream.emit(event);
    await waiting;
    assert.deepEqual(stream.eventNames(), []);
  }
});
