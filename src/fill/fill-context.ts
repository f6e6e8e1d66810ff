/** What everything in this folder works with, and the numbers that pace it. */
import type { Clock } from '../base/clock.ts';
import type { MetricSet } from '../base/metrics.ts';
import { KIB, MIB } from '../base/units.ts';
import type { PartMemory } from '../cache/part-memory.ts';
import type { SiteRule } from '../cache/site-rule.ts';
import type { ObjectHash } from '../format/manifest.ts';
import type { FieldList } from '../http/header-fields.ts';
import type { Arena } from '../memory/arena.ts';
import type { BufferPool } from '../memory/buffer-pool.ts';
import type { SliceStore } from '../store/slice-store.ts';
import type { OriginAbilities } from '../upstream/origin-abilities.ts';
import type { UpstreamTransport, UpstreamWatch } from '../upstream/upstream-transport.ts';
import type { FILL_METRICS } from './fill-metrics.ts';
import type { AheadBudget } from './read-ahead.ts';
import type { StandingTransfers } from './standing-transfers.ts';

/** The parts that fills join. */
export interface FillContext {
  readonly store: SliceStore;
  readonly arena: Arena;
  /** What is not stored passes through these. */
  readonly buffers: BufferPool;
  readonly clock: Clock;
  readonly metrics: MetricSet<typeof FILL_METRICS>;
  readonly standing: StandingTransfers;
  /** What is known of slices that are not there whole. */
  readonly abilities: OriginAbilities;
  readonly partMemory: PartMemory;
  /** What all responses read ahead from the device. */
  readonly ahead: AheadBudget;
  /** Selections of one resource that are kept apart. */
  readonly variantsMax: number;
  /** How long past its freshness an object is served while the origin fails, where neither the origin nor a rule says. */
  readonly staleIfErrorMs: number;
}

/** One resource: its key, and how to ask its origin for it. */
export interface FillTarget {
  readonly objectHash: ObjectHash;
  readonly keyText: string;
  readonly rule: SiteRule;
  readonly transport: UpstreamTransport;
  /** Origin-form target at the origin. */
  readonly upstreamPath: string;
  /** As origin-abilities.ts knows it. */
  readonly place: string;
  /** As UpstreamRequest has it. */
  readonly affinity?: string | undefined;
  /** Hears which nodes are asked for the request that this was made for. */
  readonly watch?: UpstreamWatch | undefined;
  /** Slice size of a new object, in bytes. */
  readonly sliceSizeBytes: number;
  /** Fields of every request that fills: the same for all clients, since what they ask for is stored for all. */
  readonly fields: FieldList;
}

/** Slices that a run claims ahead of the byte it has received; readers inside follow it, a reader beyond opens a run of its own. */
export const CLAIM_SLICES = 8;
/** A ranged run asks for at most this much; the next one is asked for before it ends. */
export const RUN_BYTES_MAX = 64 * MIB;
/** A run stops reading when it is this many slices ahead of its fastest follower. */
export const LEAD_SLICES = 2;
/** Slices that the store declined, kept for followers that still need them. */
export const RETAINED_SLICES_MAX = 4;
/** How long a run that can be resumed by Range stays paused before it lets the connection go. */
export const PAUSED_MS_MAX = 10_000;
/** How long a request waits for a slot before it goes on without. */
export const SLOT_WAIT_MS = 50;
/** How often a response waits for a slot to read a stored slice into, before it goes on past the cache. */
export const BUSY_READS_MAX = 4;
/** Parts of a response whose slices are asked for ahead of the part that is being sent, where they lie apart. */
export const PARTS_AHEAD = 4;
/** Answers of another version in a row, each perhaps of another node, before the object counts as changed. */
export const FOREIGN_ANSWERS_MAX = 3;
/** How often one response asks again after the origin broke off, without a whole slice in between. */
export const RESUMES_MAX = 3;
/** As often again where as many other nodes may answer: each of them may be the one that cannot. */
export const NODE_RESUMES_MAX = 8;
/** Answers in a row that may bring less than was asked for, and each less than NARROW_BYTES_MIN, before everything is asked for at once. */
export const NARROW_ANSWERS_MAX = 64;
/** An origin that answers with this much at a time is asked as often as it takes. */
export const NARROW_BYTES_MIN = 64 * KIB;
/** Room that a response without a slot streams through. */
export const PRIVATE_BUFFER_BYTES = 64 * KIB;
/** Such buffers that are kept while nobody needs them. */
export const PRIVATE_BUFFERS_KEPT_MAX = 64;
/** How long requests for a key are not collapsed after its response was not storable. */
export const UNSTORABLE_MARK_MS = 60_000;
/** Markers of varying resources in memory; the one asked for longest ago is forgotten first, and read again if it is stored. */
export const MARKERS_MAX = 4096;
/** Keys marked at a time; the oldest is forgotten first. */
export const UNSTORABLE_MARKS_MAX = 16_384;
/** Objects renewed behind their clients' backs at a time; another one stays stale until a later request. */
export const BACKGROUND_RENEWALS_MAX = 64;
/** How long an object is not renewed in the background again after the origin failed to renew it. */
export const FAILED_RENEWAL_MARK_MS = 5000;
