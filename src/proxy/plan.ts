/** Stage *plan*: preconditions, then ranges, then which slices the answer is made of (RFC 9110 s13.2.2, s14.2). */
import { EdgeError } from '../base/errors.ts';
import { planSlices } from '../cache/slice-plan.ts';
import { isSliced, isSuccess } from '../cache/status-policy.ts';
import { validatorsOf } from '../cache/validators.ts';
import type { LiveObject } from '../fill/live-object.ts';
import type { Manifest } from '../format/manifest.ts';
import { evaluatePreconditions, type PreconditionVerdict } from '../http/conditional.ts';
import type { FieldList } from '../http/header-fields.ts';
import { formatUnsatisfiedContentRange } from '../http/range.ts';
import { notCached } from './identify.ts';
import { planRanges } from './plan-ranges.ts';
import type { RequestContext } from './request-context.ts';
import { describeCache, storyFields } from './respond.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

/** Slices of a plan that are looked up to tell a hit from a partial hit; a longer plan is judged by its beginning. */
export const LOOKED_UP_SLICES_MAX = 4096;
/** Fields of a 200 that a 304 repeats (RFC 9110 s15.4.5). */
const NOT_MODIFIED_FIELDS = new Set(['cache-control', 'content-location', 'date', 'etag', 'expires', 'last-modified', 'vary']);

export function plan(context: RequestContext, services: ProxyServices): StageOutcome {
  const { object } = context.need('resolution');
  const { fields, lengthBytes, status } = object.manifest;
  const verdict = judgeConditions(context.method, context.fields, object.manifest);
  if (verdict === 'not-modified') return reply(context, services, 304, notModifiedFields(fields));
  if (verdict === 'precondition-failed') return reply(context, services, 412, [['content-length', '0']]);

  if (!isSliced(status)) {
    context.body = { status, start: 0, end: lengthBytes, ...countSlices(object, [{ start: 0, end: lengthBytes }]) };
    return NEXT;
  }
  return missesForbidden(context, planBody(context, services));
}

/** Whoever wants nothing but what is stored gets nothing of which a part is not (RFC 9111 s5.2.1.7). */
function missesForbidden(context: RequestContext, outcome: StageOutcome): StageOutcome {
  const { body } = context;
  const isPartial = outcome.kind === 'next' && body !== undefined && body.hitSlices < body.plannedSlices;
  return isPartial && context.method === 'GET' && context.need('lookup').onlyIfCached ? notCached() : outcome;
}

function planBody(context: RequestContext, services: ProxyServices): StageOutcome {
  const { object } = context.need('resolution');
  const { lengthBytes } = object.manifest;
  const plan = planRanges(context, services);
  switch (plan.kind) {
    case 'whole':
      context.body = { status: 200, start: 0, end: lengthBytes, ...countSlices(object, [{ start: 0, end: lengthBytes }]) };
      return NEXT;
    case 'unsatisfiable':
      return reply(context, services, 416, unsatisfiedFields(plan.lengthBytes));
    case 'pass':
      return context.need('lookup').onlyIfCached ? notCached() : { kind: 'bypass', reason: 'ranges' };
    case 'ranges': {
      const { ranges, multipart, isExact } = plan;
      const { start, end } = ranges[0] ?? { start: 0, end: 0 };
      context.body = { status: 206, start, end, multipart, isExact, ...countSlices(object, ranges) };
      return NEXT;
    }
  }
}

/** What the request's conditions come to. They count where the answer would be a 2xx (RFC 9110 s13.2.1), ranges where it would be a 200 (s14.2). */
export function judgeConditions(method: string, requestFields: FieldList, manifest: Manifest): PreconditionVerdict {
  if (!isSuccess(manifest.status)) return 'proceed';
  const validators = validatorsOf(manifest.fields);
  return evaluatePreconditions({
    method,
    requestFields,
    entityTag: validators.entityTag,
    lastModified: validators.lastModified?.text,
    recordedMs: validators.dateMs ?? manifest.receivedAtMs,
  });
}

/** Of the stored fields those that a 304 repeats. */
export function notModifiedFields(fields: FieldList): FieldList {
  return fields.filter(([name]) => NOT_MODIFIED_FIELDS.has(name));
}

/** Fields of a 416. */
export function unsatisfiedFields(lengthBytes: number): FieldList {
  return [
    ['content-range', formatUnsatisfiedContentRange(lengthBytes)],
    ['content-length', '0'],
  ];
}

/** A planned hit is a hint: a slice that is gone at delivery is fetched then. */
function countSlices(
  object: LiveObject,
  ranges: readonly { readonly start: number; readonly end: number | undefined }[],
): { hitSlices: number; plannedSlices: number } {
  const { lengthBytes, sliceSizeBytes } = object.manifest;
  let hitSlices = 0;
  let plannedSlices = 0;
  /** Slices before it were counted with an earlier range. */
  let nextSlice = 0;
  for (const { start, end } of ranges.toSorted((one, other) => one.start - other.start)) {
    if (lengthBytes === undefined || end === undefined || end === start) continue;
    const slices = planSlices({ start, end, lengthBytes, sliceSizeBytes });
    for (let slice = Math.max(nextSlice, slices.firstSlice); slice < slices.endSlice && plannedSlices < LOOKED_UP_SLICES_MAX; slice += 1) {
      plannedSlices += 1;
      if (object.hasBytes(slices.step(slice))) hitSlices += 1;
    }
    nextSlice = slices.endSlice;
  }
  return { hitSlices, plannedSlices };
}

function reply(context: RequestContext, services: ProxyServices, status: number, fields: FieldList): StageOutcome {
  if (context.signal.aborted) return { kind: 'fail', error: new EdgeError('CLIENT_GONE') };
  describeCache(context, services, { hitSlices: 0, plannedSlices: 0 });
  return { kind: 'reply', reply: { status, fields: [...fields, ...storyFields(context, services)] } };
}
