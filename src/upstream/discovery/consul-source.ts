/**
 * Nodes by Consul: the instances of a service whose checks all pass. Each question but the first is held by Consul until something has changed since the index of the
 * last answer (a blocking query), or for a while. Made by app/discovery-set.ts.
 */
import type { ApiClient } from './api-client.ts';
import { type DiscoveredNode, type DiscoverySource, type DiscoveryVerdict, failed } from './discovery-source.ts';
import { isObject, numberAt, objectAt, parseJson, textAt } from './json-shape.ts';

/** What is asked for. */
export interface ConsulSourceOptions {
  readonly client: ApiClient;
  readonly service: string;
  /** An instance has to have all of them. */
  readonly tags: readonly string[];
  /** Undefined: the agent's own. */
  readonly datacenter: string | undefined;
  /** The token of now; undefined: none. @throws Error when it cannot be read */
  readonly token: () => string | undefined;
  /** That Consul may hold a question. */
  readonly holdMs: number;
  /** For an answer beside that. */
  readonly timeoutMs: number;
}

/** Where answers have no index to wait for, they are asked for so often. */
const POLL_MS = 5000;
/** Consul adds up to a sixteenth to the time that it holds a question. */
const HOLD_SHARE_MAX = 1 / 16;

/** Asks Consul. */
export class ConsulSource implements DiscoverySource {
  readonly about: string;
  readonly #options: ConsulSourceOptions;
  /** Of the last answer; 0: the next question is answered at once. */
  #index = 0;

  constructor(options: ConsulSourceOptions) {
    this.#options = options;
    this.about = `consul ${options.service}`;
  }

  async ask(signal: AbortSignal): Promise<DiscoveryVerdict> {
    const { client, timeoutMs, holdMs } = this.#options;
    const limitMs = timeoutMs + (this.#index === 0 ? 0 : holdMs * (1 + HOLD_SHARE_MAX));
    const headers = this.#headers();
    if (headers === undefined) return failed('refused', 'the file with the token cannot be read (tokenFile)');
    const answer = await client.ask({ method: 'GET', path: this.#path(), headers, limitMs }, signal);
    if (answer.kind === 'failed') {
      this.#index = 0;
      return answer;
    }
    const entries = parseJson(answer.text);
    if (!Array.isArray(entries)) {
      this.#index = 0;
      return failed('invalid', `the answer for ${this.about} is no list of instances; is url that of Consul?`);
    }
    const wasReset = this.#note(Number(answer.headers['x-consul-index'] ?? 0));
    const read = readEntries(entries);
    // After a reset the state is asked for anew, at once.
    return { kind: 'nodes', ...read, againInMs: this.#index > 0 || wasReset ? 0 : POLL_MS };
  }

  async close(): Promise<void> {
    await this.#options.client.close();
  }

  /** An index that goes back is that of another history, after a restore (Consul: blocking queries). @returns whether it did */
  #note(index: number): boolean {
    const isBack = this.#index > 0 && index < this.#index;
    this.#index = !isBack && Number.isSafeInteger(index) && index > 0 ? index : 0;
    return isBack;
  }

  #path(): string {
    const { service, tags, datacenter, holdMs } = this.#options;
    const query = new URLSearchParams({ passing: '1' });
    for (const tag of tags) query.append('tag', tag);
    if (datacenter !== undefined) query.set('dc', datacenter);
    if (this.#index > 0) {
      query.set('index', String(this.#index));
      query.set('wait', `${Math.round(holdMs)}ms`);
    }
    return `/v1/health/service/${encodeURIComponent(service)}?${query}`;
  }

  #headers(): Record<string, string> | undefined {
    try {
      const token = this.#options.token();
      return token === undefined ? {} : { 'x-consul-token': token };
    } catch {
      // Whatever the reason: there is no question without it.
      return undefined;
    }
  }
}

function readEntries(entries: readonly unknown[]): { readonly nodes: readonly DiscoveredNode[]; readonly unusable: readonly string[] } {
  const nodes: DiscoveredNode[] = [];
  const unusable: string[] = [];
  for (const entry of entries) {
    const service = isObject(entry) ? objectAt(entry, 'Service') : {};
    // A service without an address is at that of its node.
    const host = textAt(service, 'Address') || textAt(isObject(entry) ? objectAt(entry, 'Node') : {}, 'Address');
    const port = numberAt(service, 'Port');
    const weight = numberAt(objectAt(service, 'Weights'), 'Passing') ?? 1;
    if (host === '' || port === undefined) unusable.push(`${textAt(service, 'ID') || 'an instance'} has no address or port`);
    else nodes.push({ host, port, name: undefined, weight: Math.max(1, Math.round(weight)), isBackup: false });
  }
  return { nodes, unusable };
}
