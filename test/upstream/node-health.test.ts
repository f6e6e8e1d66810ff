/** The health of a node: rests and their ends, shares of errors, slowness, checks, and what that means for a group. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { NodeHealth, type OutlierLimits } from '../../src/upstream/node-health.ts';

const LIMITS: OutlierLimits = { failuresMax: 1, errorPercent: 0, slowFactor: 0, restMs: 1000, restMsMax: 8000 };

/** Time that passes when the test says so. */
class HandClock extends SystemClock {
  #nowMs = 0;

  override monotonicMs(): number {
    return this.#nowMs;
  }

  advance(byMs: number): void {
    this.#nowMs += byMs;
  }
}

function makeHealth(limits: Partial<OutlierLimits> = {}) {
  const clock = new HandClock();
  const told: string[] = [];
  const health = new NodeHealth(clock, { ...LIMITS, ...limits }, (state, why) => told.push(`${state} ${why}`));
  return { clock, told, health };
}

test('a failure brings a rest, each further one a longer rest, one request proves it well, and an answer to its end forgets the rests', () => {
  const { clock, told, health } = makeHealth();
  const rests: number[] = [];
  for (let turn = 0; turn < 5; turn += 1) {
    health.noteFailure('broken');
    // Others that were in flight.
    health.noteFailure('broken');
    assert.deepEqual([health.state, health.isAvailable], ['resting', false]);
    rests.push(health.restLeftMs);
    clock.advance(health.restLeftMs);
    assert.deepEqual([health.state, health.isAvailable], ['probed', true]);
    health.noteRequest();
    assert.equal(health.isAvailable, false, 'one request at a time');
  }
  assert.deepEqual(rests, [1000, 2000, 4000, 8000, 8000]);
  health.noteNothing();
  assert.equal(health.isAvailable, true, 'that client left; another request may find out');
  health.noteHead(1, undefined);
  assert.deepEqual([health.state, health.isAvailable], ['well', true]);
  health.noteFailure('broken');
  assert.equal(health.restLeftMs, 8000, 'it did not come to the end');
  clock.advance(8000);
  health.noteHead(1, undefined);
  health.noteEnd();
  health.noteFailure('timeout');
  assert.equal(health.restLeftMs, 1000);
  assert.deepEqual(told.slice(-4), ['well answers', 'resting broken', 'well answers', 'resting timeout']);
});

test('an answer that began before the failure does not end the rest', () => {
  const { health } = makeHealth();
  health.noteFailure('broken');
  health.noteHead(1, undefined);
  health.noteEnd();
  assert.equal(health.state, 'resting');
});

test('where several failures in a row are allowed, a share of errors counts as well', () => {
  const { health } = makeHealth({ failuresMax: 3 });
  for (const _ of [1, 2, 3, 4]) {
    health.noteFailure('x');
    health.noteFailure('x');
    assert.equal(health.state, 'well');
    health.noteEnd();
  }
  for (const _ of [1, 2, 3]) health.noteFailure('x');
  assert.equal(health.state, 'resting');

  const rated = makeHealth({ failuresMax: 100, errorPercent: 40 }).health;
  for (let turn = 0; turn < 60; turn += 1) {
    if (turn % 3 === 0) rated.noteFailure('x');
    else rated.noteEnd();
  }
  assert.equal(rated.state, 'well', 'a third is less than 40 %');
  for (let turn = 0; turn < 60 && rated.state === 'well'; turn += 1) {
    if (turn % 2 === 0) rated.noteFailure('x');
    else rated.noteEnd();
  }
  assert.equal(rated.state, 'resting');
});

test('a node that is slower than the others by the factor rests, and is measured anew', () => {
  const { clock, told, health } = makeHealth({ slowFactor: 3 });
  for (let turn = 0; turn < 20; turn += 1) health.noteHead(100, 50);
  assert.equal(health.state, 'well');
  for (let turn = 0; turn < 50 && health.state === 'well'; turn += 1) health.noteHead(300, 50);
  assert.deepEqual([health.state, told], ['resting', ['resting slow']]);
  assert.equal(health.latencyMs, undefined);
  clock.advance(1000);
  for (let turn = 0; turn < 20; turn += 1) health.noteHead(300, 200);
  assert.equal(health.state, 'well', 'the others are slow as well');
});

test('checks make it down after as many failures in a row, and up after as many that pass', () => {
  const { told, health } = makeHealth();
  const limits = { rise: 2, fall: 3 };
  const check = (results: string): string => {
    for (const result of results) health.noteCheck(result === '+', limits);
    return health.state;
  };
  assert.deepEqual(['--+--', '-', '+-+', '+'].map(check), ['well', 'down', 'down', 'well']);
  assert.deepEqual(told, ['down checks', 'well checks']);
  assert.equal(check('---'), 'down');
  assert.equal(health.isAvailable, false);
});
