import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { MetricSet } from '../../src/base/metrics.ts';
import { OriginAbilities, placeOf } from '../../src/upstream/origin-abilities.ts';
import { UPSTREAM_METRICS } from '../../src/upstream/upstream-metrics.ts';

class SetClock extends SystemClock {
  nowMs = 5_000_000;

  override monotonicMs(): number {
    return this.nowMs;
  }

  override wallMs(): number {
    return this.nowMs;
  }
}

const MINUTE = 60_000;

function make() {
  const clock = new SetClock();
  const metrics = new MetricSet(UPSTREAM_METRICS);
  return { clock, metrics, abilities: new OriginAbilities(clock, metrics) };
}

test('a place is an origin and the first segment of the path', () => {
  const places = ['/', '/a', '/a/b/c', '/?q=/x/', '/a?b/c'].map((path) => placeOf('h:1', path));
  assert.deepEqual(places, ['h:1/', 'h:1/', 'h:1/a/', 'h:1/', 'h:1/']);
});

test('ranges ignored three times in a row mark a place for ten minutes; one that was answered begins anew', () => {
  const { clock, metrics, abilities } = make();
  for (const isAnswered of [false, false, true, false, false]) abilities.noteRange('p', isAnswered);
  assert.equal(abilities.isRangeless('p'), false);
  abilities.noteRange('p', false);
  assert.deepEqual([abilities.isRangeless('p'), abilities.isRangeless('q'), abilities.areTagsFlapping('p')], [true, false, false]);
  assert.equal(abilities.list()[0]?.rangelessUntilMs, clock.nowMs + 10 * MINUTE);
  assert.equal(metrics.value('placeMarks', 'rangeless'), 1);
  clock.nowMs += 10 * MINUTE;
  assert.equal(abilities.isRangeless('p'), false);
  assert.equal(abilities.list()[0]?.rangelessUntilMs, undefined);
});

test('tags that differ three times within ten minutes of each other mark a place; now and then is no flapping', () => {
  const { clock, abilities } = make();
  for (let time = 0; time < 5; time += 1) {
    abilities.noteTagFlap('p');
    clock.nowMs += 11 * MINUTE;
  }
  assert.equal(abilities.areTagsFlapping('p'), false);
  for (let time = 0; time < 3; time += 1) abilities.noteTagFlap('p');
  assert.equal(abilities.areTagsFlapping('p'), true);
  assert.equal(abilities.list()[0]?.tagFlaps, 8);
});

test('1024 places are known; the one seen longest ago is forgotten, and counted', () => {
  const { metrics, abilities } = make();
  for (let number = 0; number < 1024; number += 1) abilities.noteAnswer(`p${number}`, true);
  abilities.notePastEnd('p0', 416);
  abilities.noteAnswer('new', false);
  const places = abilities.list().map(({ place }) => place);
  assert.deepEqual([places.length, places[0], places.includes('p0'), places.includes('p1')], [1024, 'new', true, false]);
  assert.deepEqual([metrics.value('places'), metrics.value('placesForgotten')], [1024, 1]);
});
