/** Says what a configuration makes of a request, service by service, without asking anybody: which route, group and rule, under which key. Used by `rules explain`. */
import { must } from '../base/assert.ts';
import { cacheKey, keySiteName } from '../cache/cache-key.ts';
import { findSiteRule } from '../cache/site-rule.ts';
import type { ConfigGroup, ConfigRoute, ConfigRule, EdgeConfig } from '../config/edge-config.ts';
import { describeRule } from '../config/effective-options.ts';
import { formatNetworks } from '../config/network.ts';
import type { RequestTarget } from '../http/request-target.ts';
import { type RouteMatch, Router, withoutPrefix } from '../proxy/router.ts';
import { authorityOf, siteName } from './site-assembly.ts';

/** A request as it is explained. */
export interface ExplainedRequest {
  readonly target: Extract<RequestTarget, { kind: 'ok' }>;
  readonly method: string;
}

/** What becomes of it in one service. */
export type Explanation =
  | { readonly kind: 'unrouted'; readonly service: string; readonly status: 404 | 405 | 421 }
  | {
      readonly kind: 'routed';
      readonly service: string;
      readonly route: string;
      /** Where the route is written; undefined for the short form's. */
      readonly routeSource: string | undefined;
      readonly group: string;
      /** Who the client is by whose word; undefined: the other end of the connection. */
      readonly trusts: string | undefined;
      /** Names, in the order in which they are asked. */
      readonly middlewares: readonly string[];
      /** The URL at each node, in the order of the configuration. */
      readonly upstream: readonly string[];
      readonly host: string;
      readonly key: string | undefined;
      readonly rule: string;
      /** What the rule says; undefined where none matches, and the origin's word holds. */
      readonly ruleText: string | undefined;
      readonly ruleSource: string | undefined;
    };

const STATUSES = { host: 421, path: 404, method: 405 } as const;

interface PlacedRoute {
  readonly match: RouteMatch;
  readonly route: ConfigRoute;
}

/** @param sources as loadConfig() gives them */
export function explainRequest(
  { config, sources }: { readonly config: EdgeConfig; readonly sources: ReadonlyMap<string, string> },
  request: ExplainedRequest,
): readonly Explanation[] {
  const { target, method } = request;
  const routes = new Map(config.routes.map((route): [string, PlacedRoute] => [route.name, { match: route, route }]));
  const groups = new Map(config.groups.map((group) => [group.name, group]));
  return config.services.map(({ name: service, routes: names, middlewares, trustedProxies, forwardedField }): Explanation => {
    const router = new Router(names.map((name) => must(routes.get(name), 'a service has routes that there are')));
    const verdict = router.find({ host: target.host, path: target.path, method });
    if (verdict.kind === 'absent') return { kind: 'unrouted', service, status: STATUSES[verdict.why] };
    const { route } = verdict.route;
    const group = must(groups.get(route.group), 'a route has a group');
    const asked = [...new Set([...middlewares, ...route.middlewares])];
    return {
      kind: 'routed',
      service,
      trusts: trustedProxies === undefined ? undefined : `${forwardedField} of ${formatNetworks(trustedProxies)}`,
      middlewares: asked,
      ...explainRoute(route, group, target),
      ...sourcesOf(route, target.path, sources),
    };
  });
}

function explainRoute(route: ConfigRoute, group: ConfigGroup, { path, query, host }: ExplainedRequest['target']) {
  const own = group.basePath + route.addPrefix + withoutPrefix(path, route.stripPrefix) + (query === undefined ? '' : `?${query}`);
  const authority = group.hostHeader ?? authorityOf(group);
  const site = { name: siteName(route, group), authority, preservesHost: group.preservesHost };
  const rule = ruleOf(route, path);
  return {
    route: route.name,
    group: group.name,
    upstream: originsOf(group).map((origin) => origin + own),
    host: group.preservesHost ? (host ?? authority) : (group.hostHeader ?? (originsOf(group).length > 1 ? "the node's own" : authority)),
    key: cacheKey({ siteName: keySiteName(site, host), path, query })?.keyText,
    rule: rule?.name ?? 'plain',
    ruleText: rule === undefined ? undefined : describeRule(rule),
  };
}

/** Nodes that are found are known to a running program only; what they are looked for by stands for them. */
function originsOf({ nodes, discovery }: ConfigGroup): readonly string[] {
  const own = nodes.map(({ origin }) => origin);
  return discovery === undefined ? own : [...own, `${discovery.scheme}://${discovery.authority}`];
}

function ruleOf(route: ConfigRoute, path: string): ConfigRule | undefined {
  const { name } = findSiteRule(route.rules, withoutPrefix(path, route.stripPrefix));
  return route.rules.find((rule) => rule.name === name);
}

function sourcesOf(route: ConfigRoute, path: string, sources: ReadonlyMap<string, string>) {
  const rule = ruleOf(route, path);
  const ruleSource =
    rule === undefined ? undefined : sources.get(route.isImplicit ? `rules.${rule.name}` : `routes.${route.name}.rules.${rule.name}`);
  return { routeSource: sources.get(`routes.${route.name}`), ruleSource };
}
