/**
 * A balancer of one's own: the node whose next answer is expected first, by its mean time to the head and the requests that it has already. One that is not known
 * yet is tried at once; now and then (`explore`) another one is asked, so that what is known stays true. `own-middleware.yaml` uses it.
 */
import type { BalancerModule, NodeView } from '../../src/upstream/balancer-module.ts';

const OPTIONS = {
  explore: { kind: 'count', default: '20', min: '2', max: '1000000', meaning: 'One request in so many goes to a node by chance' },
} as const;

const module: BalancerModule<typeof OPTIONS> = {
  interfaceVersion: 1,
  kind: 'balancer',
  options: OPTIONS,
  create: ({ explore }, { random }) => ({
    choose(candidates) {
      const [first, ...others] = candidates;
      if (first === undefined) throw new Error('a balancer is given candidates');
      if (random() * explore < 1) return candidates[Math.floor(random() * candidates.length)] ?? first;
      const costOf = ({ latencyMs = 0, inFlight, weightNow }: NodeView): number => (latencyMs * (inFlight + 1)) / weightNow;
      return others.reduce((best, node) => (costOf(node) < costOf(best) ? node : best), first);
    },
  }),
};

export default module;
