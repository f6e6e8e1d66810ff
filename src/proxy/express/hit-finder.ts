/**
 * Decides whether the express lane answers a request, and with what: the stages from *admit* to *respond* for the plain case, in their order
 * and by their own functions. Nothing is changed by deciding, so that a request which goes to node:http after all is decided on there anew.
 */
import { divCeil, divFloor } from '../../base/units.ts';
import { judgeRequest, type Lookup } from '../../cache/request-policy.ts';
import type { FillTarget } from '../../fill/fill-context.ts';
import type { FieldList } from '../../http/header-fields.ts';
import { parseRangeHeader, resolveRange } from '../../http/range.ts';
import { countCdnLoop } from '../../http/via.ts';
import { fillTarget, startBytes } from '../identify.ts';
import { judgeConditions, LOOKED_UP_SLICES_MAX } from '../plan.ts';
import type { HandoverReason } from '../proxy-metrics.ts';
import type { ProxyServices } from '../services.ts';
import type { HeadParser } from './head-parser.ts';
import type { ObjectHeads, StoredHead } from './stored-head.ts';
import type { LaneTarget, TargetTable } from './target-table.ts';

/** `hit`: the finder's fields say what to send. `unread`: the manifest is on a device, and not in memory. Else why it is not for this lane. */
export type FinderVerdict = 'hit' | 'unread' | HandoverReason;

/** Targets by method. */
export interface LaneTables {
  readonly get: TargetTable;
  readonly head: TargetTable;
}

/** One for each connection; its fields hold for the hit that was found last. */
export class HitFinder {
  target: LaneTarget | undefined;
  heads: ObjectHeads | undefined;
  head: StoredHead | undefined;
  /** The body, exclusive of `end`; none where they are equal. */
  start = 0;
  end = 0;
  /** Where the request begins in the object, as the store wants to know it. */
  noteBytes = 0;
  readonly #services: ProxyServices;
  readonly #tables: LaneTables;

  constructor(services: ProxyServices, tables: LaneTables) {
    this.#services = services;
    this.#tables = tables;
  }

  /** Looks for the answer to a request. @param wasRead the manifest was just read from the device; @param nowMs of the wall */
  find(request: HeadParser, wasRead: boolean, nowMs: number): FinderVerdict {
    const { limits, load, resolver, loopId } = this.#services;
    if (load.requests >= limits.requestsMax) return 'overload';
    if (request.cdnLoop !== undefined && countCdnLoop(request.cdnLoop, loopId) > 0) return 'field';
    const table = request.isHead ? this.#tables.head : this.#tables.get;
    const target = table.find(request);
    if (target.kind === 'foreign') return target.reason;
    this.target = target;
    const lookup = termsOf(request, target);
    if (lookup === undefined) return 'directive';
    const manifest = resolver.findFresh(target.fill, lookup, nowMs);
    if (manifest === undefined) return wasRead || isKnown(this.#services, target) ? 'absent' : 'unread';
    if (manifest.lengthBytes === undefined) return 'absent';
    this.heads = table.headsOf(target, manifest);
    return this.#plan(request, this.heads);
  }

  /** The wanted bytes lie in one slice; its number. Undefined when there are none, or more. */
  get onlySlice(): number | undefined {
    const sliceSizeBytes = this.heads?.manifest.sliceSizeBytes ?? 1;
    if (this.end === this.start) return undefined;
    const first = divFloor(this.start, sliceSizeBytes);
    return this.end <= (first + 1) * sliceSizeBytes ? first : undefined;
  }

  /** How the origin is asked for what turns out to be missing after all. */
  fillTargetOf(request: HeadParser, target: LaneTarget): FillTarget {
    if (request.cdnLoop === undefined) return target.fill;
    const { path, query, host, route, rule, fill } = target;
    return fillTarget({ host, query, fields: [['cdn-loop', request.cdnLoop]] }, this.#services, {
      site: route.site,
      key: fill,
      path,
      rule,
    });
  }

  /** What `plan` does: conditions, then the range, then whether its slices are there. */
  #plan(request: HeadParser, heads: ObjectHeads): FinderVerdict {
    const { lengthBytes, manifest } = heads;
    const ranges = request.isHead || request.range === undefined ? undefined : parseRangeHeader(request.range);
    if (ranges !== undefined && ranges.length > 1) return 'range';
    this.noteBytes = ranges === undefined ? 0 : startBytes({ ranges });
    // Of an empty object, and of what is not the content, there is no range to send.
    const spec = heads.isSliced && lengthBytes > 0 ? ranges?.[0] : undefined;
    const range = spec === undefined ? undefined : resolveRange(spec, lengthBytes);
    this.start = range?.kind === 'satisfiable' ? range.start : 0;
    this.end = range?.kind === 'satisfiable' ? range.end : lengthBytes;
    const isConditional = request.ifNoneMatch !== undefined;
    const verdict = isConditional ? judgeConditions(request.isHead ? 'HEAD' : 'GET', conditionsOf(request), manifest) : 'proceed';
    if (verdict === 'precondition-failed') return 'directive';
    const isUnsatisfied = verdict === 'proceed' && range?.kind === 'unsatisfiable';
    if (verdict === 'not-modified' || isUnsatisfied) {
      // Of what could not be completed for a GET no more is said than was sent.
      if (!heads.isRefetchable && !request.isHead && !isUnsatisfied && !this.#isThere(heads)) return 'partial';
      this.head = isUnsatisfied ? heads.unsatisfied : heads.notModified;
      this.end = this.start;
      return 'hit';
    }
    this.head = range === undefined ? heads.whole : heads.part;
    // Whoever sends the only slice looks for it, and for the others this does.
    if ((request.isHead || this.onlySlice === undefined) && !this.#isThere(heads)) return 'partial';
    if (request.isHead) this.end = this.start;
    return 'hit';
  }

  /** Whether the slices of the body are there, as far as *plan* looks. */
  #isThere({ manifest }: ObjectHeads): boolean {
    if (this.end === this.start) return true;
    const { generation, sliceSizeBytes } = manifest;
    const first = divFloor(this.start, sliceSizeBytes);
    const end = Math.min(divCeil(this.end, sliceSizeBytes), first + LOOKED_UP_SLICES_MAX);
    for (let slice = first; slice < end; slice += 1) if (!this.#services.store.hasSlice(generation, slice)) return false;
    return true;
  }
}

/** Whether a request would be decided on by what is in memory: there is nothing to be read, or it is not fresh. */
function isKnown({ store }: ProxyServices, { fill }: LaneTarget): boolean {
  return store.tryReadManifest(fill.objectHash) !== undefined || store.findManifest(fill.objectHash) === undefined;
}

/** On which terms the cache may answer; undefined when it may not. */
function termsOf(request: HeadParser, target: LaneTarget): Lookup | undefined {
  if (request.cacheControl === undefined && request.pragma === undefined) return target.lookup;
  const fields: [string, string][] = [];
  if (request.cacheControl !== undefined) fields.push(['cache-control', request.cacheControl]);
  if (request.pragma !== undefined) fields.push(['pragma', request.pragma]);
  const verdict = judgeRequest({ method: request.isHead ? 'HEAD' : 'GET', fields, rule: target.rule });
  return verdict.kind === 'lookup' ? verdict : undefined;
}

function conditionsOf({ ifNoneMatch }: HeadParser): FieldList {
  return ifNoneMatch === undefined ? [] : [['if-none-match', ifNoneMatch]];
}
