/** The program with an SDK of OpenTelemetry that `node --import` loads, as README says: its spans arrive. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import { startRawslice } from '../helpers/rawslice-process.ts';
import { temporaryDirectory } from '../helpers/temp.ts';
import { unwinding } from '../helpers/unwinding.ts';

test('an SDK that is loaded before the program gets the spans of its requests', async (context) => {
  await using origin = await Origin.start({ resolve: () => ({ lengthBytes: 100, cacheControl: 'max-age=600' }) });
  const directory = await temporaryDirectory(unwinding(context));
  const [sdk, spans] = [path.join(directory, 'otel.mjs'), path.join(directory, 'spans')];
  await writeFile(spans, '');
  await writeFile(
    sdk,
    `import { appendFileSync } from 'node:fs';
     import { trace } from '${import.meta.resolve('@opentelemetry/api')}';
     import { BasicTracerProvider, SimpleSpanProcessor } from '${import.meta.resolve('@opentelemetry/sdk-trace-base')}';
     const exporter = {
       export(list, done) { for (const { name, kind } of list) appendFileSync(${JSON.stringify(spans)}, name + kind + ' '); done({ code: 0 }); },
       shutdown: async () => undefined,
     };
     trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
`,
  );
  const environment = { NODE_OPTIONS: `--import ${pathToFileURL(sdk).href}` };
  const start = { upstream: origin.url, device: path.join(directory, 'cache'), flags: ['--size', '64MiB'], environment };
  const rawslice = await startRawslice(context, start);
  await rawslice.get('/a');
  // Of the request to the origin and of the client's; then of a hit.
  await eventually(async () => (await readFile(spans, 'utf8')) === 'GET2 GET1 ', { what: 'two spans' });
  await rawslice.get('/a');
  await eventually(async () => (await readFile(spans, 'utf8')) === 'GET2 GET1 GET1 ', { what: 'three spans' });
  assert.equal((await rawslice.scrape()).get('rawslice_http_lane_requests_total{lane="express"}'), 1);
});
