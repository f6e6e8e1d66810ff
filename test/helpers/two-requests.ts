/**
 * The shape of most caching scenarios: one response of the origin, and a second request for the same thing. What the second one got is told
 * by what the origin saw of it.
 */
import type { SiteRule } from '../../src/cache/site-rule.ts';
import type { ClientResponse } from './client.ts';
import { startEdge } from './edge.ts';
import { Origin } from './origin.ts';

/** What happens before and with the second request. */
export interface TwoRequests {
  /** Default 200. */
  readonly status?: number | undefined;
  /** Fields of the first response, beside Date (now, unless it is among them) and Content-Type. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Fields of the first request. */
  readonly first?: Readonly<Record<string, string>> | undefined;
  /** Fields of the second request. */
  readonly second?: Readonly<Record<string, string>> | undefined;
  readonly rule?: SiteRule | undefined;
}

/** `reused`: the origin heard nothing of it. `confirmed`: it was asked with a condition. `asked`: it was asked anew. */
export type SecondAnswer = 'reused' | 'confirmed' | 'asked';

/** Sends both through an edge of their own. @returns how the second was answered, and both answers */
export async function sendTwo(given: TwoRequests): Promise<{ how: SecondAnswer; answers: readonly [ClientResponse, ClientResponse] }> {
  await using origin = await Origin.start();
  const hasDate = given.headers.some(([name]) => name.toLowerCase() === 'date');
  const date = given.headers.find(([name]) => name.toLowerCase() === 'date')?.[1];
  origin.misbehave('/a', {
    status: given.status ?? 200,
    headers: given.headers.filter(([name]) => name.toLowerCase() !== 'date'),
    ...(hasDate && date !== undefined ? { replaceHeaders: { Date: date } } : {}),
  });
  await using edge = await startEdge({ origin, rules: given.rule === undefined ? [] : [given.rule] });
  const first = await edge.get('/a', given.first);
  await edge.settle();
  const second = await edge.get('/a', given.second);
  await edge.settle();
  const asked = origin.requestsFor('/a')[1];
  const isConditional = asked?.headers['if-none-match'] !== undefined || asked?.headers['if-modified-since'] !== undefined;
  return { how: asked === undefined ? 'reused' : isConditional ? 'confirmed' : 'asked', answers: [first, second] };
}
