/** What the stages work with; built once by app. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { MetricSet } from '../base/metrics.ts';
import type { Random } from '../base/random.ts';
import type { KeyedSite } from '../cache/cache-key.ts';
import type { SiteRule } from '../cache/site-rule.ts';
import type { ObjectResolver } from '../fill/object-resolver.ts';
import type { Purger } from '../fill/purger.ts';
import type { ForwardingTrust } from '../http/forwarded-chain.ts';
import type { FieldList } from '../http/header-fields.ts';
import type { RedirectRule } from '../http/redirect-target.ts';
import type { BufferPool } from '../memory/buffer-pool.ts';
import type { MiddlewareInstance } from '../middleware/middleware-instance.ts';
import type { SliceStore } from '../store/slice-store.ts';
import type { UpstreamTransport } from '../upstream/upstream-transport.ts';
import type { AccessOutput } from './access-log.ts';
import type { CertificateSet } from './certificates.ts';
import type { CopyPool } from './copy-pool.ts';
import type { PinBudget } from './pin-budget.ts';
import type { PROXY_METRICS, ROUTE_METRICS } from './proxy-metrics.ts';
import type { PurgeGate } from './purge-gate.ts';
import type { RequestIdAudience, RequestIds } from './request-id.ts';
import type { RouteMatch, Router } from './router.ts';
import type { SurplusBudget } from './surplus-budget.ts';
import type { Tracing } from './tracing.ts';

/** What a group hashes. `key`: site, path and query, as what is stored is known by. */
export type HashSource = { readonly kind: 'client' | 'path' | 'key' } | { readonly kind: 'header'; readonly name: string };

/** What a route fronts: an upstream group, and how it is asked. */
export interface Site extends KeyedSite {
  /** Name of the route. */
  readonly route: string;
  /** Name of the group. */
  readonly group: string;
  readonly transport: UpstreamTransport;
  /** `host[:port]` of the nodes beside the first. */
  readonly otherAuthorities: readonly string[];
  /** Before every path at the origin; empty or `/x/y`. */
  readonly basePath: string;
  /** Before every path at the client, and not sent to the origin; empty or `/x/y`. */
  readonly stripPrefix: string;
  /** What origin-abilities.ts knows the group's places by. */
  readonly placeName: string;
  /** Tried on the path without what is stripped. */
  readonly rules: readonly SiteRule[];
  readonly sliceSizeBytes: number;
  /** Protocols that clients may change to (Upgrade), lower-case. */
  readonly upgrades: readonly string[];
  /** What requests to the group are balanced by; undefined where it does not hash. */
  readonly hashOn: HashSource | undefined;
  /** The transport, following redirects as a rule says. */
  readonly follow: (rule: RedirectRule) => UpstreamTransport;
  /** What every request to the origin carries, whoever asks. */
  readonly originFields: FieldList;
}

/** A route of one service. */
export interface ServedRoute {
  readonly match: RouteMatch;
  readonly site: Site;
  readonly metrics: MetricSet<typeof ROUTE_METRICS>;
  /** Of the service, then of the route; undefined where there are none. */
  readonly chain: readonly MiddlewareInstance[] | undefined;
  /** The same route to each group that may answer for it, this one included; empty where its middlewares choose none. */
  readonly alternatives: ReadonlyMap<string, ServedRoute>;
}

/** What happens on connections of a service before their first request, and who says who a client is. */
export interface ServiceTransport {
  /** With them the service speaks TLS. */
  readonly certificates: CertificateSet | undefined;
  readonly takesProxyProtocol: boolean;
  /** HTTP/2 is spoken beside HTTP/1.1: by ALPN with TLS, else with those who begin with it. */
  readonly hasHttp2: boolean;
  /** Whose word about clients counts; undefined: nobody's does, and what clients say of it is passed on. */
  readonly trust: ForwardingTrust | undefined;
}

/** What the listeners of one service answer with. */
export interface Service {
  readonly name: string;
  readonly transport: ServiceTransport;
  readonly router: Router<ServedRoute>;
}

/** Limits on requests. */
export interface ProxyLimits {
  readonly requestsMax: number;
  /** A client that takes no byte for this long is cut off. */
  readonly clientStallMs: number;
  /** A client that sends no byte of its request's content for this long is cut off. */
  readonly uploadStallMs: number;
  /** Tunnels at a time, over all services. */
  readonly tunnelsMax: number;
  /** A tunnel in which nothing moves for this long is cut. */
  readonly tunnelIdleMs: number;
  /** Ranges of one request. */
  readonly rangesMax: number;
  /** Bytes of slices around the ranges of one request that are fetched with them. */
  readonly rangeSurplusBytes: number;
}

/** Everything that stages may use; another one after a reload. A request keeps the one that it began with. */
export interface ProxyServices {
  readonly service: Service;
  readonly store: SliceStore;
  readonly resolver: ObjectResolver;
  readonly purger: Purger;
  readonly purgeGate: PurgeGate;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricSet<typeof PROXY_METRICS>;
  readonly limits: ProxyLimits;
  readonly pins: PinBudget;
  readonly copies: CopyPool;
  /** For bodies that pass through unstored. */
  readonly buffers: BufferPool;
  readonly surplus: SurplusBudget;
  readonly random: Random;
  /** This process in CDN-Loop (RFC 8586). */
  readonly loopId: string;
  readonly logsAccess: boolean;
  /** Whether more is wanted of a request than counts: its line in the log, or its span. */
  readonly keepsAccounts: boolean;
  /** Where the lines of requests go. */
  readonly accessOutput: AccessOutput;
  readonly requestIds: RequestIds;
  /** Undefined where no SDK of OpenTelemetry is loaded. */
  readonly tracing: Tracing | undefined;
  readonly requestIdAudience: RequestIdAudience;
  /** Whether Cache-Status names the key (RFC 9211 s2.7). */
  readonly showsCacheKey: boolean;
  /** Requests in progress, connections of clients and tunnels, over all services; the pipeline, the listeners and *tunnel* count. */
  readonly load: {
    requests: number;
    connections: number;
    tunnels: number;
    http2Connections: number;
    http2Streams: number;
    isDraining: boolean;
  };
}
