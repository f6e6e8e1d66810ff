/** HTTP/2 with other people's clients: curl, nghttp and h2load, by ALPN and with prior knowledge. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { bodyBytes, verifyBody } from '../helpers/body.ts';
import { certificateFiles } from '../helpers/certificate.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { hasTool } from '../helpers/loop-device.ts';
import { Origin } from '../helpers/origin.ts';
import { mustRunTool } from '../helpers/run-tool.ts';
import { temporaryDirectory } from '../helpers/temp.ts';

const LENGTH = 3_000_000;
const skipUnless = (tool: string): string | false => (hasTool(tool) ? false : `${tool} is not installed`);

/** Two services, without TLS and, where openssl is installed, with it. */
async function startBoth(context: TestContext, origin: Origin): Promise<{ edge: TestEdge; urls: string[]; directory: string }> {
  const directory = await temporaryDirectory(context);
  const files = certificateFiles(directory, 'edge', ['localhost']);
  const list = files === undefined ? '' : `[{ cert: "${files.cert}", key: "${files.key}" }]`;
  const secure = files === undefined ? '' : `  - { name: tls, listen: "127.0.0.1:0", certificates: ${list} }\n`;
  const edge = await startEdge({ origin, yaml: `services:\n  - { name: edge, listen: "127.0.0.1:0", http2: true }\n${secure}` });
  const urls = [...edge.ports].map(([name, port]) => `${name === 'tls' ? 'https' : 'http'}://127.0.0.1:${port}`);
  return { edge, urls, directory };
}

test('curl: whole, a range, an upload', { skip: skipUnless('curl') }, async (context) => {
  if (!(await mustRunTool('curl', ['--version'])).includes('HTTP2')) return context.skip('curl has no HTTP/2');
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: LENGTH, cacheControl: 'max-age=600' }) });
  const { edge, urls, directory } = await startBoth(context, origin);
  await using _ = edge;
  const file = path.join(directory, 'body');
  for (const url of urls) {
    const way = url.startsWith('https') ? '--http2' : '--http2-prior-knowledge';
    const say = ['--silent', '--show-error', '--insecure', way, '--output', file, '--write-out', '%{http_version} %{http_code}'];
    assert.equal(await mustRunTool('curl', [...say, `${url}/a`]), '2 200');
    assert.equal(verifyBody(await readFile(file), { name: '/a', version: 1 }, 0), -1);
    assert.equal(await mustRunTool('curl', [...say, '--range', '1000000-1999999', `${url}/a`]), '2 206');
    assert.equal(verifyBody(await readFile(file), { name: '/a', version: 1 }, 1_000_000), -1);
    const upload = path.join(directory, 'upload');
    await writeFile(upload, bodyBytes({ name: 'up', version: 1 }, 0, LENGTH));
    assert.equal(await mustRunTool('curl', [...say, '--upload-file', upload, `${url}/up`]), '2 200');
    assert.equal(origin.requestsFor('/up').at(-1)?.requestBodyBytes, LENGTH);
  }
});

test('nghttp: many at once over one connection', { skip: skipUnless('nghttp') }, async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 100_000, cacheControl: 'max-age=600' }) });
  const { edge, urls } = await startBoth(context, origin);
  await using _ = edge;
  for (const url of urls) {
    const targets = Array.from({ length: 20 }, (_, index) => `${url}/x${index}`);
    const text = await mustRunTool('nghttp', ['--null-out', '--stat', '--no-verify-peer', ...targets]);
    assert.equal(text.match(/ 200 +97K \/x\d+/g)?.length, 20, text);
  }
});

test('h2load: connections with a hundred streams each, all answered well', { skip: skipUnless('h2load') }, async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 20_000, cacheControl: 'max-age=600' }) });
  const { edge, urls } = await startBoth(context, origin);
  await using _ = edge;
  for (const url of urls) {
    const text = await mustRunTool('h2load', ['-n', '2000', '-c', '4', '-m', '100', `${url}/a`]);
    assert.match(text, /requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout/);
  }
  assert.equal(await edge.metric('rawslice_streams'), 0);
});
