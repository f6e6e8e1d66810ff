/** Terminal and Progress: where lines go, colour, quiet, the bar and the plain lines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import { MIB } from '../../src/base/units.ts';
import { Progress } from '../../tools/progress.ts';
import { Terminal } from '../../tools/terminal.ts';
import { CapturedStream } from '../helpers/captured-stream.ts';

/** A clock whose monotonic time the test moves. */
class ManualClock extends SystemClock implements Clock {
  nowMs = 0;

  override monotonicMs(): number {
    return this.nowMs;
  }
}

function openTerminal(options: { isTTY?: boolean; columns?: number; environment?: Record<string, string> } = {}) {
  const stdout = new CapturedStream(options);
  const stderr = new CapturedStream(options);
  return { stdout, stderr, terminal: new Terminal({ stdout, stderr }, options.environment ?? {}) };
}

test('answers go to standard output, everything else to standard error', () => {
  const { terminal, stdout, stderr } = openTerminal();
  terminal.print('answer');
  terminal.printJson({ a: 1 });
  terminal.note('note');
  terminal.silenceNotes();
  terminal.note('unheard');
  terminal.draw('unseen');
  terminal.complain('complaint');
  assert.equal(stdout.text, 'answer\n{\n  "a": 1\n}\n');
  assert.equal(stderr.text, 'note\ncomplaint\n');
});

test('colour is for terminals whose user has not asked for none', () => {
  assert.equal(openTerminal({ isTTY: true }).terminal.style('red', 'x'), '\x1b[31mx\x1b[39m');
  assert.equal(openTerminal({ isTTY: true }).terminal.styleComplaint('bold', 'x'), '\x1b[1mx\x1b[22m');
  assert.equal(openTerminal({ isTTY: false }).terminal.style('red', 'x'), 'x');
  assert.equal(openTerminal({ isTTY: true, environment: { NO_COLOR: '1' } }).terminal.style('red', 'x'), 'x');
  assert.equal(openTerminal({ isTTY: true, environment: { TERM: 'dumb' } }).terminal.style('red', 'x'), 'x');
  assert.equal(openTerminal({ isTTY: true, environment: { NO_COLOR: '' } }).terminal.style('red', 'x'), '\x1b[31mx\x1b[39m');
});

test('Progress draws a bar on a terminal, at most ten times a second', () => {
  const { terminal, stderr } = openTerminal({ isTTY: true, columns: 200 });
  const clock = new ManualClock();
  const progress = new Progress(terminal, clock, { label: 'checking', unit: 'bytes', total: 400 * MIB });
  clock.nowMs = 1000;
  progress.update(100 * MIB);
  assert.equal(stderr.text, `\r\x1b[Kchecking [######${'.'.repeat(18)}]  25%  100 MiB of 400 MiB  100 MiB/s  0:03 left`);
  clock.nowMs = 1050;
  progress.update(200 * MIB);
  assert.equal(stderr.text.split('\r').length, 2);
  clock.nowMs = 4000;
  progress.update(400 * MIB);
  progress.finish();
  assert.ok(stderr.text.endsWith('\r\x1b[Kchecking  100%  400 MiB of 400 MiB  100 MiB/s\n'));
});

test('Progress never wraps a line', () => {
  const { terminal, stderr } = openTerminal({ isTTY: true, columns: 30 });
  const progress = new Progress(terminal, new ManualClock(), { label: 'a long label for a narrow window', unit: 'items', total: 5 });
  progress.update(1);
  assert.equal(stderr.text.replace('\r\x1b[K', '').length, 29);
});

test('Progress writes a plain line every ten seconds elsewhere, with hours where there are some', () => {
  const { terminal, stderr } = openTerminal();
  const clock = new ManualClock();
  const progress = new Progress(terminal, clock, { label: 'warming', unit: 'items', total: 10_000 });
  for (clock.nowMs = 1000; clock.nowMs <= 20_000; clock.nowMs += 1000) progress.update(clock.nowMs / 1000);
  progress.finish();
  assert.deepEqual(stderr.text.split('\n'), [
    'warming  0%  10 of 10000  1/s  2:46:30 left',
    'warming  0%  20 of 10000  1/s  2:46:20 left',
    'warming  0%  20 of 10000  1/s  2:54:39 left',
    '',
  ]);
});

test('Progress without a total counts, and says nothing when quiet', () => {
  const { terminal, stderr } = openTerminal();
  const clock = new ManualClock();
  const progress = new Progress(terminal, clock, { label: 'reading', unit: 'bytes' });
  clock.nowMs = 10_000;
  progress.update(10 * MIB);
  terminal.silenceNotes();
  clock.nowMs = 30_000;
  progress.update(20 * MIB);
  progress.finish();
  assert.equal(stderr.text, 'reading  10 MiB  1 MiB/s\n');
});
