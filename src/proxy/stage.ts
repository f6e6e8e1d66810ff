/** How a stage of the pipeline ends. Closed, so that a branch that nobody handles does not compile. */
import type { EdgeError } from '../base/errors.ts';
import type { FieldList } from '../http/header-fields.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';

/** An answer that needs no slices. */
export interface Reply {
  readonly status: number;
  readonly fields: FieldList;
  /** The content, of the length that the fields say; none when undefined. */
  readonly text?: string | undefined;
}

/**
 * `next`: go on. `reply`: send this and finish. `bypass`: pass the client's own request to the origin. `tunnel`: it asks for another protocol, and may. `again`: nothing was sent yet and the
 * object changed, resolve it anew. `fail`: answer with the error, or break the response off if it has begun.
 */
export type StageOutcome =
  | { readonly kind: 'next' }
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'bypass'; readonly reason: string }
  | { readonly kind: 'tunnel' }
  | { readonly kind: 'again' }
  | { readonly kind: 'fail'; readonly error: EdgeError };

/** One stage. It reads what earlier stages put into the context and fills its own fields. */
export type Stage = (context: RequestContext, services: ProxyServices) => StageOutcome | Promise<StageOutcome>;

/** The outcome of most stages. */
export const NEXT: StageOutcome = { kind: 'next' };
