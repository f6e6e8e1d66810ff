/** The targets of a question, and the judge that says whether each is reached: by the ratio, without mercy, and never without a figure. */
import { SYSTEM_KINDS } from '../systems/all.ts';
import { formatNumber, type Report } from './report.ts';

/** Something to reach. */
export interface Target {
  /** What is held against `wanted`, in words: `requests per core, 4 KiB, of nginx's`. */
  readonly what: string;
  readonly sense: 'at least' | 'at most';
  readonly wanted: number;
  /** Of both; empty for a ratio. */
  readonly unit: string;
  /** What came of it; undefined when something that it needs was not measured. */
  readonly reached: (report: Report) => number | undefined;
}

/** What the judge says. */
export interface Judgement {
  readonly target: string;
  readonly verdict: 'reached' | 'missed' | 'not measured';
  readonly wanted: string;
  readonly reached: number | undefined;
  /** `missed: 0.81 of at least 1.5` */
  readonly line: string;
}

/** Holds a report against targets. */
export function judge(targets: readonly Target[], report: Report): Judgement[] {
  return targets.map((target) => {
    const wanted = `${target.sense} ${`${formatNumber(target.wanted)} ${target.unit}`.trim()}`;
    const reached = target.reached(report);
    if (reached === undefined || !Number.isFinite(reached))
      return { target: target.what, verdict: 'not measured', wanted, reached: undefined, line: `not measured (${wanted})` };
    const isReached = target.sense === 'at least' ? reached >= target.wanted : reached <= target.wanted;
    const verdict = isReached ? 'reached' : 'missed';
    return { target: target.what, verdict, wanted, reached, line: `${verdict}: ${formatNumber(reached)}, ${wanted}` };
  });
}

/** rawslice's median as a multiple of another system's. */
export function ratioTo(quantity: string, system: string): Target['reached'] {
  return (report) => divide(report.value(quantity, 'rawslice'), report.value(quantity, system));
}

/** rawslice's median as a multiple of the best peer's. */
export function ratioToBestPeer(quantity: string, best: 'greatest' | 'least'): Target['reached'] {
  return (report) => divide(report.value(quantity, 'rawslice'), bestPeer(report, quantity, best)?.value);
}

/** rawslice's median minus another system's. */
export function excessOver(quantity: string, system: string): Target['reached'] {
  return (report) => {
    const [own, other] = [report.value(quantity, 'rawslice'), report.value(quantity, system)];
    return own === undefined || other === undefined ? undefined : own - other;
  };
}

/** rawslice's median. */
export function own(quantity: string): Target['reached'] {
  return (report) => report.value(quantity, 'rawslice');
}

/** The peer that did best, and its median. */
export function bestPeer(
  report: Report,
  quantity: string,
  best: 'greatest' | 'least',
): { readonly name: string; readonly value: number } | undefined {
  const peers = [...report.values(quantity)].filter(([name]) => SYSTEM_KINDS.some((kind) => kind.name === name && kind.isPeer));
  const sorted = peers.sort(([, one], [, other]) => (best === 'greatest' ? other - one : one - other));
  const first = sorted[0];
  return first === undefined ? undefined : { name: first[0], value: first[1] };
}

function divide(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined || other === 0 ? undefined : one / other;
}
