/**
 * A loaded configuration as text, option by option with its source: what `config check --print-effective` shows. Values are printed in the
 * form in which they can be written back; a secret only says that it is set.
 */
import { describeDiscovery } from './discovery-text.ts';
import { formatDuration } from './duration.ts';
import type {
  ConfigGroup,
  ConfigHealthCheck,
  ConfigMiddleware,
  ConfigRoute,
  ConfigRule,
  ConfigService,
  EdgeConfig,
} from './edge-config.ts';
import { formatListenAddress, formatServiceAddress } from './listen-address.ts';
import { formatNetworks } from './network.ts';
import { OPTION_KEYS, type OptionKey } from './options.ts';
import { formatSize } from './size.ts';

/** One option (`rules.NAME` for a rule) with the value that holds; `value` is undefined when it is unset. */
export interface EffectiveOption {
  readonly key: string;
  readonly value: string | undefined;
  readonly source: string;
}

/** Every option in the table's order, then every rule in the order in which they are tried. */
export function listEffectiveOptions(config: EdgeConfig, sources: ReadonlyMap<string, string>): readonly EffectiveOption[] {
  const source = (key: string): string => sources.get(key) ?? 'default';
  const options = OPTION_KEYS.map((key) => ({ key, value: READERS[key](config), source: source(key) }));
  const rules = config.rules.map((rule) => ({
    key: `rules.${rule.name}`,
    value: describeRule(rule),
    source: source(`rules.${rule.name}`),
  }));
  return [...options, ...rules, ...listTables(config, source)];
}

/** What the lists of a file say; what the short form makes of the options stands there already. */
function listTables({ groups, routes, services, middlewares }: EdgeConfig, source: (key: string) => string): readonly EffectiveOption[] {
  const row = (key: string, value: string): EffectiveOption => ({ key, value, source: source(key) });
  const own = routes.filter(({ isImplicit }) => !isImplicit);
  return [
    ...groups.filter(({ isNamedByOrigin }) => !isNamedByOrigin).map((group) => row(`upstreams.${group.name}`, describeGroup(group))),
    ...own.flatMap((route) => [
      row(`routes.${route.name}`, describeRoute(route)),
      ...route.rules.map((rule) => row(`routes.${route.name}.rules.${rule.name}`, describeRule(rule))),
    ]),
    ...middlewares.map((middleware) => row(`middlewares.${middleware.name}`, describeMiddleware(middleware))),
    ...services.filter(({ isImplicit }) => !isImplicit).map((service) => row(`services.${service.name}`, describeService(service))),
  ];
}

function describeGroup(group: ConfigGroup): string {
  const facts = group.nodes.map(({ origin, weight, sni, verifiesCertificate, isBackup }) => {
    const words = [origin + group.basePath];
    if (weight !== 1) words.push(`weight ${weight}`);
    if (sni !== undefined) words.push(`sni ${sni}`);
    if (!verifiesCertificate) words.push('verifyCertificate false');
    if (isBackup) words.push('backup');
    return words.join(' ');
  });
  if (group.discovery !== undefined) facts.push(describeDiscovery(group.discovery, group.basePath));
  facts.push(`balance ${[group.balancer?.use ?? group.balance, ...(group.balancer?.shown ?? [])].join(' ')}`, ...describeBalance(group));
  if (group.protocol !== 'http/1.1') facts.push(`protocol ${group.protocol}`);
  if (group.hostHeader !== undefined) facts.push(`hostHeader ${group.hostHeader}`);
  if (group.preservesHost) facts.push('preserveHost');
  facts.push(
    `retries ${group.retriesMax}`,
    `retryBudget ${group.retryBudgetPercent}`,
    `connectTimeout ${formatDuration(group.connectTimeoutMs)}`,
  );
  facts.push(`headTimeout ${formatDuration(group.headTimeoutMs)}`, `bodyTimeout ${formatDuration(group.bodyTimeoutMs)}`);
  return [...facts, `connections ${group.connectionsMax}`].join(', ');
}

function describeMiddleware({ use, timeoutMs, shown }: ConfigMiddleware): string {
  return [use, `timeout ${formatDuration(timeoutMs)}`, ...shown].join(', ');
}

function describeBalance({
  balance,
  hashOn,
  boundedLoadPercent,
  slowStartMs,
  panicPercent,
  healthCheck,
  outlier,
}: ConfigGroup): readonly string[] {
  const facts: string[] = [];
  const isHashed = balance === 'ketama' || balance === 'rendezvous';
  if (isHashed) facts.push(`hashOn ${hashOn.kind === 'header' ? `header ${hashOn.name}` : hashOn.kind}`);
  if (boundedLoadPercent > 0) facts.push(`boundedLoad ${boundedLoadPercent}`);
  if (slowStartMs > 0) facts.push(`slowStart ${formatDuration(slowStartMs)}`);
  if (panicPercent > 0) facts.push(`panicThreshold ${panicPercent}`);
  if (healthCheck !== undefined) facts.push(describeCheck(healthCheck));
  const { failuresMax, errorPercent, slowFactor, restMs, restMsMax } = outlier;
  const rates = [...(errorPercent > 0 ? [`errorRate ${errorPercent}`] : []), ...(slowFactor > 0 ? [`slowFactor ${slowFactor}`] : [])];
  const rests = `rest ${formatDuration(restMs)} to ${formatDuration(restMsMax)}`;
  return [...facts, ['outlier failures', failuresMax, ...rates, rests].join(' ')];
}

function describeCheck({ kind, path, host, statuses, body, intervalMs, timeoutMs, rise, fall }: ConfigHealthCheck): string {
  const words = [`healthCheck ${kind}`];
  if (kind === 'http') {
    words.push(path, ...(host === undefined ? [] : [`host ${host}`]));
    words.push(`status ${statuses.map(({ first, last }) => (first === last ? first : `${first}-${last}`)).join(' ')}`);
    if (body !== undefined) words.push(`body ${JSON.stringify(body)}`);
  }
  return [...words, `every ${formatDuration(intervalMs)} within ${formatDuration(timeoutMs)} rise ${rise} fall ${fall}`].join(' ');
}

function describeRoute({
  hosts,
  path,
  methods,
  group,
  stripPrefix,
  addPrefix,
  sliceSizeBytes,
  upgrades,
  middlewares,
}: ConfigRoute): string {
  const facts = hosts.length === 0 ? [] : [`host ${hosts.join(' ')}`];
  if (path.kind === 'pattern') facts.push(`match ${path.pattern.source.replaceAll('\\/', '/')}`);
  else if (path.kind !== 'any') facts.push(`${path.kind === 'exact' ? 'path' : 'prefix'} ${path.path}`);
  if (methods !== undefined) facts.push(`methods ${methods.join(' ')}`);
  if (stripPrefix !== '') facts.push(`stripPrefix ${stripPrefix}`);
  if (addPrefix !== '') facts.push(`addPrefix ${addPrefix}`);
  if (middlewares.length > 0) facts.push(`middlewares ${middlewares.join(' ')}`);
  return [...facts, `upstream ${group}`, `sliceSize ${formatSize(sliceSizeBytes)}`, `upgrade ${upgrades.join(' ') || 'none'}`].join(', ');
}

function describeService(service: ConfigService): string {
  const { listen, routes, certificates, tlsMinVersion, takesProxyProtocol, hasHttp2, trustedProxies, forwardedField, middlewares } =
    service;
  const parts = [`listen ${listen.map(formatServiceAddress).join(' ')}`, `routes ${routes.join(' ')}`];
  if (certificates.length > 0) parts.push(`TLS ${tlsMinVersion} and later with ${certificates.map(({ certFile }) => certFile).join(' ')}`);
  if (takesProxyProtocol) parts.push('PROXY protocol');
  if (hasHttp2) parts.push('HTTP/2');
  if (trustedProxies !== undefined) parts.push(`trusted proxies ${formatNetworks(trustedProxies)} by ${forwardedField}`);
  if (middlewares.length > 0) parts.push(`middlewares ${middlewares.join(' ')}`);
  return parts.join(', ');
}

const READERS: Readonly<Record<OptionKey, (config: EdgeConfig) => string | undefined>> = {
  listen: (config) => formatServiceAddress(config.listen),
  expressLane: ({ expressLane }) => String(expressLane),
  'admin.listen': (config) => formatListenAddress(config.admin.listen),
  'admin.token': (config) => (config.admin.token === undefined ? undefined : '(set)'),
  'purge.allow': (config) => (config.purge.allow === undefined ? undefined : formatNetworks(config.purge.allow)),
  'purge.token': (config) => (config.purge.token === undefined ? undefined : '(set)'),
  'upstream.url': ({ upstream }) => (upstream.origin === undefined ? undefined : upstream.origin + upstream.basePath),
  'upstream.connectTimeout': (config) => formatDuration(config.upstream.connectTimeoutMs),
  'upstream.headTimeout': (config) => formatDuration(config.upstream.headTimeoutMs),
  'upstream.bodyTimeout': (config) => formatDuration(config.upstream.bodyTimeoutMs),
  'upstream.connections': (config) => String(config.upstream.connectionsMax),
  'upstream.preserveHost': (config) => String(config.upstream.preservesHost),
  upgrade: (config) => formatProtocols(config.upgrades),
  preset: (config) => config.preset,
  'device.path': (config) => config.device.paths.join(','),
  'device.size': (config) => formatSize(config.device.sizeBytes),
  'device.formatBlank': (config) => String(config.device.formatsBlank),
  'device.io': (config) => config.device.io,
  'device.writeBudget': (config) => (config.device.writeBudgetBytes === undefined ? undefined : formatSize(config.device.writeBudgetBytes)),
  'device.compression': (config) => config.device.compression,
  'device.scrub': (config) => formatDuration(config.device.scrubPeriodMs),
  'device.trim': (config) => String(config.device.trims),
  'memory.arena': (config) => formatSize(config.memory.arenaBytes),
  'slice.size': (config) => formatSize(config.slice.sizeBytes),
  'limits.variants': (config) => String(config.limits.variantsMax),
  'cache.staleIfError': (config) => formatDuration(config.cache.staleIfErrorMs),
  'limits.connections': ({ limits }) => String(limits.connectionsMax),
  'limits.requests': (config) => String(config.limits.requestsMax),
  'limits.streams': (config) => String(config.limits.streamsMax),
  'limits.clientStall': (config) => formatDuration(config.limits.clientStallMs),
  'limits.uploadStall': (config) => formatDuration(config.limits.uploadStallMs),
  'limits.tunnels': (config) => String(config.limits.tunnelsMax),
  'limits.tunnelIdle': (config) => formatDuration(config.limits.tunnelIdleMs),
  'limits.headerBytes': (config) => formatSize(config.limits.headerBytesMax),
  'limits.headerTimeout': (config) => formatDuration(config.limits.headerTimeoutMs),
  'limits.ranges': (config) => String(config.limits.rangesMax),
  'limits.rangeSurplus': (config) => formatSize(config.limits.rangeSurplusBytes),
  'limits.clientSurplus': (config) => formatSize(config.limits.clientSurplusBytes),
  'cacheStatus.key': (config) => String(config.cacheStatus.key),
  'log.level': (config) => config.log.level,
  requestId: (config) => config.requestId,
  'log.accessFormat': ({ log }) => log.accessFormat,
  'log.accessFile': ({ log }) => log.accessFile,
  'log.access': (config) => String(config.log.access),
  'reload.interval': (config) => formatDuration(config.reload.intervalMs),
  'shutdown.drain': (config) => formatDuration(config.shutdown.drainMs),
};

function formatProtocols(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.join(',');
}

/** A rule on one line. */
export function describeRule(rule: ConfigRule): string {
  // A RegExp escapes the slashes in its source; in YAML nobody does.
  const facts = [rule.pattern.source.replaceAll('\\/', '/')];
  if (rule.isImmutable) facts.push('immutable');
  if (rule.freshForMs !== undefined) facts.push(`freshFor ${formatDuration(rule.freshForMs)}`);
  if (rule.missingFreshForMs !== undefined) facts.push(`missingFreshFor ${formatDuration(rule.missingFreshForMs)}`);
  if (rule.staleWhileRevalidateMs !== undefined) facts.push(`staleWhileRevalidate ${formatDuration(rule.staleWhileRevalidateMs)}`);
  if (rule.staleIfErrorMs !== undefined) facts.push(`staleIfError ${formatDuration(rule.staleIfErrorMs)}`);
  // An immutable rule strips, as long as it does not say otherwise.
  if (rule.setCookie !== (rule.isImmutable ? 'strip' : 'refuse')) facts.push(`setCookie ${rule.setCookie}`);
  if (!rule.checksContentType) facts.push('checkContentType false');
  if (rule.ignoresClientCacheControl) facts.push('ignoreClientCacheControl');
  if (rule.redirects !== undefined) {
    facts.push(`followRedirects ${rule.redirects.hopsMax}`);
    if (rule.redirects.hosts.length > 0) facts.push(`redirectHosts ${rule.redirects.hosts.join(' ')}`);
  }
  if (rule.store !== 'auto') facts.push(`store ${rule.store}`);
  return facts.join(', ');
}
