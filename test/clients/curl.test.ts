/**
 * The journey that the project was asked for, with real curl against the real program: whole, a range, the last bytes, a resume, and all of
 * it again from the cache when the origin is gone. Bytes are compared in every case.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, truncate } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import { CACHE_PLACES } from '../helpers/cache-place.ts';
import { hasTool } from '../helpers/loop-device.ts';
import { Origin } from '../helpers/origin.ts';
import { startRawslice } from '../helpers/rawslice-process.ts';
import { mustRunTool } from '../helpers/run-tool.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

const LENGTH = 12 * MIB + 12_345;
const noCurl = hasTool('curl') ? false : 'curl is not installed';

interface CurlAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: Buffer;
}

async function curl(file: string, url: string, ...words: string[]): Promise<CurlAnswer> {
  const head = `${file}.head`;
  await mustRunTool('curl', ['--silent', '--show-error', '--fail', '--dump-header', head, '--output', file, ...words, url]);
  const lines = (await readFile(head, 'latin1')).trim().split('\r\n');
  const headers = lines.slice(1).map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { status: Number(lines[0]?.split(' ')[1]), headers: Object.fromEntries(headers), bytes: await readFile(file) };
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Everything that the list of the task names; `expected` is what X-Cache must say of each. */
async function walkTheList(context: TestContext, url: string, original: Buffer, expected: 'fresh-start' | 'all-hits'): Promise<void> {
  const directory = await temporaryDirectory(unwinding(context));
  const file = path.join(directory, 'big.iso');
  const isWarm = expected === 'all-hits';
  const check = (answer: CurlAnswer, want: { status: number; start: number; end: number; cache: RegExp; range?: string }): void => {
    assert.equal(answer.status, want.status);
    assert.equal(answer.headers['content-range'], want.range);
    assert.match(answer.headers['x-cache'] ?? '', isWarm ? /^HIT$/ : want.cache);
    assert.match(
      answer.headers['cache-status'] ?? '',
      answer.headers['x-cache'] === 'HIT' ? /^rawslice; hit; ttl=\d+$/ : /^rawslice; fwd=/,
    );
    assert.equal(sha256(answer.bytes), sha256(original.subarray(want.start, want.end)), `bytes ${want.start} to ${want.end}`);
  };
  const total = original.length;

  const range = await curl(path.join(directory, 'part'), url, '--range', '5000000-5999999');
  check(range, { status: 206, start: 5_000_000, end: 6_000_000, cache: /^MISS$/, range: `bytes 5000000-5999999/${total}` });
  const whole = await curl(file, url);
  check(whole, { status: 200, start: 0, end: total, cache: /^PARTIAL$/ });
  const last = await curl(path.join(directory, 'tail'), url, '--range', '-100');
  check(last, { status: 206, start: total - 100, end: total, cache: /^HIT$/, range: `bytes ${total - 100}-${total - 1}/${total}` });
  // What a broken download leaves behind, in the middle of a slice.
  await truncate(file, 7_654_321);
  const resumed = await curl(file, url, '--continue-at', '-');
  check(resumed, { status: 206, start: 0, end: total, cache: /^HIT$/, range: `bytes 7654321-${total - 1}/${total}` });
}

for (const place of CACHE_PLACES) {
  test(`curl gets whole, range, suffix and resume right, then again without the origin, on ${place.name}`, {
    skip: place.skip || noCurl,
  }, async (context) => {
    await using origin = await Origin.start();
    const identity = origin.setObject('/images/big.iso', { lengthBytes: LENGTH, cacheControl: 'max-age=3600' });
    const original = bodyBytes(identity, 0, LENGTH);
    const { device, flags } = await place.make(context, 256 * MIB);
    const rawslice = await startRawslice(context, { upstream: origin.url, device, flags });
    const url = `${rawslice.url}/images/big.iso`;
    await walkTheList(context, url, original, 'fresh-start');
    assert.equal(origin.bytesSent() < LENGTH * 1.01, true, 'every slice came from the origin once');
    await origin.stop();
    await walkTheList(context, url, original, 'all-hits');

    await rawslice.untilStored();
    assert.equal(await rawslice.stop(), 0);
    const again = await startRawslice(context, { upstream: origin.url, device });
    await walkTheList(context, `${again.url}/images/big.iso`, original, 'all-hits');
  });
}

test('curl cut off in the middle resumes with -C - and ends with the right bytes', { skip: noCurl }, async (context) => {
  await using origin = await Origin.start();
  const identity = origin.setObject('/big.iso', { lengthBytes: LENGTH, cacheControl: 'max-age=3600' });
  const directory = await temporaryDirectory(unwinding(context));
  const rawslice = await startRawslice(context, {
    upstream: origin.url,
    device: path.join(directory, 'cache'),
    flags: ['--size', '256MiB'],
  });
  const file = path.join(directory, 'big.iso');
  // The origin breaks off and cannot be asked again, so the client is cut off too.
  origin.misbehave('/big.iso', { resetAfterBytes: 9_000_001 }, 1);
  origin.misbehave('/big.iso', { status: 503 }, 10);
  await assert.rejects(curl(file, `${rawslice.url}/big.iso`), /transfer closed|Recv failure|outstanding read data|HTTP\/2 stream/);
  const partBytes = (await readFile(file)).length;
  assert.ok(partBytes > 0 && partBytes <= 9_000_001, `${partBytes} bytes came`);
  origin.behave();
  const { status, bytes } = await curl(file, `${rawslice.url}/big.iso`, '--continue-at', '-');
  assert.equal(status, 206);
  assert.equal(sha256(bytes), sha256(bodyBytes(identity, 0, LENGTH)));
});

test('forty transfers of one curl --parallel cost the origin one copy', { skip: noCurl }, async (context) => {
  await using origin = await Origin.start();
  const lengthBytes = MIB + 1;
  const identity = origin.setObject('/shared.iso', { lengthBytes, cacheControl: 'max-age=3600' });
  const directory = await temporaryDirectory(unwinding(context));
  const rawslice = await startRawslice(context, {
    upstream: origin.url,
    device: path.join(directory, 'cache'),
    flags: ['--size', '256MiB'],
  });
  // Held until the origin has been asked: whoever comes while the answer is awaited shares it.
  origin.misbehave('/shared.iso', { holdHead: true }, 1);
  const words = Array.from({ length: 40 }, (_, index) => ['--output', `${directory}/${index}`, `${rawslice.url}/shared.iso`]).flat();
  const run = mustRunTool('curl', [
    '--silent',
    '--show-error',
    '--fail',
    '--parallel',
    '--parallel-immediate',
    '--parallel-max',
    '40',
    ...words,
  ]);
  await origin.waitForHeld('/shared.iso');
  await rawslice.untilMetrics('forty requests', (scrape) => scrape.get('rawslice_http_requests_in_flight') === 40);
  origin.release('/shared.iso');
  await run;
  const original = sha256(bodyBytes(identity, 0, lengthBytes));
  for (let index = 0; index < 40; index += 1) assert.equal(sha256(await readFile(`${directory}/${index}`)), original, `download ${index}`);
  assert.equal(origin.requestsFor('/shared.iso').length, 1);
  assert.equal(origin.bytesSent('/shared.iso'), lengthBytes);
});
