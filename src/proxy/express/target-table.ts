/**
 * What the express lane knows of request targets that were asked for lately, by Host and target as they were sent: where they lead, on which
 * terms a plain request is looked up, and the heads of what is stored there. All of it is what the stages route and identify would find;
 * whether something is stored, and fresh, is asked anew for each request. They are found by the bytes of the target, of which no string is made.
 * Bounded: two tables, the older of which is forgotten when the newer one is full.
 */
import { cacheKey, keySiteName } from '../../cache/cache-key.ts';
import { judgeRequest, type Lookup } from '../../cache/request-policy.ts';
import type { SiteRule } from '../../cache/site-rule.ts';
import type { FillTarget } from '../../fill/fill-context.ts';
import type { Manifest } from '../../format/manifest.ts';
import { fillTarget } from '../identify.ts';
import type { HandoverReason } from '../proxy-metrics.ts';
import { findRoute, ruleOf } from '../route.ts';
import type { ProxyServices, ServedRoute } from '../services.ts';
import { type ConnectionTails, ObjectHeads } from './stored-head.ts';

/** Targets in one of the two tables. With a head of 600 bytes and the key a target takes about 2 KiB. */
const TARGETS_MAX = 4096;

/** A target that leads somewhere. */
export interface LaneTarget {
  readonly kind: 'target';
  /** As it was sent. */
  readonly bytes: Uint8Array;
  readonly path: string;
  readonly query: string | undefined;
  /** For keys that are kept apart by host, and for the origin. */
  readonly host: string | undefined;
  readonly route: ServedRoute;
  readonly rule: SiteRule;
  readonly fill: FillTarget;
  /** Terms of a request without directives. */
  readonly lookup: Lookup;
  /** Where the route counts. */
  readonly cells: RouteCells;
  /** Of the manifest that was found last. */
  heads: ObjectHeads | undefined;
}

/** Counters of a route that every hit adds to. */
export interface RouteCells {
  readonly hits: number;
  readonly bodyBytes: number;
}

/** One that is left to node:http. */
export interface ForeignTarget {
  readonly kind: 'foreign';
  readonly bytes: Uint8Array;
  readonly reason: HandoverReason;
}

/** What is looked for; a HeadParser is one. */
export interface WantedTarget {
  readonly host: string;
  readonly targetHash: number;
  readonly target: string;
  isTarget(bytes: Uint8Array): boolean;
}

/** By hash: of two with the same the later takes the place of the earlier. */
type Targets = Map<number, LaneTarget | ForeignTarget>;

/** Targets of one listener and method. */
export class TargetTable {
  readonly #services: ProxyServices;
  /** Routes may take one and not the other. */
  readonly #method: 'GET' | 'HEAD';
  readonly #tails: ConnectionTails;
  #newer = new Map<string, Targets>();
  #older = new Map<string, Targets>();
  #newerCount = 0;
  #olderCount = 0;

  constructor(services: ProxyServices, method: 'GET' | 'HEAD', tails: ConnectionTails) {
    this.#services = services;
    this.#method = method;
    this.#tails = tails;
  }

  /** Where a request leads. */
  find(wanted: WantedTarget): LaneTarget | ForeignTarget {
    const known = this.#newer.get(wanted.host)?.get(wanted.targetHash);
    return known !== undefined && wanted.isTarget(known.bytes) ? known : this.#findElsewhere(wanted);
  }

  #findElsewhere(wanted: WantedTarget): LaneTarget | ForeignTarget {
    const known = this.#older.get(wanted.host)?.get(wanted.targetHash);
    const isKnown = known !== undefined && wanted.isTarget(known.bytes);
    return this.#keep(wanted, isKnown ? known : this.#make(wanted.host, wanted.target));
  }

  /** The heads of what is stored there. */
  headsOf(target: LaneTarget, manifest: Manifest): ObjectHeads {
    if (target.heads?.manifest === manifest) return target.heads;
    target.heads?.dropAnswers(this.#services.answers);
    const keyText = this.#services.showsCacheKey ? target.fill.keyText : undefined;
    target.heads = new ObjectHeads(manifest, { keyText, tails: this.#tails });
    return target.heads;
  }

  #keep({ host, targetHash }: WantedTarget, target: LaneTarget | ForeignTarget): LaneTarget | ForeignTarget {
    if (this.#newerCount >= TARGETS_MAX) {
      if (this.#olderCount > 0) this.#services.metrics.add('targetsForgotten', this.#olderCount);
      this.#older = this.#newer;
      this.#olderCount = this.#newerCount;
      this.#newer = new Map();
      this.#newerCount = 0;
    }
    const siblings = this.#newer.get(host);
    if (siblings?.has(targetHash) !== true) this.#newerCount += 1;
    if (siblings === undefined) this.#newer.set(host, new Map([[targetHash, target]]));
    else siblings.set(targetHash, target);
    if (this.#older.get(host)?.delete(targetHash) === true) this.#olderCount -= 1;
    return target;
  }

  #make(hostText: string, text: string): LaneTarget | ForeignTarget {
    const method = this.#method;
    const bytes = Buffer.from(text, 'latin1');
    const foreign = (reason: HandoverReason): ForeignTarget => ({ kind: 'foreign', bytes, reason });
    const found = findRoute({ url: text, hostHeader: hostText, method }, this.#services.service.router);
    if (found.kind === 'invalid') return foreign('target');
    const { path, query, host, verdict } = found;
    if (verdict.kind === 'absent') return foreign('target');
    const { route } = verdict;
    if (route.chain !== undefined) return foreign('middleware');
    const rule = ruleOf(route, path);
    const lookup = judgeRequest({ method, fields: [], rule });
    if (lookup.kind === 'bypass') return foreign('rule');
    const key = cacheKey({ siteName: keySiteName(route.site, host), path, query });
    if (key === undefined) return foreign('size');
    const fill = fillTarget({ host, query, fields: [] }, this.#services, { site: route.site, key, path, rule });
    const cells = { hits: route.metrics.cell('requests', 'HIT'), bodyBytes: route.metrics.cell('bodyBytes') };
    return { kind: 'target', bytes, path, query, host, route, rule, fill, lookup, cells, heads: undefined };
  }
}
