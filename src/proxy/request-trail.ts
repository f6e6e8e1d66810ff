/**
 * Which nodes were asked on behalf of one request, for its line in the log and its trace. What a run that outlives the request asks later is counted nowhere,
 * and is still of its trace.
 */
import type { AskedNode, UpstreamRequest, UpstreamWatch } from '../upstream/upstream-transport.ts';
import type { RequestSpan } from './tracing.ts';

/** Of one request. */
export class RequestTrail implements UpstreamWatch {
  /** The last node that was asked. */
  node: string | undefined;
  /** How often a node was asked: 1, and one more for each retry, resumption and further run. */
  askedCount = 0;
  /** Of the request; undefined without tracing. */
  span: RequestSpan | undefined;

  onAsked(node: string, request: UpstreamRequest): AskedNode | undefined {
    this.node = node;
    this.askedCount += 1;
    return this.span?.ask(node, request);
  }
}
