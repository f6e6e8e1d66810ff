/** Nothing that a peer can send makes the HTTP layer throw, and what it writes it reads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseCacheControl } from '../../src/http/cache-control.ts';
import { formatCacheStatus } from '../../src/http/cache-status.ts';
import { evaluatePreconditions, isRangeAllowedByIfRange } from '../../src/http/conditional.ts';
import { parseEntityTag, parseEntityTagList } from '../../src/http/entity-tag.ts';
import { endToEndFields, fieldsSizeBytes, fieldValue, parseQuotedString, parseRawFields, splitList } from '../../src/http/header-fields.ts';
import { formatHttpDate, parseHttpDate } from '../../src/http/http-date.ts';
import { parseContentRange, parseRangeHeader } from '../../src/http/range.ts';
import { parseRequestTarget } from '../../src/http/request-target.ts';
import { appendCdnLoop, countCdnLoop } from '../../src/http/via.ts';

const SEED = 20_261_121;
const RUNS = { seed: SEED, numRuns: 400 };

/** Words that mean something to one of the parsers, so that random texts get past the first check. */
const WORDS = [
  '"',
  '\\',
  ',',
  ' ',
  '=',
  ';',
  '-',
  '/',
  '*',
  '%',
  '.',
  'W/',
  'a',
  '0',
  '9',
  'bytes',
  'max-age',
  'no-cache',
  'GMT',
  '\xe9',
  '\0',
];
const hostile = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.array(fc.constantFrom(...WORDS), { maxLength: 30 }).map((words) => words.join('')),
);

test(`no text makes a parser throw (seed ${SEED})`, () => {
  fc.assert(
    fc.property(hostile, hostile, (text, other) => {
      parseRangeHeader(`bytes=${text}`);
      parseRangeHeader(text);
      parseContentRange(`bytes ${text}`);
      parseHttpDate(text);
      parseEntityTag(text);
      parseEntityTagList(text);
      parseQuotedString(text);
      parseRequestTarget(text, other);
      parseRequestTarget(`/${text}`, undefined);
      countCdnLoop(text, other);
      formatCacheStatus({ detail: text, key: other });
      const control = parseCacheControl(text);
      for (const name of control.names()) {
        const seconds = control.seconds(name) ?? 0;
        assert.ok(Number.isSafeInteger(seconds) && seconds >= 0);
        control.fieldNames(name);
      }
      const fields = parseRawFields([
        text,
        other,
        'If-Match',
        text,
        'If-None-Match',
        other,
        'If-Modified-Since',
        text,
        'Connection',
        other,
      ]);
      endToEndFields(fields);
      fieldsSizeBytes(fields);
      evaluatePreconditions({ method: 'GET', requestFields: fields, entityTag: text, lastModified: other, recordedMs: 0 });
      isRangeAllowedByIfRange({ ifRange: text, entityTag: other, lastModified: text, dateMs: 0 });
    }),
    RUNS,
  );
});

test(`parseHttpDate() reads all three forms of any second (9110 s5.6.7, seed ${SEED})`, () => {
  const lastSecond = Date.UTC(9999, 11, 31, 23, 59, 59) / 1000;
  fc.assert(
    fc.property(fc.integer({ min: 0, max: lastSecond }), (seconds) => {
      const text = formatHttpDate(seconds * 1000);
      assert.equal(parseHttpDate(text), seconds * 1000);
      const [, weekday = '', day = '', month = '', year = '', time = ''] = /^(\w+), (\d+) (\w+) (\d+) (\S+)/.exec(text) ?? [];
      assert.equal(parseHttpDate(`${weekday} ${month} ${String(Number(day)).padStart(2)} ${time} ${year}`), seconds * 1000);
      if (Number(year) > 2069) return;
      const name = new Date(seconds * 1000).toLocaleDateString('en-GB', { weekday: 'long', timeZone: 'UTC' });
      assert.equal(parseHttpDate(`${name}, ${day}-${month}-${year.slice(2)} ${time} GMT`), seconds * 1000);
    }),
    RUNS,
  );
});

test(`entity tags survive a list (9110 s8.8.3, seed ${SEED})`, () => {
  const opaque = fc.string({ unit: fc.constantFrom('a', ',', '\\', '!', '\xff', '-', '/', 'W') });
  const tag = fc.tuple(fc.boolean(), opaque).map(([isWeak, text]) => ({ isWeak, opaque: `"${text}"` }));
  fc.assert(
    fc.property(fc.array(tag), fc.constantFrom(',', ', ', ' ,,\t'), (tags, separator) => {
      const value = tags.map((one) => (one.isWeak ? 'W/' : '') + one.opaque).join(separator);
      assert.deepEqual(parseEntityTagList(value), tags);
    }),
    RUNS,
  );
});

test(`splitList() keeps every member of a list whole (9110 s5.6.1, seed ${SEED})`, () => {
  const word = fc.string({ unit: fc.constantFrom('a', '=', ';'), minLength: 1 });
  const quoted = fc.string({ unit: fc.constantFrom('a', ',', ' ', '"', '\\') }).map((text) => `x="${text.replace(/["\\]/g, '\\$&')}"`);
  fc.assert(
    fc.property(fc.array(fc.oneof(word, quoted)), (members) => assert.deepEqual(splitList(members.join(' , ')), members)),
    RUNS,
  );
});

test(`no value hides a no-store that follows it as a member of its own (9111 s5.2.2.5, seed ${SEED})`, () => {
  fc.assert(
    fc.property(hostile, (before) => {
      const value = fieldValue(parseRawFields(['Cache-Control', before, 'Cache-Control', 'no-store']), 'cache-control') ?? '';
      // A quoted string that is closed may hold anything; one that is not must not swallow the rest.
      assert.equal(parseCacheControl(value).has('no-store'), true);
    }),
    RUNS,
  );
});

test(`CDN-Loop counts each pass (8586 s2, seed ${SEED})`, () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 20 }), (passes) => {
      const value = passes.reduce<string | undefined>((text, isOurs) => appendCdnLoop(text, isOurs ? 'rawslice-1' : 'other'), undefined);
      assert.equal(countCdnLoop(value, 'rawslice-1'), passes.filter(Boolean).length);
    }),
    RUNS,
  );
});

/** Every way to spell a path that the browser's parser and ours must agree on. */
const pathText = fc
  .array(fc.constantFrom('/', '/', '.', '..', 'a', '~', ';', '%2e', '%2E', '%2f', '%41', '%7E', '%25', '%00'), { maxLength: 12 })
  .map((parts) => `/${parts.join('')}`);

test(`row 51: paths are normalised as WHATWG URL does, and once is enough (3986 s5.2.4, seed ${SEED})`, () => {
  const normalise = (path: string): string => {
    const parsed = parseRequestTarget(path, undefined);
    return parsed.kind === 'ok' ? parsed.path : assert.fail(`${path} is refused`);
  };
  fc.assert(
    fc.property(pathText, (path) => {
      const normal = normalise(path);
      assert.equal(normalise(normal), normal);
      assert.equal(normalise(new URL(`http://h${path}`).pathname), normal);
    }),
    RUNS,
  );
});

test(`row 51: two spellings share a path only if they decode alike with slashes kept apart (3986 s6.2.2, seed ${SEED})`, () => {
  const text = fc
    .array(fc.constantFrom('/', 'a', 'A', '%61', '%2f', '%2F', '%25', '61', '2f', '?', '%3f'), { maxLength: 8 })
    .map((parts) => parts.join(''));
  const meaning = (target: string): string => {
    const mark = target.indexOf('?');
    const path = mark < 0 ? target : target.slice(0, mark);
    return JSON.stringify([path.split('/').map(decodeURIComponent), mark < 0 ? null : decodeURIComponent(target.slice(mark))]);
  };
  fc.assert(
    fc.property(text, text, (one, other) => {
      const [first, second] = [parseRequestTarget(`/${one}`, undefined), parseRequestTarget(`/${other}`, undefined)];
      assert.ok(first.kind === 'ok' && second.kind === 'ok');
      if (first.path === second.path && first.query === second.query) assert.equal(meaning(`/${one}`), meaning(`/${other}`));
    }),
    RUNS,
  );
});
