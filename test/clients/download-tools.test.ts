/** wget and aria2c against the real program: resumes without If-Range, several connections for one object. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { bodyBytes } from '../helpers/body.ts';
import { hasTool } from '../helpers/loop-device.ts';
import { Origin } from '../helpers/origin.ts';
import { startRawslice } from '../helpers/rawslice-process.ts';
import { mustRunTool } from '../helpers/run-tool.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

const LENGTH = 20 * MIB + 777;

test('wget -c resumes from the middle of a slice, cold and from the cache', {
  skip: hasTool('wget') ? false : 'wget is not installed',
}, async (context) => {
  await using origin = await Origin.start();
  const identity = origin.setObject('/big.iso', { lengthBytes: LENGTH, cacheControl: 'max-age=3600' });
  const original = bodyBytes(identity, 0, LENGTH);
  const directory = await temporaryDirectory(unwinding(context));
  const rawslice = await startRawslice(context, {
    upstream: origin.url,
    device: path.join(directory, 'cache'),
    flags: ['--size', '128MiB'],
  });
  for (const partBytes of [3_333_333, 1_111_111, 0]) {
    const file = path.join(directory, 'big.iso');
    await writeFile(file, original.subarray(0, partBytes));
    await mustRunTool('wget', [
      '--no-verbose',
      '--tries=1',
      '--no-proxy',
      '--continue',
      '--output-document',
      file,
      `${rawslice.url}/big.iso`,
    ]);
    assert.ok((await readFile(file)).equals(original), `resumed at ${partBytes}`);
  }
  assert.deepEqual(
    (await rawslice.untilAccessLines(3)).map((line) => [line['http.request.range'], line['cache.result']]),
    [
      ['bytes=3333333-', 'MISS'],
      ['bytes=1111111-', 'PARTIAL'],
      [undefined, 'PARTIAL'],
    ],
  );
  assert.ok(origin.bytesSent() <= LENGTH + 2 * MIB, 'what was there was not fetched again');
});

test('aria2c with eight connections gets every byte right, and the origin sends about one copy', {
  skip: hasTool('aria2c') ? false : 'aria2c is not installed',
}, async (context) => {
  await using origin = await Origin.start();
  const identity = origin.setObject('/big.iso', { lengthBytes: LENGTH, cacheControl: 'max-age=3600' });
  const directory = await temporaryDirectory(unwinding(context));
  const rawslice = await startRawslice(context, {
    upstream: origin.url,
    device: path.join(directory, 'cache'),
    flags: ['--size', '128MiB'],
  });
  const words = ['--no-conf', '--quiet', '--split=8', '--max-connection-per-server=8', '--min-split-size=1M', '--file-allocation=none'];
  await mustRunTool('aria2c', [...words, '--dir', directory, '--out', 'big.iso', `${rawslice.url}/big.iso`]);
  assert.ok((await readFile(path.join(directory, 'big.iso'))).equals(bodyBytes(identity, 0, LENGTH)));
  assert.ok(origin.bytesSent() <= LENGTH * 1.5, `the origin sent ${origin.bytesSent()} bytes`);
});
