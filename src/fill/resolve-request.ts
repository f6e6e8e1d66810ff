/** What the resolver is asked for: one client's request, as far as finding the object is concerned. */
import type { Lookup } from '../cache/request-policy.ts';
import type { ForwardReason } from '../http/cache-status.ts';
import type { FieldList } from '../http/header-fields.ts';
import type { RangeSpec } from '../http/range.ts';
import type { UpstreamHead } from '../upstream/upstream-transport.ts';
import type { FillTarget } from './fill-context.ts';

/** What a request wants of an object. */
export interface ResolveRequest {
  /** The resource, as it is asked for by those who select nothing. */
  readonly target: FillTarget;
  /** The client's fields, among which are those that Vary may name; as far as the origin may hear of them. */
  readonly selectingFields: FieldList;
  /** Where in the object the request begins. */
  readonly startBytes: number;
  /** HEAD: what is stored is confirmed without fetching a body, and nothing is stored that was not. */
  readonly method: 'GET' | 'HEAD';
  readonly lookup: Lookup;
  /** The ranges asked for; none means everything. */
  readonly ranges: readonly RangeSpec[];
  /** Whether a response to the request's shared form may be given to this client although it is not stored. */
  readonly acceptsSharedAnswer: boolean;
  /** The client's Authorization, or nothing. The origin is asked with it on behalf of this client alone. */
  readonly credentials: FieldList;
  readonly signal: AbortSignal;
  /** Told why the origin is asked, before it is. */
  readonly onForward?: ((reason: ForwardReason) => void) | undefined;
  /** Hears of interim responses (1xx) as long as the request waits for the origin's head. */
  readonly onInterim?: ((head: UpstreamHead) => void) | undefined;
}
