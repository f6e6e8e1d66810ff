/** Which nodes were asked on behalf of one request, for its line in the log. What a run that outlives the request asks later is nobody's any more. */
import type { UpstreamWatch } from '../upstream/upstream-transport.ts';

/** Of one request. */
export class RequestTrail implements UpstreamWatch {
  /** The last node that was asked. */
  node: string | undefined;
  /** How often a node was asked: 1, and one more for each retry, resumption and further run. */
  askedCount = 0;

  onAsked(node: string): void {
    this.node = node;
    this.askedCount += 1;
  }
}
