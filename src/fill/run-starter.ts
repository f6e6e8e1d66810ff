/**
 * Starts the request behind a run of missing slices of a known generation, and judges the answer: more of the same version, the whole
 * object from an origin that ignores ranges, or a sign that the origin has another version now.
 */
import { EdgeError } from '../base/errors.ts';
import { divFloor } from '../base/units.ts';
import { sameRepresentation } from '../cache/validators.ts';
import { contentCodingOf } from '../http/content-coding.ts';
import type { FieldList } from '../http/header-fields.ts';
import { formatRangeHeader } from '../http/range.ts';
import type { BodySink, Transfer, UpstreamHead } from '../upstream/upstream-transport.ts';
import { DiscardingSink } from './body-reader.ts';
import { RUN_BYTES_MAX } from './fill-context.ts';
import { FillRun } from './fill-run.ts';
import type { LiveObject } from './live-object.ts';
import { type Asked, checkResponse } from './response-check.ts';

/** With these the origin says that the object, or this part of it, is there no more; any other error may pass (429, 503 ...). */
const GONE_STATUSES = new Set([404, 410, 416]);

/**
 * Begins to fetch missing slices.
 *
 * @param firstSlice     a slice that is neither stored nor claimed
 * @param wantedEndSlice exclusive; the run ends there, at the next slice that is present or claimed, or after RUN_BYTES_MAX
 */
export function startRun(object: LiveObject, firstSlice: number, wantedEndSlice: number): FillRun {
  // Without ranges there is one way to get a slice: everything from the start.
  const isWhole = !object.isResumable;
  const shape = isWhole
    ? { firstSlice: 0, endSlice: object.endSlice, skipBytes: 0 }
    : { firstSlice, endSlice: runEnd(object, firstSlice, wantedEndSlice), skipBytes: 0 };
  const run = new FillRun(object, shape);
  void ask(run, shape.firstSlice, isWhole ? undefined : shape.endSlice);
  return run;
}

function runEnd(object: LiveObject, firstSlice: number, wantedEndSlice: number): number {
  const slicesMax = Math.max(1, divFloor(RUN_BYTES_MAX, object.sliceSizeBytes));
  const limit = Math.min(wantedEndSlice, object.endSlice, firstSlice + slicesMax);
  let end = firstSlice + 1;
  while (end < limit && !object.context.store.hasSlice(object.generation, end) && object.findRun(end) === undefined) end += 1;
  return end;
}

async function ask(run: FillRun, firstSlice: number, endSlice: number | undefined): Promise<void> {
  if (!(await run.prepare())) return run.stop('no-slot');
  const { object } = run;
  const { target, sliceSizeBytes } = object;
  const loadedBytes = endSlice === undefined ? 0 : await run.loadStart();
  if (run.end !== undefined) return;
  const fields: [string, string][] = target.fields.map(([name, value]) => [name, value]);
  let asked: Asked = { kind: 'whole' };
  if (endSlice !== undefined) {
    const start = firstSlice * sliceSizeBytes + loadedBytes;
    const end = Math.min(endSlice * sliceSizeBytes, object.manifest.lengthBytes ?? Number.MAX_SAFE_INTEGER);
    asked = { kind: 'range', start, end };
    fields.push(['range', formatRangeHeader(start, end)]);
    // A run from 0 would get everything anyway, so a changed object may answer with all of it at once.
    const tag = firstSlice === 0 ? strongTag(object.manifest.fields) : undefined;
    if (tag !== undefined) fields.push(['if-range', tag]);
  }
  const transfer = target.transport.start(
    { method: 'GET', path: target.upstreamPath, fields },
    {
      onHead: (head, running) => judge(run, asked, head, running),
      onFailure: (error) => run.onError(error),
    },
  );
  run.attach(transfer);
  object.context.standing.onRequest(target.transport);
}

function judge(run: FillRun, asked: Asked, head: UpstreamHead, transfer: Transfer): BodySink | undefined {
  if (run.end !== undefined) return undefined;
  const { object } = run;
  const { status } = head;
  if (status >= 400 && !GONE_STATUSES.has(status)) {
    run.onError(
      new EdgeError('UPSTREAM_INVALID', `The origin answered ${status} to a request for missing slices`, { context: { status } }),
    );
    return new DiscardingSink(transfer);
  }
  if (status !== 200 && status !== 206) return changed(object, `the origin answers ${status} now`);
  // An encoding that the origin has given up does not come back, whatever is asked for.
  if (object.coding !== 'identity' && contentCodingOf(head.fields) !== object.coding)
    return changed(object, 'the origin encodes it otherwise now');
  const usable = checkResponse(asked, head, [object.coding]);
  if (usable.kind === 'unusable') {
    // What a range brings from this origin cannot be trusted; the whole object may still be had.
    object.markRangeless();
    run.onError(new EdgeError('UPSTREAM_INVALID', `The origin's answer cannot be used: ${usable.why}`));
    return undefined;
  }
  if (!isSameVersion(object, head, usable.lengthBytes)) return changed(object, 'the origin has another version now');
  if (object.manifest.lengthBytes === undefined && usable.lengthBytes !== undefined) object.learnLength(usable.lengthBytes);
  if (usable.kind === 'whole' && asked.kind !== 'whole') {
    object.markRangeless();
    run.reshape({ firstSlice: 0, endSlice: object.endSlice, skipBytes: 0 });
  }
  return run;
}

/** A length that either side does not tell (chunked framing) is no contradiction. */
function isSameVersion(object: LiveObject, head: UpstreamHead, lengthBytes: number | undefined): boolean {
  const known = object.manifest.lengthBytes;
  return sameRepresentation(object.manifest.fields, head.fields) && (known ?? lengthBytes) === (lengthBytes ?? known);
}

function changed(object: LiveObject, why: string): undefined {
  object.context.metrics.add('generationsReplaced');
  object.fail(new EdgeError('UPSTREAM_CHANGED', `The object changed during the transfer: ${why}; ask again`));
}

function strongTag(fields: FieldList): string | undefined {
  const tag = fields.find(([name]) => name === 'etag')?.[1];
  return tag?.startsWith('"') === true ? tag : undefined;
}
