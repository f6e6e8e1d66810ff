/** Stage *plan*: preconditions, then ranges, then which slices the answer is made of (RFC 9110 s13.2.2, s14.2). */
import { EdgeError } from '../base/errors.ts';
import { planSlices } from '../cache/slice-plan.ts';
import { isSliced, isSuccess } from '../cache/status-policy.ts';
import { validatorsOf } from '../cache/validators.ts';
import type { LiveObject } from '../fill/live-object.ts';
import { evaluatePreconditions, isRangeAllowedByIfRange } from '../http/conditional.ts';
import { type FieldList, fieldValue } from '../http/header-fields.ts';
import { formatUnsatisfiedContentRange, resolveRange } from '../http/range.ts';
import type { SliceStore } from '../store/slice-store.ts';
import { wantedRange } from './identify.ts';
import type { RequestContext } from './request-context.ts';
import { describeCache, storyFields } from './respond.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

/** Slices of a plan that are looked up to tell a hit from a partial hit; a longer plan is judged by its beginning. */
const LOOKED_UP_SLICES_MAX = 4096;
/** Fields of a 200 that a 304 repeats (RFC 9110 s15.4.5). */
const NOT_MODIFIED_FIELDS = new Set(['cache-control', 'content-location', 'date', 'etag', 'expires', 'last-modified', 'vary']);

export function plan(context: RequestContext, services: ProxyServices): StageOutcome {
  const { object } = context.need('resolution');
  const { fields, lengthBytes, status, receivedAtMs } = object.manifest;
  const validators = validatorsOf(fields);
  const conditions = {
    method: context.method,
    requestFields: context.fields,
    entityTag: validators.entityTag,
    lastModified: validators.lastModified?.text,
    recordedMs: validators.dateMs ?? receivedAtMs,
  };
  // Conditions count where the answer would be a 2xx (RFC 9110 s13.2.1), ranges where it would be a 200 (s14.2).
  const verdict = isSuccess(status) ? evaluatePreconditions(conditions) : 'proceed';
  if (verdict === 'not-modified')
    return reply(
      context,
      services,
      304,
      fields.filter(([name]) => NOT_MODIFIED_FIELDS.has(name)),
    );
  if (verdict === 'precondition-failed') return reply(context, services, 412, [['content-length', '0']]);

  if (!isSliced(status)) {
    context.body = { status, start: 0, end: lengthBytes, ...countSlices(services.store, object, { start: 0, end: lengthBytes }) };
    return NEXT;
  }
  const range = lengthBytes === undefined || lengthBytes === 0 ? undefined : wantedRange(context);
  const isRangeWanted =
    range !== undefined &&
    isRangeAllowedByIfRange({
      ifRange: fieldValue(context.fields, 'if-range'),
      entityTag: validators.entityTag,
      lastModified: validators.lastModified?.text,
      dateMs: validators.dateMs,
    });
  if (lengthBytes === undefined || !isRangeWanted) {
    context.body = { status: 200, start: 0, end: lengthBytes, ...countSlices(services.store, object, { start: 0, end: lengthBytes }) };
    return NEXT;
  }
  const resolved = resolveRange(range, lengthBytes);
  if (resolved.kind === 'unsatisfiable') {
    return reply(context, services, 416, [
      ['content-range', formatUnsatisfiedContentRange(lengthBytes)],
      ['content-length', '0'],
    ]);
  }
  const { start, end } = resolved;
  context.body = { status: 206, start, end, ...countSlices(services.store, object, { start, end }) };
  return NEXT;
}

/** A planned hit is a hint: a slice that is gone at delivery is fetched then. */
function countSlices(
  store: SliceStore,
  object: LiveObject,
  range: { start: number; end: number | undefined },
): { hitSlices: number; plannedSlices: number } {
  const { lengthBytes, sliceSizeBytes, generation } = object.manifest;
  if (lengthBytes === undefined || range.end === undefined || range.end === range.start) return { hitSlices: 0, plannedSlices: 0 };
  const slices = planSlices({ start: range.start, end: range.end, lengthBytes, sliceSizeBytes });
  const end = Math.min(slices.endSlice, slices.firstSlice + LOOKED_UP_SLICES_MAX);
  let hitSlices = 0;
  for (let slice = slices.firstSlice; slice < end; slice += 1) if (store.hasSlice(generation, slice)) hitSlices += 1;
  return { hitSlices, plannedSlices: end - slices.firstSlice };
}

function reply(context: RequestContext, services: ProxyServices, status: number, fields: FieldList): StageOutcome {
  if (context.signal.aborted) return { kind: 'fail', error: new EdgeError('CLIENT_GONE') };
  describeCache(context, services, { hitSlices: 0, plannedSlices: 0 });
  return { kind: 'reply', reply: { status, fields: [...fields, ...storyFields(context, services)] } };
}
