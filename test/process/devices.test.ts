/** The real program over several devices: what it says of them, and one that is not there. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { Origin } from '../helpers/origin.ts';
import { startRawslice } from '../helpers/rawslice-process.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

test('two files and a device that is missing serve as one cache, and say how they are', async (context) => {
  await using origin = await Origin.start();
  const paths = Array.from({ length: 24 }, (_, number) => `/object-${number}.iso`);
  for (const name of paths) origin.setObject(name, { lengthBytes: MIB + 1, cacheControl: 'max-age=3600' });
  const directory = await temporaryDirectory(unwinding(context));
  const [first, second, missing] = [path.join(directory, 'a'), path.join(directory, 'b'), '/dev/rawslice-is-not-here'];
  const flags = ['--size', '64MiB', '--device', second, '--device', missing, '--arena', '16MiB'];
  const rawslice = await startRawslice(context, { upstream: origin.url, device: first, flags });
  for (const name of paths) assert.equal((await rawslice.get(name)).status, 200);
  await rawslice.untilStored();
  const listed = JSON.parse((await rawslice.admin('/devices')).body.toString()).devices;
  assert.deepEqual(
    listed.map((device: { path: string; state: string }) => [device.path, device.state]),
    [
      [first, 'online'],
      [second, 'online'],
      [missing, 'absent'],
    ],
  );
  // Random device names place the objects: one of them may get few, none is all but impossible.
  assert.ok(listed[0].usedBytes > 0 && listed[1].usedBytes > 0, 'both hold something');
  assert.match(listed[2].reason, /does not exist/);
  const ready = await rawslice.admin('/readyz');
  assert.equal(ready.status, 200);
  assert.equal(JSON.parse(ready.body.toString()).devices.length, 3);
  const metrics = (await rawslice.admin('/metrics')).body.toString();
  assert.ok(metrics.includes(`rawslice_store_state{device="${first}"} 4`), 'online');
  assert.ok(metrics.includes(`rawslice_store_state{device="${missing}"} 0`), 'absent');
  // A missing device keeps no purge from being acknowledged; it will hear of it.
  assert.equal((await rawslice.admin('/purge?url=/object-0.iso', 'POST')).status, 200);
  const attach = async (device: string): Promise<number> =>
    (await rawslice.admin(`/devices/attach?path=${encodeURIComponent(device)}`, 'POST')).status;
  assert.deepEqual([await attach(missing), await attach(first), await attach('/nowhere')], [503, 200, 400]);
  assert.equal((await rawslice.admin('/devices/attach', 'POST')).status, 400);
  assert.equal((await rawslice.admin(`/devices/attach?path=${first}`)).status, 405);
});
