/**
 * What is served: services, their routes and the groups behind them, joined from the lists of a file and from the options of the short form
 * (`listen`, `upstream.url`, `preset`, `rules`). The short form is one service, one route and one group, so that there is one way inside.
 * Whatever does not fit together is a problem. Called by load.ts.
 */

import {
  type ConfigGroup,
  type ConfigMiddleware,
  type ConfigModule,
  type ConfigRoute,
  type ConfigService,
  FORWARDED_FIELDS,
  TLS_MIN_VERSIONS,
} from './edge-config.ts';
import { formatServiceAddress, type ListenAddress, type ServiceAddress } from './listen-address.ts';
import { joinModule, type ModuleCatalogue, planMiddlewares } from './middleware-plan.ts';
import type { PresetName } from './options.ts';
import { quoteText } from './parsed.ts';
import { type Preset, readPreset } from './presets.ts';
import type { ConfigProblem } from './problem.ts';
import { type Placed, withoutNamesakes } from './record-reader.ts';
import type { OptionValues } from './schema.ts';
import { DEFAULT_OUTLIER, type GivenGroup, type GivenRoute, type GivenService, type ServiceTables } from './service-tables.ts';
import type { PlacedRule } from './site-rules.ts';
import { formatSize } from './size.ts';
import { findSuggestion } from './suggestion.ts';

/** The name of what the short form makes. */
export const SHORT_FORM_NAME = 'default';
/** Nodes beside the first that a request is tried at. */
const RETRIES_DEFAULT = 2;
/** Retries in a hundred requests. */
const RETRY_BUDGET_DEFAULT = 20;

/** How the short form's clients connect, and what holds for all of them: middlewares are those of its route. */
const PLAIN = {
  certificates: [],
  tlsMinVersion: TLS_MIN_VERSIONS[0],
  takesProxyProtocol: false,
  hasHttp2: false,
  trustedProxies: undefined,
  forwardedField: FORWARDED_FIELDS[0],
  middlewares: [],
} as const;

/** What is joined. */
export interface PlanInput {
  readonly tables: ServiceTables;
  readonly values: OptionValues;
  /** `rules` of the configuration. */
  readonly rules: readonly PlacedRule[];
  /** The preset of the configuration. */
  readonly preset: Preset;
  /** What middlewares may be. */
  readonly modules: ModuleCatalogue;
  /** Folder of the configuration. */
  readonly folder: string;
}

/** What is served. */
export interface SitePlan {
  readonly services: readonly ConfigService[];
  readonly routes: readonly ConfigRoute[];
  readonly groups: readonly ConfigGroup[];
  readonly middlewares: readonly ConfigMiddleware[];
  /** Where each record and each rule of a route stands, by dotted key. */
  readonly sources: ReadonlyMap<string, string>;
}

/** Joins; the plan is of use only when no problem was added. */
export function planSites(input: PlanInput, problems: ConfigProblem[]): SitePlan {
  const joiner = new Joiner(input, problems);
  const groups = joiner.joinGroups();
  const routes = joiner.joinRoutes(groups);
  const services = joiner.joinServices(routes);
  const { middlewares, sources } = planMiddlewares({ ...input, groups: groups.map(({ name }) => name) }, problems);
  return { services, routes, groups, middlewares, sources: new Map([...joiner.sources, ...sources]) };
}

class Joiner {
  readonly sources = new Map<string, string>();
  readonly #input: PlanInput;
  readonly #problems: ConfigProblem[];

  constructor(input: PlanInput, problems: ConfigProblem[]) {
    this.#input = input;
    this.#problems = problems;
  }

  joinGroups(): readonly ConfigGroup[] {
    const { tables, values } = this.#input;
    const given = withoutNamesakes(tables.groups ?? [], 'upstreams', this.#problems);
    const own = given.map((group) => this.#joinGroup(group));
    const upstream = values['upstream.url'];
    if (upstream === undefined) return own;
    const namesake = given.find(({ name }) => name.value === SHORT_FORM_NAME);
    if (namesake !== undefined)
      this.#report(namesake.name, 'upstreams', `${SHORT_FORM_NAME} is the group of upstream.url; choose another name`);
    const node = { origin: upstream.origin, weight: 1, sni: undefined, verifiesCertificate: true, isBackup: false };
    const shape = { name: SHORT_FORM_NAME, nodes: [node], discovery: undefined, basePath: upstream.basePath, hostHeader: undefined };
    const short = { ...this.#groupDefaults(), ...shape, isNamedByOrigin: true };
    return [short, ...own];
  }

  #joinGroup(given: GivenGroup): ConfigGroup {
    this.#note('upstreams', given.name);
    const { nodes, discovery, basePath, hostHeader } = given;
    const defaults = this.#groupDefaults();
    return {
      name: given.name.value,
      isNamedByOrigin: false,
      nodes,
      discovery,
      basePath,
      hostHeader,
      protocol: given.protocol ?? defaults.protocol,
      balance: given.balance ?? defaults.balance,
      balancer: this.#balancerOf(given),
      hashOn: given.hashOn ?? defaults.hashOn,
      boundedLoadPercent: given.boundedLoadPercent ?? defaults.boundedLoadPercent,
      slowStartMs: given.slowStartMs ?? defaults.slowStartMs,
      panicPercent: given.panicPercent ?? defaults.panicPercent,
      healthCheck: given.healthCheck,
      outlier: given.outlier ?? defaults.outlier,
      // A group that names a Host has no use for the client's.
      preservesHost: given.preservesHost ?? (hostHeader === undefined && defaults.preservesHost),
      retriesMax: given.retriesMax ?? defaults.retriesMax,
      retryBudgetPercent: given.retryBudgetPercent ?? defaults.retryBudgetPercent,
      connectTimeoutMs: given.connectTimeoutMs ?? defaults.connectTimeoutMs,
      headTimeoutMs: given.headTimeoutMs ?? defaults.headTimeoutMs,
      bodyTimeoutMs: given.bodyTimeoutMs ?? defaults.bodyTimeoutMs,
      connectionsMax: given.connectionsMax ?? defaults.connectionsMax,
    };
  }

  #groupDefaults(): Omit<ConfigGroup, 'name' | 'isNamedByOrigin' | 'nodes' | 'discovery' | 'basePath' | 'hostHeader'> {
    const { values } = this.#input;
    return {
      protocol: 'http/1.1',
      balance: 'round-robin',
      balancer: undefined,
      hashOn: { kind: 'path' },
      boundedLoadPercent: 0,
      slowStartMs: 0,
      panicPercent: 0,
      healthCheck: undefined,
      outlier: DEFAULT_OUTLIER,
      preservesHost: values['upstream.preserveHost'],
      retriesMax: RETRIES_DEFAULT,
      retryBudgetPercent: RETRY_BUDGET_DEFAULT,
      connectTimeoutMs: values['upstream.connectTimeout'],
      headTimeoutMs: values['upstream.headTimeout'],
      bodyTimeoutMs: values['upstream.bodyTimeout'],
      connectionsMax: values['upstream.connections'],
    };
  }

  #balancerOf({ balancer }: GivenGroup): ConfigModule | undefined {
    if (balancer === undefined) return undefined;
    const { modules, folder } = this.#input;
    const found = modules.findBalancer(balancer.use.value, folder);
    const joined = joinModule(balancer, { found, groups: [], folder }, this.#problems);
    return joined && { use: joined.use, options: joined.options, shown: joined.shown };
  }

  joinRoutes(groups: readonly ConfigGroup[]): readonly ConfigRoute[] {
    const { tables, values, rules, preset } = this.#input;
    if (tables.routes !== undefined) {
      return withoutNamesakes(tables.routes, 'routes', this.#problems).flatMap((given) => this.#joinRoute(given, groups) ?? []);
    }
    const [group, ...others] = groups;
    if (others.length > 0)
      this.#problems.push({ source: 'configuration', key: 'routes', message: 'is required where there are several upstream groups' });
    if (group === undefined) return [];
    const route: ConfigRoute = {
      name: SHORT_FORM_NAME,
      isImplicit: true,
      hosts: [],
      path: { kind: 'any' },
      methods: undefined,
      group: group.name,
      stripPrefix: '',
      addPrefix: '',
      rules: [...rules, ...preset.rules].map(({ rule }) => rule),
      sliceSizeBytes: values['slice.size'],
      // Where nothing says for what they hold, they hold for everything.
      middlewares: tables.services === undefined ? (tables.middlewares ?? []).map(({ name }) => name.value) : [],
      upgrades: values.upgrade,
    };
    return [route];
  }

  #joinRoute(given: GivenRoute, groups: readonly ConfigGroup[]): ConfigRoute | undefined {
    const { name, hosts, path, methods, stripPrefix, addPrefix, sliceSize } = given;
    this.#note('routes', name);
    const group = this.#groupOf(given, groups);
    const rules = this.#rulesOf(given);
    if (sliceSize !== undefined) this.#checkSliceSize(sliceSize);
    if (group === undefined) return undefined;
    const sliceSizeBytes = sliceSize?.value ?? this.#input.values['slice.size'];
    const middlewares = given.middlewares.map(({ value }) => value);
    const upgrades = given.upgrades ?? this.#input.values.upgrade;
    const how = { hosts, path, methods, group, stripPrefix, addPrefix, rules, sliceSizeBytes, upgrades, middlewares };
    return { name: name.value, isImplicit: false, ...how };
  }

  #groupOf({ name, upstream }: GivenRoute, groups: readonly ConfigGroup[]): string | undefined {
    const names = groups.map((group) => group.name);
    if (upstream === undefined) {
      if (names.length > 1) this.#report(name, `routes.${name.value}`, `needs upstream: one of ${names.join(', ')}`);
      return names[0];
    }
    if (names.includes(upstream.value)) return upstream.value;
    const message = `is ${quoteText(upstream.value)}, and there is no upstream group of that name`;
    this.#report(upstream, `routes.${name.value}.upstream`, message, findSuggestion(upstream.value, names));
    return undefined;
  }

  #rulesOf({ name, rules, preset: presetName }: GivenRoute): ConfigRoute['rules'] {
    const own = rules ?? this.#input.rules;
    const preset = presetName === undefined ? this.#input.preset : this.#readPreset(presetName);
    if (rules !== undefined || presetName !== undefined) this.#problems.push(...findShadowedNames(own, preset.rules));
    const word = presetName ?? this.#input.values.preset;
    for (const { rule, place } of own) this.sources.set(`routes.${name.value}.rules.${rule.name}`, `${place.file}:${place.line}`);
    for (const { rule } of preset.rules) this.sources.set(`routes.${name.value}.rules.${rule.name}`, `preset ${word}`);
    return [...own, ...preset.rules].map(({ rule }) => rule);
  }

  #readPreset(name: PresetName): Preset {
    const preset = readPreset(name);
    this.#problems.push(...preset.problems);
    return preset;
  }

  #checkSliceSize(sliceSize: Placed<number>): void {
    const arenaBytes = this.#input.values['memory.arena'];
    if (arenaBytes >= 8 * sliceSize.value) return;
    this.#report(sliceSize, 'memory.arena', `must hold 8 slices of ${formatSize(sliceSize.value)}; it is ${formatSize(arenaBytes)}`);
  }

  joinServices(routes: readonly ConfigRoute[]): readonly ConfigService[] {
    const { tables, values } = this.#input;
    const names = routes.map(({ name }) => name);
    if (tables.services === undefined)
      return [{ ...PLAIN, name: SHORT_FORM_NAME, isImplicit: true, listen: [values.listen], routes: names }];
    const services = withoutNamesakes(tables.services, 'services', this.#problems);
    this.#checkAddresses(services);
    return services.map((service) => this.#joinService(service, names));
  }

  #joinService(given: GivenService, names: readonly string[]): ConfigService {
    const { name, listen, routes, certificates, tlsMinVersion, takesProxyProtocol, hasHttp2, trustedProxies, forwardedField } = given;
    this.#note('services', name);
    const known = new Set((this.#input.tables.routes ?? []).map((route) => route.name.value));
    for (const route of routes ?? []) {
      if (known.has(route.value)) continue;
      const message = `names ${quoteText(route.value)}, and there is no route of that name`;
      this.#report(route, `services.${name.value}.routes`, message, findSuggestion(route.value, known));
    }
    const chosen = routes === undefined ? undefined : new Set(routes.map(({ value }) => value));
    return {
      name: name.value,
      isImplicit: false,
      listen: listen.map(({ value }) => value),
      routes: chosen === undefined ? names : names.filter((route) => chosen.has(route)),
      certificates,
      tlsMinVersion,
      takesProxyProtocol,
      hasHttp2,
      trustedProxies,
      forwardedField,
      middlewares: given.middlewares.map(({ value }) => value),
    };
  }

  #checkAddresses(services: readonly GivenService[]): void {
    const taken: { readonly address: ServiceAddress; readonly owner: string }[] = [
      { address: this.#input.values['admin.listen'], owner: 'admin.listen' },
    ];
    for (const { name, listen } of services) {
      for (const address of listen) {
        const other = taken.find((known) => overlap(known.address, address.value));
        if (other === undefined) taken.push({ address: address.value, owner: `service ${name.value}` });
        else {
          const text = formatServiceAddress(address.value);
          const theirs = formatServiceAddress(other.address);
          const what = text === theirs ? `as that of ${other.owner}` : `which ${theirs} of ${other.owner} excludes`;
          this.#report(address, `services.${name.value}.listen`, `is ${text}, ${what}`);
        }
      }
    }
  }

  #note(table: string, { value, place }: Placed<string>): void {
    this.sources.set(`${table}.${value}`, `${place.file}:${place.line}`);
  }

  #report({ place }: Placed<unknown>, key: string, message: string, suggestion?: string | undefined): void {
    this.#problems.push({ source: place.file, place, key, message, suggestion });
  }
}

/** Whether the system refuses the second of two addresses. `[::]` is every address of both families. */
function overlap(one: ServiceAddress, other: ServiceAddress): boolean {
  if ('path' in one || 'path' in other) return 'path' in one && 'path' in other && one.path === other.path;
  if (one.port === 0 || one.port !== other.port) return false;
  const isV6 = ({ host }: ListenAddress): boolean => host.includes(':');
  const covers = (wide: ListenAddress, narrow: ListenAddress): boolean => wide.host === '::' || (wide.host === '0.0.0.0' && !isV6(narrow));
  return one.host === other.host || covers(one, other) || covers(other, one);
}

/** Rules of one's own that a rule of the preset has the name of. */
export function findShadowedNames(own: readonly PlacedRule[], preset: readonly PlacedRule[]): readonly ConfigProblem[] {
  return own
    .filter(({ rule }) => preset.some((other) => other.rule.name === rule.name))
    .map(({ rule, place }) => ({
      source: place.file,
      place,
      key: 'rules',
      message: `${rule.name} is the name of a rule of the preset; choose another`,
    }));
}
