/**
 * A request as its middlewares see it: the record of the pipeline behind the public interface. Made by the stage *middlewares* where a route has any, told
 * of the head by deliver and of the end by finish. Middlewares that were asked are those that see the head and the end, in reverse order.
 */
import { type FieldList, fieldValue, splitList } from '../http/header-fields.ts';
import { checkedField, EditableHead, FRAMING_FIELDS } from '../middleware/editable-head.ts';
import type { BodyPacer, Client, EarlyAnswer, Exchange, ExchangeEnd } from '../middleware/middleware.ts';
import type { MiddlewareInstance } from '../middleware/middleware-instance.ts';
import { clientNetwork } from './client-network.ts';
import type { RequestContext, ResponseHead, WatchedExchange } from './request-context.ts';
import type { ServedRoute } from './services.ts';

/** The client of a request. */
export class ContextClient implements Client {
  readonly #context: RequestContext;

  constructor(context: RequestContext) {
    this.#context = context;
  }

  get clientAddress(): string | undefined {
    return this.#context.clientAddress;
  }

  get clientNetwork(): string {
    return clientNetwork(this.#context.clientAddress);
  }

  get isSecure(): boolean {
    return this.#context.isSecure;
  }

  get fields(): FieldList {
    return this.#context.fields;
  }

  field(name: string): string | undefined {
    return fieldValue(this.#context.fields, name);
  }
}

/** One request with its middlewares. */
export class ContextExchange extends ContextClient implements Exchange, WatchedExchange {
  readonly service: string;
  readonly #context: RequestContext;
  /** As the router found it. */
  readonly #route: ServedRoute;
  readonly #chain: readonly MiddlewareInstance[];
  /** How many of the chain were asked. */
  #asked = 0;
  /** The one that is deciding; nobody changes anything when there is none. */
  #deciding: MiddlewareInstance | undefined;
  #answeredBy: string | undefined;
  readonly #failed = new Set<MiddlewareInstance>();
  #pacers: { readonly instance: MiddlewareInstance; readonly pacer: BodyPacer }[] = [];

  constructor(context: RequestContext, service: string, chain: readonly MiddlewareInstance[]) {
    super(context);
    this.#context = context;
    this.#route = context.need('route');
    this.service = service;
    this.#chain = chain;
    for (const instance of chain) instance.enter();
  }

  get route(): string {
    return this.#context.need('route').site.route;
  }

  get upstream(): string {
    return this.#context.need('route').site.group;
  }

  get method(): string {
    return this.#context.method;
  }

  get path(): string {
    return this.#context.need('path');
  }

  get query(): string | undefined {
    return this.#context.query;
  }

  get host(): string | undefined {
    return this.#context.host;
  }

  get signal(): AbortSignal {
    return this.#context.signal;
  }

  /** The middleware that answered instead of cache and origin. */
  get answeredBy(): string | undefined {
    return this.#answeredBy;
  }

  get isPaced(): boolean {
    return this.#pacers.length > 0;
  }

  pace(bytes: number): number {
    let longestMs = 0;
    for (const each of this.#pacers) {
      const waitMs = each.instance.pace(each.pacer, bytes);
      if (waitMs === undefined) this.#pacers = this.#pacers.filter((other) => other !== each);
      else longestMs = Math.max(longestMs, waitMs);
    }
    return longestMs;
  }

  setField(name: string, value: string): void {
    this.#mustDecide();
    const field = checkedField(name, value);
    mustBeFree(field[0]);
    this.#context.fields = [...withoutOption(this.#context.fields, field[0]).filter(([other]) => other !== field[0]), field];
  }

  removeField(name: string): void {
    this.#mustDecide();
    const lower = name.toLowerCase();
    mustBeFree(lower);
    if (this.#context.fields.some(([other]) => other === lower))
      this.#context.fields = this.#context.fields.filter(([other]) => other !== lower);
  }

  chooseUpstream(group: string): void {
    const { upstreams } = this.#mustDecide();
    const { site, alternatives } = this.#route;
    const route = group === site.group ? this.#route : upstreams.has(group) ? alternatives.get(group) : undefined;
    if (route === undefined) throw new TypeError(`no option of this middleware names the upstream group ${JSON.stringify(group)}`);
    this.#context.route = route;
  }

  paceBody(pacer: BodyPacer): void {
    this.#pacers.push({ instance: this.#mustDecide(), pacer });
  }

  /** Asks one after the other. @throws EdgeError MIDDLEWARE_FAILED, CLIENT_GONE */
  async ask(): Promise<EarlyAnswer | undefined> {
    for (const instance of this.#chain) {
      this.#asked += 1;
      this.#deciding = instance;
      try {
        const given = instance.ask(this);
        const answer = given instanceof Promise ? await given : given;
        if (answer === undefined) continue;
        this.#answeredBy = instance.name;
        return answer;
      } catch (error) {
        this.#failed.add(instance);
        throw error;
      } finally {
        this.#deciding = undefined;
      }
    }
    return undefined;
  }

  /**
   * The head that is sent.
   *
   * @param isOfError it is that of an error answer: whoever fails is left out, since there has to be an answer
   * @throws EdgeError MIDDLEWARE_FAILED
   */
  changedHead(head: ResponseHead, isOfError: boolean): ResponseHead {
    const editable = new EditableHead(head);
    for (let index = this.#asked - 1; index >= 0; index -= 1) {
      const instance = this.#chain[index];
      if (instance === undefined || !instance.changesHeads || this.#failed.has(instance)) continue;
      try {
        instance.change(this, editable);
      } catch (error) {
        this.#failed.add(instance);
        if (!isOfError) throw error;
      }
    }
    return editable;
  }

  /** The request has ended, however. Once. */
  end(end: ExchangeEnd): void {
    for (const instance of this.#chain.slice(this.#asked)) instance.leave();
    for (const instance of this.#chain.slice(0, this.#asked).reverse()) instance.end(this, end);
  }

  #mustDecide(): MiddlewareInstance {
    const instance = this.#deciding;
    if (instance === undefined) throw new TypeError('a request can be changed in onRequest only, until it has decided');
    return instance;
  }
}

/** A client that calls a field one of its connection (RFC 9110 s7.6.1) must not have it left out again where a middleware has set it. */
function withoutOption(fields: FieldList, name: string): FieldList {
  return fields.map((field) => {
    if (field[0] !== 'connection') return field;
    const options = splitList(field[1]);
    const kept = options.filter((option) => option.toLowerCase() !== name);
    return kept.length === options.length ? field : ['connection', kept.join(', ')];
  });
}

/** @throws TypeError for what has been judged already, or frames the request */
function mustBeFree(name: string): void {
  if (FRAMING_FIELDS.has(name) || name === 'host' || name === 'expect') throw new TypeError(`${name} of a request is not for middlewares`);
}
