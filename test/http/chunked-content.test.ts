/** Chunked content, cut into pieces at every place, and everything that is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChunkedContent } from '../../src/http/chunked-content.ts';

/** What comes out: the content and what is left behind the end, or why it is refused; `open` when there is more to come. */
function decode(pieces: readonly Buffer[]): { content: string; end: string } {
  const chunks = new ChunkedContent();
  let content = '';
  for (const [index, piece] of pieces.entries()) {
    let at = 0;
    for (;;) {
      const step = chunks.next(piece, at);
      if (step.kind === 'more') break;
      if (step.kind === 'invalid') return { content, end: `invalid: ${step.why}` };
      if (step.kind === 'end')
        return { content, end: `rest: ${Buffer.concat([piece.subarray(step.end), ...pieces.slice(index + 1)]).toString()}` };
      assert.ok(step.start >= at && step.end > step.start && step.end <= piece.length);
      content += piece.toString('latin1', step.start, step.end);
      at = step.end;
    }
  }
  return { content, end: 'open' };
}

const WHOLE = '5\r\nhello\r\n1;name="va;lue"\r\n \r\nA \t; x\r\n0123456789\r\n0\r\nTrailer: a\r\nb: c\r\n\r\nnext';

test('the content is the same wherever the pieces are cut (RFC 9112 s7.1)', () => {
  const bytes = Buffer.from(WHOLE);
  const expected = { content: 'hello 0123456789', end: 'rest: next' };
  assert.deepEqual(decode([bytes]), expected);
  assert.deepEqual(decode([...bytes].map((byte) => Buffer.of(byte))), expected);
  for (let cut = 1; cut < bytes.length; cut += 1)
    assert.deepEqual(decode([bytes.subarray(0, cut), bytes.subarray(cut)]), expected, `cut ${cut}`);
});

test('an end that has not come is none', () => {
  const end = WHOLE.length - 'next'.length;
  for (let length = 0; length < end; length += 1)
    assert.equal(decode([Buffer.from(WHOLE.slice(0, length))]).end, 'open', `${length} bytes`);
});

test('what is not framed by the letter is refused', () => {
  for (const text of [
    '5\nhello\r\n',
    '\r\n',
    'g\r\n',
    '-1\r\n',
    '0x5\r\nhello',
    '+5\r\nhello',
    ' 5\r\nhello',
    '5 5\r\nhello',
    '5\r\nhelloo\r\n',
    '5\r\nhello\n0\r\n\r\n',
    'ffffffffffffff\r\n',
    `1;${'x'.repeat(2000)}\r\n`,
    '0\r\na: b\nc: d\r\n\r\n',
    `0\r\n${`a: ${'b'.repeat(1000)}\r\n`.repeat(20)}\r\n`,
  ]) {
    assert.match(decode([Buffer.from(text)]).end, /^invalid: /, JSON.stringify(text.slice(0, 40)));
    assert.match(decode([...Buffer.from(text)].map((byte) => Buffer.of(byte))).end, /^invalid: /, JSON.stringify(text.slice(0, 40)));
  }
});
