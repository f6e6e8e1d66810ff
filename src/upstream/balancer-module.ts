/**
 * The programming interface of balancers: what a module writes to choose among the nodes of a group, named in the configuration as
 * `balance: ./file.ts`. This file and balancer.ts are all that is public; a module needs nothing but their types.
 */
import type { OptionFault, OptionTable, OptionValues } from '../base/module-options.ts';
import type { BalancedNode, BalancedRequest } from './balancer.ts';

/** A module says for which version it was written. */
export const BALANCER_INTERFACE_VERSION = 1;

/** A node as a module sees it; the same object for as long as the node is one of the group. */
export interface NodeView extends BalancedNode {
  /** Mean time to the head of its answers; undefined while too little is known. */
  readonly latencyMs: number | undefined;
}

/** What a module makes for each group that names it, and anew when the group gets other nodes. */
export interface OwnBalancer {
  /**
   * One of the candidates, at once.
   *
   * @param candidates at least one: those that are well and were not tried for this request, in the order of the configuration
   */
  choose(candidates: readonly NodeView[], request: BalancedRequest): NodeView;
}

/** What it is made with, beside its options. */
export interface BalancerServices {
  /** Name of the group. */
  readonly group: string;
  /** Milliseconds from an arbitrary start, never going back. */
  monotonicMs(): number;
  /** From 0, below 1. */
  random(): number;
}

/** The default export of a module. */
export interface BalancerModule<Table extends OptionTable = OptionTable> {
  readonly interfaceVersion: typeof BALANCER_INTERFACE_VERSION;
  readonly kind: 'balancer';
  readonly options: Table;
  /** What is wrong with options taken together. */
  check?(options: OptionValues<Table>): readonly OptionFault[];
  /** @throws anything, when it cannot be made; then the configuration is not valid */
  create(options: OptionValues<Table>, services: BalancerServices): OwnBalancer;
}
