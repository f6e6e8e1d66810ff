/** pip (with wheels read lazily: HEAD, last bytes, further ranges) and npm against the real program, then again from the cache alone. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import { hasTool } from '../helpers/loop-device.ts';
import { Origin } from '../helpers/origin.ts';
import { type RawsliceProcess, startRawslice } from '../helpers/rawslice-process.ts';
import { mustRunTool, runTool } from '../helpers/run-tool.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

const WHEEL = 'noise_wheel-1.0-py3-none-any.whl';
const WHEEL_PAYLOAD_BYTES = 5 * MIB;

async function start(context: TestContext, origin: Origin, directory: string): Promise<RawsliceProcess> {
  const flags = ['--size', '128MiB'];
  return startRawslice(context, { upstream: origin.url, device: path.join(directory, 'cache'), flags });
}

/** A wheel whose payload does not compress, so that its index lies far behind its beginning. */
async function buildWheel(directory: string): Promise<Buffer> {
  const info = 'noise_wheel-1.0.dist-info';
  const root = path.join(directory, 'wheel');
  await mkdir(path.join(root, info), { recursive: true });
  await mkdir(path.join(root, 'noise_wheel'));
  await writeFile(path.join(root, 'noise_wheel/__init__.py'), '');
  await writeFile(path.join(root, 'noise_wheel/payload.bin'), new SeededRandom(77).bytes(WHEEL_PAYLOAD_BYTES));
  await writeFile(path.join(root, info, 'METADATA'), 'Metadata-Version: 2.1\nName: noise-wheel\nVersion: 1.0\n');
  await writeFile(path.join(root, info, 'WHEEL'), 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n');
  const files = ['noise_wheel/__init__.py', 'noise_wheel/payload.bin', `${info}/METADATA`, `${info}/WHEEL`];
  await writeFile(path.join(root, info, 'RECORD'), [...files, `${info}/RECORD`].map((name) => `${name},,\n`).join(''));
  // Metadata comes last, as wheels are made.
  const words = ['-m', 'zipfile', '-c', path.join(directory, WHEEL), 'noise_wheel', info];
  await mustRunTool('python3', words, { cwd: root });
  return readFile(path.join(directory, WHEEL));
}

const hasPip = hasTool('python3') && (await runTool('python3', ['-m', 'pip', '--version']).catch(() => undefined))?.exit === 0;

test('pip reads a wheel lazily and installs it, then again without the origin', {
  skip: hasPip ? false : 'pip is not installed',
}, async (context) => {
  const directory = await temporaryDirectory(unwinding(context));
  await using origin = await Origin.start();
  const wheel = await buildWheel(directory);
  const digest = createHash('sha256').update(wheel).digest('hex');
  const page = `<!DOCTYPE html><html><body><a href="/files/${WHEEL}#sha256=${digest}">${WHEEL}</a></body></html>`;
  origin.setObject('/simple/noise-wheel/', { body: Buffer.from(page), contentType: 'text/html', cacheControl: 'max-age=600' });
  origin.setObject(`/files/${WHEEL}`, { body: wheel, cacheControl: 'max-age=3600' });
  const rawslice = await start(context, origin, directory);
  const pip = (...words: string[]): Promise<string> => {
    const common = ['--disable-pip-version-check', '--no-cache-dir', '--isolated', '--no-input', '--use-feature=fast-deps'];
    const index = ['--index-url', `${rawslice.url}/simple/`, '--trusted-host', '127.0.0.1'];
    return mustRunTool('python3', ['-m', 'pip', 'install', ...common, ...index, ...words, 'noise-wheel'], {
      environment: { HOME: directory, PIP_ROOT_USER_ACTION: 'ignore' },
      deadlineMs: 60_000,
    });
  };
  await pip('--dry-run', '--ignore-installed', '--target', path.join(directory, 'dry'));
  const lines = await rawslice.untilAccessLines(3);
  const methods = lines.map((line) => [line['http.request.method'], line['http.request.range'] !== undefined]);
  assert.ok(methods.some(([method]) => method === 'HEAD') && methods.some(([, isRanged]) => isRanged), JSON.stringify(methods));
  for (const name of ['cold', 'warm']) {
    const target = path.join(directory, name);
    await pip('--target', target);
    assert.ok(
      (await readFile(path.join(target, 'noise_wheel/payload.bin'))).equals(Buffer.from(new SeededRandom(77).bytes(WHEEL_PAYLOAD_BYTES))),
    );
    if (name === 'cold') await origin.stop();
  }
  assert.ok(origin.bytesSent() <= wheel.length + 2 * MIB, `the origin sent ${origin.bytesSent()} bytes`);
});

test('npm installs a package, then again without the origin', {
  skip: hasTool('npm') ? false : 'npm is not installed',
}, async (context) => {
  const directory = await temporaryDirectory(unwinding(context));
  await using origin = await Origin.start();
  const source = path.join(directory, 'source/package');
  await mkdir(source, { recursive: true });
  const payload = Buffer.from(new SeededRandom(78).bytes(700 * KIB));
  await writeFile(path.join(source, 'package.json'), JSON.stringify({ name: 'noise-package', version: '1.0.0' }));
  await writeFile(path.join(source, 'payload.bin'), payload);
  await mustRunTool('tar', ['-czf', '../noise-package-1.0.0.tgz', 'package'], { cwd: path.dirname(source) });
  const tarball = await readFile(path.join(directory, 'noise-package-1.0.0.tgz'));
  const rawslice = await start(context, origin, directory);
  const dist = {
    tarball: `${rawslice.url}/noise-package/-/noise-package-1.0.0.tgz`,
    integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
  };
  const versions = { '1.0.0': { name: 'noise-package', version: '1.0.0', dist } };
  const document = { name: 'noise-package', 'dist-tags': { latest: '1.0.0' }, versions };
  origin.setObject('/noise-package', {
    body: Buffer.from(JSON.stringify(document)),
    contentType: 'application/json',
    cacheControl: 'public, max-age=300',
    headers: { Vary: 'accept-encoding, accept' },
  });
  origin.setObject('/noise-package/-/noise-package-1.0.0.tgz', { body: tarball, cacheControl: 'public, immutable, max-age=31557600' });
  for (const name of ['cold', 'warm']) {
    const project = path.join(directory, name);
    await mkdir(project);
    await writeFile(path.join(project, 'package.json'), JSON.stringify({ name: 'project', version: '1.0.0' }));
    const common = ['--no-audit', '--no-fund', '--no-update-notifier', '--fetch-retries=0', '--cache', path.join(project, 'npm-cache')];
    await mustRunTool('npm', ['install', ...common, '--registry', rawslice.url, 'noise-package'], {
      cwd: project,
      environment: { HOME: project },
      deadlineMs: 60_000,
    });
    assert.ok((await readFile(path.join(project, 'node_modules/noise-package/payload.bin'))).equals(payload), name);
    await access(path.join(project, 'package-lock.json'));
    if (name === 'cold') await origin.stop();
  }
});
