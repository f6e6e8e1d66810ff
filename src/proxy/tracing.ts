/**
 * Spans of OpenTelemetry: a server span for each request of either lane, and a client span below it for each request to a node, with the attributes that the
 * conventions for HTTP name. Only the API is here; without an SDK in the process (`node --import`) there are no spans, and nothing is done for them. Used by
 * pipeline.ts, request-trail.ts, finish.ts and the express lane.
 */
import {
  type Attributes,
  type Context,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import type { FieldList } from '../http/header-fields.ts';
import { fieldValue } from '../http/header-fields.ts';
import type { AskedNode, UpstreamRequest } from '../upstream/upstream-transport.ts';

/** What is known of a request when it begins. */
export interface BeginningRequest {
  readonly method: string;
  /** As received: path and query. */
  readonly target: string;
  readonly isSecure: boolean;
  readonly clientAddress: string | undefined;
  readonly httpVersion: string;
  /** Where it is in a trace. */
  readonly fields: FieldList;
}

/** What is known of it at its end. */
export interface EndedRequest {
  readonly service: string;
  readonly site: { readonly route: string; readonly group: string } | undefined;
  /** Undefined when no head was sent. */
  readonly status: number | undefined;
  readonly sentBytes: number;
  readonly userAgent: string | undefined;
  readonly cacheResult: string;
  readonly error: { readonly code: string } | undefined;
  readonly requestId: string | undefined;
}

/** Methods that a span is named by; others are many, and none of ours (conventions for HTTP). */
const KNOWN_METHODS = new Set(['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'TRACE', 'QUERY']);

/** What carries a trace from one process to the next; the field names are the propagator's own. */
const GETTER = {
  keys: (fields: FieldList): string[] => fields.map(([name]) => name),
  get: (fields: FieldList, name: string): string | undefined => fieldValue(fields, name.toLowerCase()),
};
const SETTER = {
  set: (carrier: Map<string, string>, name: string, value: string): void => {
    carrier.set(name.toLowerCase(), value);
  },
};

/** Makes spans. */
export class Tracing {
  readonly #tracer: Tracer;

  private constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  /** Undefined where no SDK is loaded: its spans are the ones with ids. */
  static find(): Tracing | undefined {
    const tracer = trace.getTracer('rawslice');
    // It never ends, so nobody is told of it.
    const probe = tracer.startSpan('probe', {}, ROOT_CONTEXT);
    return isSpanContextValid(probe.spanContext()) ? new Tracing(tracer) : undefined;
  }

  /** A request has come. */
  begin(request: BeginningRequest): RequestSpan {
    const [path = '', query] = splitTarget(request.target);
    const attributes: Attributes = {
      'http.request.method': KNOWN_METHODS.has(request.method) ? request.method : '_OTHER',
      'url.scheme': request.isSecure ? 'https' : 'http',
      'url.path': path,
      ...(query === undefined ? {} : { 'url.query': query }),
      'network.protocol.version': request.httpVersion,
      ...(request.clientAddress === undefined ? {} : { 'client.address': request.clientAddress }),
      ...hostAttributes(fieldValue(request.fields, 'host')),
    };
    const parent = propagation.extract(ROOT_CONTEXT, request.fields, GETTER);
    const span = this.#tracer.startSpan(nameOf(request.method), { kind: SpanKind.SERVER, attributes }, parent);
    return new RequestSpan(this.#tracer, span, parent);
  }
}

/** The span of one request. */
export class RequestSpan {
  readonly #tracer: Tracer;
  readonly #span: Span;
  readonly #context: Context;

  constructor(tracer: Tracer, span: Span, parent: Context) {
    this.#tracer = tracer;
    this.#span = span;
    this.#context = trace.setSpan(parent, span);
  }

  /** For the log, as a `traceparent` would say it. */
  get traceparent(): string {
    const { traceId, spanId, traceFlags } = this.#span.spanContext();
    return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
  }

  /** A node is asked on its behalf. @param node `scheme://host[:port]` */
  ask(node: string, request: UpstreamRequest): AskedNode {
    const { hostname, port, protocol } = new URL(node);
    const attributes: Attributes = {
      'http.request.method': request.method,
      'server.address': hostname,
      'server.port': Number(port || (protocol === 'https:' ? 443 : 80)),
      'url.full': node + request.path,
    };
    const span = this.#tracer.startSpan(nameOf(request.method), { kind: SpanKind.CLIENT, attributes }, this.#context);
    const carrier = new Map<string, string>();
    propagation.inject(trace.setSpan(this.#context, span), carrier, SETTER);
    // Of a request that fills no more than where it is in the trace: `tracestate` and `baggage` are texts of the client's, and the answer is for everybody.
    const injected = [...carrier].filter(([name]) => name === 'traceparent' || request.fields.some(([own]) => own === name));
    const fields = [...request.fields.filter(([name]) => !injected.some(([own]) => own === name)), ...injected];
    return {
      fields,
      onEnd: ({ status, error }) => {
        if (status !== undefined) span.setAttribute('http.response.status_code', status);
        // Of a client's span every answer that is an error is one.
        if (error !== undefined || (status !== undefined && status >= 400)) fault(span, error ?? String(status));
        span.end();
      },
    };
  }

  /** It is over. */
  end({ service, site, status, sentBytes, userAgent, cacheResult, error, requestId }: EndedRequest): void {
    const span = this.#span;
    span.setAttributes({
      'rawslice.service': service,
      'rawslice.cache': cacheResult,
      'http.response.body.size': sentBytes,
      ...(site === undefined ? {} : { 'rawslice.route': site.route, 'rawslice.group': site.group }),
      ...(status === undefined ? {} : { 'http.response.status_code': status }),
      ...(userAgent === undefined ? {} : { 'user_agent.original': userAgent }),
      ...(requestId === undefined ? {} : { 'http.request.header.x-request-id': [requestId] }),
    });
    // What a client does wrong is no error of a server (conventions for HTTP).
    if (status === undefined || status >= 500) fault(span, error?.code ?? String(status ?? 'CLIENT_GONE'));
    span.end();
  }
}

function fault(span: Span, type: string): void {
  span.setAttribute('error.type', type);
  span.setStatus({ code: SpanStatusCode.ERROR });
}

function nameOf(method: string): string {
  return KNOWN_METHODS.has(method) ? method : 'HTTP';
}

function splitTarget(target: string): readonly string[] {
  const at = target.indexOf('?');
  return at < 0 ? [target] : [target.slice(0, at), target.slice(at + 1)];
}

function hostAttributes(host: string | undefined): Attributes {
  const [, name, port] = /^(.*?)(?::(\d{1,5}))?$/.exec(host ?? '') ?? [];
  if (name === undefined || name === '') return {};
  return { 'server.address': name, ...(port === undefined ? {} : { 'server.port': Number(port) }) };
}
