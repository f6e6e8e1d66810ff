/** Makes of a configuration what requests are routed by: a site for each route, and a router for each service. Used by proxy-assembly.ts. */
import { createHash } from 'node:crypto';
import { BlockList, isIPv6 } from 'node:net';
import { must } from '../base/assert.ts';
import { MetricSet } from '../base/metrics.ts';
import type { ConfigGroup, ConfigRoute, ConfigService, EdgeConfig } from '../config/edge-config.ts';
import type { FieldList } from '../http/header-fields.ts';
import type { CertificateSet } from '../proxy/certificates.ts';
import { ROUTE_METRICS } from '../proxy/proxy-metrics.ts';
import { Router } from '../proxy/router.ts';
import type { ServedRoute, Service, ServiceTransport, Site } from '../proxy/services.ts';
import type { CertificateFiles } from './certificate-files.ts';
import { originOf } from './group-nodes.ts';
import type { MiddlewareLine } from './middleware-set.ts';
import { isHashed, type UpstreamDoor } from './upstream-assembly.ts';

/** Counts of routes, which outlive a reload. */
export class RouteCounts {
  #sets = new Map<string, { readonly labels: readonly string[]; readonly metrics: MetricSet<typeof ROUTE_METRICS> }>();

  /** The labels of every series. */
  static readonly labels = ['service', 'route', 'group'];

  /** Of the routes that are served now. */
  list(): Iterable<readonly [values: readonly string[], set: MetricSet<typeof ROUTE_METRICS>]> {
    return [...this.#sets.values()].map(({ labels, metrics }) => [labels, metrics] as const);
  }

  /** Those of one route. */
  of(labels: readonly string[]): MetricSet<typeof ROUTE_METRICS> {
    const key = labels.join(' ');
    const known = this.#sets.get(key) ?? { labels, metrics: new MetricSet(ROUTE_METRICS) };
    this.#sets.set(key, known);
    return known.metrics;
  }

  /** Forgets all but those of these services. */
  keep(services: readonly Service[]): void {
    const all = services.flatMap(({ router }) => router.routes.flatMap((route) => [route, ...route.alternatives.values()]));
    const kept = new Set(all.map(({ metrics }) => metrics));
    this.#sets = new Map([...this.#sets].filter(([, { metrics }]) => kept.has(metrics)));
  }
}

/** What services are made of beside their configuration. */
export interface ServiceParts {
  /** By the name of their group. */
  readonly doors: ReadonlyMap<string, UpstreamDoor>;
  readonly counts: RouteCounts;
  /** Certificates in use, by the name of their service. */
  readonly certificates: ReadonlyMap<string, CertificateFiles>;
  readonly middlewares: MiddlewareLine;
}

/** Services as they would be; what is served now is not touched. */
export function assembleServices(config: EdgeConfig, parts: ServiceParts): readonly Service[] {
  const { certificates } = parts;
  const routes = new Map(config.routes.map((route) => [route.name, route]));
  return config.services.map((service) => {
    const { name } = service;
    const served = service.routes.map((routeName) => {
      const route = must(routes.get(routeName), 'a service has routes that there are');
      return serveRoute({ service, route }, config, parts);
    });
    return { name, transport: transportOf(service, certificates.get(name)?.set), router: new Router(served) };
  });
}

function serveRoute(
  { service, route }: { readonly service: ConfigService; readonly route: ConfigRoute },
  config: EdgeConfig,
  { doors, counts, middlewares }: ServiceParts,
): ServedRoute {
  const { hosts, path, methods } = route;
  const names = [...service.middlewares, ...route.middlewares];
  const instances = names.map((name) => must(middlewares.instances.get(name), 'a route has middlewares that there are'));
  const chain = instances.length === 0 ? undefined : [...new Set(instances)];
  const originFields = names.flatMap((name) => middlewares.originFields.get(name) ?? []);
  const chosen = new Set([route.group, ...instances.flatMap(({ upstreams }) => [...upstreams])]);
  const alternatives = new Map<string, ServedRoute>();
  const to = (groupName: string): ServedRoute => {
    const group = must(
      config.groups.find(({ name }) => name === groupName),
      'a route has a group',
    );
    const site = siteOf({ route, group, door: must(doors.get(groupName), 'a group has a door'), originFields });
    return { match: { hosts, path, methods }, site, metrics: counts.of([service.name, route.name, groupName]), chain, alternatives };
  };
  if (chosen.size > 1) for (const name of chosen) alternatives.set(name, to(name));
  return alternatives.get(route.group) ?? to(route.group);
}

function transportOf(
  { takesProxyProtocol, hasHttp2, trustedProxies, forwardedField }: ConfigService,
  certificates: CertificateSet | undefined,
): ServiceTransport {
  const shared = { certificates, takesProxyProtocol, hasHttp2 };
  if (trustedProxies === undefined) return { ...shared, trust: undefined };
  const trusted = new BlockList();
  for (const { address, prefixBits, family } of trustedProxies) trusted.addSubnet(address, prefixBits, family);
  const isTrusted = (address: string): boolean => trusted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  return { ...shared, trust: { isTrusted, field: forwardedField } };
}

interface SiteParts {
  readonly route: ConfigRoute;
  readonly group: ConfigGroup;
  readonly door: UpstreamDoor;
  /** The last of a name holds. */
  readonly originFields: FieldList;
}

function siteOf({ route, group, door, originFields }: SiteParts): Site {
  const authority = group.hostHeader ?? authorityOf(group);
  return {
    name: siteName(route, group),
    route: route.name,
    group: group.name,
    transport: door,
    follow: (rule) => door.follow(rule, new Set(originFields.map(([name]) => name))),
    originFields: [...new Map(originFields.map((field) => [field[0], field])).values()],
    authority,
    get otherAuthorities() {
      return door.group.nodes.map((node) => node.authority).filter((other) => other !== authority);
    },
    placeName: group.isNamedByOrigin ? authority : group.name,
    basePath: group.basePath + route.addPrefix,
    stripPrefix: route.stripPrefix,
    preservesHost: group.preservesHost,
    rules: route.rules,
    sliceSizeBytes: route.sliceSizeBytes,
    upgrades: route.upgrades,
    hashOn: hashSourceOf(group),
  };
}

/** `host[:port]` of the first node, or what stands for those that are found. */
export function authorityOf(group: ConfigGroup): string {
  return group.nodes.length === 0 ? (group.discovery?.authority ?? '') : new URL(originOf(group)).host;
}

/** What requests have in common, where somebody looks at it. */
function hashSourceOf({ nodes, discovery, balance, balancer, hashOn }: ConfigGroup): Site['hashOn'] {
  const hasSeveral = nodes.length > 1 || discovery !== undefined;
  return hasSeveral && (balancer !== undefined || isHashed(balance)) ? hashOn : undefined;
}

/**
 * The name in every key (DECISIONS 42). What `upstream.url` leads to is named by the origin, so that a device which fronted another mirror before never answers
 * for this one; a group is named by its name, since its nodes come and go. A route that is written out has a name of its own in it, and how it
 * changes paths: two routes may send the same path to different places. No part has a slash, an @, or a bar.
 */
export function siteName(route: ConfigRoute, group: ConfigGroup): string {
  const origin = group.isNamedByOrigin ? originName(group.nodes[0]?.origin ?? '', group.basePath) : group.name;
  if (route.isImplicit && group.isNamedByOrigin) return origin;
  const { name, stripPrefix, addPrefix } = route;
  const isRewritten = stripPrefix !== '' || addPrefix !== '';
  return isRewritten ? `${name}|${origin}|${shortHash(`${stripPrefix}\n${addPrefix}`)}` : `${name}|${origin}`;
}

/** It has no slash, so a base path is in it by its hash. */
function originName(origin: string, basePath: string): string {
  const { host } = new URL(origin);
  return basePath === '' ? host : `${host}~${shortHash(basePath)}`;
}

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
