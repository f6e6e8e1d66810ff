/**
 * Consul's health endpoint as its documentation has it (developer.hashicorp.com/consul/api-docs/health and .../features/blocking): answers with an index, and
 * holds questions that name one until the state of the service has a higher one, or the time that they wait is over and up to a sixteenth.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

/** An instance whose checks pass. */
export interface ConsulInstance {
  readonly id: string;
  /** Empty: that of its node. */
  readonly address?: string;
  readonly nodeAddress?: string;
  readonly port: number;
  readonly tags?: readonly string[];
  readonly weight?: number;
}

/** What the server does instead of answering as it should. */
export type ConsulManner =
  | { readonly kind: 'error'; readonly status: number; readonly text: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'silent' }
  | { readonly kind: 'no-index' };

/** The server. */
export class ConsulServer {
  readonly server: Server;
  readonly url: string;
  /** Path and query of each question. */
  readonly questions: string[] = [];
  readonly tokens: (string | undefined)[] = [];
  manner: ConsulManner | undefined;
  #index = 10;
  #instances: readonly ConsulInstance[] = [];
  readonly #held = new Set<() => void>();

  private constructor(server: Server, url: string) {
    this.server = server;
    this.url = url;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => this.#answer(request, response));
  }

  static async start(tls?: { readonly cert: string; readonly key: string }): Promise<ConsulServer> {
    const server = tls === undefined ? createServer() : createTlsServer(tls);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    return new ConsulServer(server, `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`);
  }

  get heldCount(): number {
    return this.#held.size;
  }

  /** The instances are these from now on. @param index jumps there, as after a restore */
  set(instances: readonly ConsulInstance[], index = this.#index + 1): void {
    this.#instances = instances;
    this.#index = index;
    this.release();
  }

  /** Answers what is held, changed or not, as at the end of its time. */
  release(): void {
    for (const answer of [...this.#held]) answer();
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', this.url);
    this.questions.push(url.pathname + url.search);
    this.tokens.push(request.headers['x-consul-token']?.toString());
    const { manner } = this;
    if (manner?.kind === 'silent') return;
    if (manner?.kind === 'error') {
      response.writeHead(manner.status).end(manner.text);
      return;
    }
    const asked = Number(url.searchParams.get('index') ?? 0);
    const send = (): void => this.#send(url, response);
    if (asked === 0 || this.#index > asked || this.#index < asked) return send();
    const held = (): void => {
      this.#held.delete(held);
      send();
    };
    this.#held.add(held);
    response.on('close', () => this.#held.delete(held));
  }

  #send(url: URL, response: ServerResponse): void {
    const { manner } = this;
    const tags = url.searchParams.getAll('tag');
    const chosen = this.#instances.filter((instance) => tags.every((tag) => instance.tags?.includes(tag) === true));
    const body = chosen.map(({ id, address = '', nodeAddress = '10.9.9.9', port, tags: own = [], weight = 1 }) => ({
      Node: { ID: 'node-id', Node: 'node', Address: nodeAddress, Datacenter: 'dc1', Meta: {} },
      Service: {
        ID: id,
        Service: 'web',
        Tags: own,
        Address: address,
        Port: port,
        Weights: { Passing: weight, Warning: 1 },
        CreateIndex: 7,
        ModifyIndex: 7,
      },
      Checks: [{ Node: 'node', CheckID: 'serfHealth', Status: 'passing', ServiceID: '' }],
    }));
    response.writeHead(200, {
      'content-type': 'application/json',
      ...(manner?.kind === 'no-index' ? {} : { 'x-consul-index': String(this.#index) }),
      'x-consul-knownleader': 'true',
      'x-consul-lastcontact': '0',
    });
    response.end(manner?.kind === 'text' ? manner.text : JSON.stringify(body));
  }
}
