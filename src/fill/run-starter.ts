/**
 * Starts the request behind a run of missing slices of a known generation, and judges the answer: more of the same version, the whole
 * object from an origin that ignores ranges, or a sign that the origin has another version now.
 */
import { EdgeError } from '../base/errors.ts';
import { divFloor, isAligned } from '../base/units.ts';
import { isCuttable } from '../cache/slice-plan.ts';
import { sameRepresentation } from '../cache/validators.ts';
import { contentCodingOf } from '../http/content-coding.ts';
import type { FieldList } from '../http/header-fields.ts';
import { formatRangeHeader } from '../http/range.ts';
import { DiscardingSink } from '../upstream/discarding-sink.ts';
import type { BodySink, Transfer, UpstreamHead } from '../upstream/upstream-transport.ts';
import { RUN_BYTES_MAX } from './fill-context.ts';
import { FillRun } from './fill-run.ts';
import { isTagFlap, learnConnection } from './learning.ts';
import type { LiveObject } from './live-object.ts';
import { type Asked, checkResponse, GONE_STATUSES, type Usable, wantedInterval } from './response-check.ts';

/**
 * Begins to fetch missing bytes.
 *
 * @param position       offset of a byte that is neither kept nor about to come; the run brings its slice, or what is missing around it
 * @param wantedEndSlice exclusive; the run ends there, at the next slice of which something is kept or claimed, or after RUN_BYTES_MAX
 */
export function startRun(object: LiveObject, position: number, wantedEndSlice: number): FillRun {
  const { sliceSizeBytes } = object;
  // Without ranges there is one way to get a slice: everything from the start.
  const isWhole = !object.isResumable;
  const firstSlice = divFloor(position, sliceSizeBytes);
  const lengthBytes = object.manifest.lengthBytes ?? Number.POSITIVE_INFINITY;
  const shape = isWhole
    ? { start: 0, end: lengthBytes, skipBytes: 0 }
    : {
        start: firstSlice * sliceSizeBytes,
        end: Math.min(runEnd(object, firstSlice, wantedEndSlice) * sliceSizeBytes, lengthBytes),
        skipBytes: 0,
      };
  const run = new FillRun(object, shape);
  void ask(run, isWhole ? undefined : position);
  return run;
}

/** Where a run of missing slices ends, exclusive: at the next slice of which something is kept or claimed, or after RUN_BYTES_MAX. */
export function runEnd(object: LiveObject, firstSlice: number, wantedEndSlice: number): number {
  const slicesMax = Math.max(1, divFloor(RUN_BYTES_MAX, object.sliceSizeBytes));
  const limit = Math.min(wantedEndSlice, object.endSlice, firstSlice + slicesMax);
  let end = firstSlice + 1;
  while (end < limit && !isKept(object, end) && object.findRun(end) === undefined) end += 1;
  return end;
}

function isKept(object: LiveObject, sliceNumber: number): boolean {
  return object.context.store.hasSlice(object.generation, sliceNumber) || object.hasPart(sliceNumber);
}

/** @param position the byte that the run is for; undefined when everything is asked for */
async function ask(run: FillRun, position: number | undefined): Promise<void> {
  if (!(await run.prepare())) return run.stop('no-slot');
  if (position !== undefined) await run.loadKept(position);
  if (run.end !== undefined) return;
  const { object } = run;
  const { target } = object;
  const asked: Question = position === undefined ? { kind: 'whole' } : { kind: 'range', ...askedOf(run) };
  const fields = [...target.fields, ...rangeFields(object, asked)];
  const transfer = target.transport.start(
    { method: 'GET', path: target.upstreamPath, fields, affinity: target.affinity, watch: target.watch },
    {
      onHead: (head, running) => judge(run, asked, head, running),
      onFailure: (error) => run.onError(error),
    },
  );
  run.attach(transfer);
  object.context.standing.onRequest(target.transport);
}

type Question = Exclude<Asked, { kind: 'suffix' }>;

/** What completes a slice to the object's end is asked for as just that. */
function askedOf({ shape, object }: FillRun): { readonly start: number; readonly end: number | undefined } {
  const isRest = !isAligned(shape.start, object.sliceSizeBytes) && shape.end === object.manifest.lengthBytes;
  return { start: shape.start, end: isRest ? undefined : shape.end };
}

function rangeFields(object: LiveObject, asked: Question): [string, string][] {
  if (asked.kind === 'whole') return [];
  const range: [string, string] = ['range', formatRangeHeader(asked.start, asked.end)];
  // From the first slice a changed object may as well answer with all of itself at once.
  const tag = asked.start < object.sliceSizeBytes ? strongTag(object.manifest.fields) : undefined;
  return tag === undefined ? [range] : [range, ['if-range', tag]];
}

function judge(run: FillRun, asked: Question, head: UpstreamHead, transfer: Transfer): BodySink | undefined {
  if (run.end !== undefined) return undefined;
  const { object } = run;
  const { context, target } = object;
  learnConnection(context, target.place, head);
  const { status } = head;
  if (status >= 400 && !GONE_STATUSES.has(status)) {
    run.onError(
      new EdgeError('UPSTREAM_INVALID', `The origin answered ${status} to a request for missing slices`, { context: { status } }),
    );
    return new DiscardingSink(transfer);
  }
  if (status !== 200 && status !== 206) return changed(run, `the origin answers ${status} now`);
  // An encoding that the origin has given up does not come back, whatever is asked for.
  const isEncodedOtherwise = object.coding !== 'identity' && contentCodingOf(head.fields) !== object.coding;
  if (isEncodedOtherwise) return changed(run, 'the origin encodes it otherwise now');
  const usable = checkResponse(head, [object.coding]);
  if (usable.kind === 'unusable') return refuse(run, transfer, usable.why);
  if (isTagFlap(object.manifest, { fields: head.fields, lengthBytes: usable.lengthBytes })) context.abilities.noteTagFlap(target.place);
  if (!isSameVersion(object, head, usable.lengthBytes)) {
    if (object.mayAskAnotherNode()) return tryAnotherNode(run);
    return changed(run, 'the origin has another version now');
  }
  object.noteOwnVersion();
  if (object.manifest.lengthBytes === undefined && usable.lengthBytes !== undefined) {
    if (!isCuttable(usable.lengthBytes, object.sliceSizeBytes)) return changed(run, 'it is too long for slices');
    object.learnLength(usable.lengthBytes);
  }
  if (usable.kind === 'part') {
    // Asked for everything, an origin that answers with a part would do so again and again.
    if (asked.kind === 'whole' && usable.end - usable.start !== object.manifest.lengthBytes)
      return refuse(run, transfer, 'a part came where everything was asked for');
    context.abilities.noteRange(target.place, true);
    return takePart({ run, transfer }, asked, usable);
  }
  if (asked.kind !== 'whole') {
    context.abilities.noteRange(target.place, false);
    object.markRangeless();
    run.reshape({ start: 0, end: object.manifest.lengthBytes ?? Number.POSITIVE_INFINITY, skipBytes: 0 });
  }
  return run;
}

/** A 206 of the version: what was asked for, or another part that has something of it (RFC 9110 s15.3.7.2). */
function takePart(
  { run, transfer }: { readonly run: FillRun; readonly transfer: Transfer },
  asked: Question,
  part: Extract<Usable, { kind: 'part' }>,
): BodySink | undefined {
  const { object } = run;
  const wanted = wantedInterval(asked, object.manifest.lengthBytes);
  if (part.start === wanted.start && part.end === wanted.end) return run;
  if (!part.isMeasured) return refuse(run, transfer, 'Content-Range is not what was asked for, and there is no Content-Length');
  const start = Math.max(part.start, wanted.start);
  const end = Math.min(part.end, wanted.end);
  if (start >= end) return refuse(run, transfer, 'Content-Range leaves out what was asked for');
  if (end - start < wanted.end - wanted.start && !object.acceptsNarrow(end - start))
    return refuse(run, transfer, 'too little comes at a time');
  run.reshape({ start, end, skipBytes: start - part.start });
  return run;
}

/** What a range brings from this origin cannot be trusted; the whole object may still be had, or the range from another node. */
function refuse(run: FillRun, transfer: Transfer, why: string): undefined {
  if (transfer.blame?.(why) !== true) run.object.markRangeless();
  run.onError(new EdgeError('UPSTREAM_INVALID', `The origin's answer cannot be used: ${why}`));
}

/** A length that either side does not tell (chunked framing) is no contradiction. */
function isSameVersion(object: LiveObject, head: UpstreamHead, lengthBytes: number | undefined): boolean {
  const known = object.manifest.lengthBytes;
  return sameRepresentation(object.manifest.fields, head.fields) && (known ?? lengthBytes) === (lengthBytes ?? known);
}

/** Nodes may tag the same content differently, or one is not up to date: the one that the version came from has the rest. */
function tryAnotherNode(run: FillRun): undefined {
  run.onError(new EdgeError('UPSTREAM_INVALID', 'A node of the origin has another version'));
}

function changed(run: FillRun, why: string): undefined {
  run.stop('changed');
  run.object.endAsChanged(why);
}

function strongTag(fields: FieldList): string | undefined {
  const tag = fields.find(([name]) => name === 'etag')?.[1];
  return tag?.startsWith('"') === true ? tag : undefined;
}
