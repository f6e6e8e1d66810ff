/**
 * The middlewares of a configuration: each record joined with its module's table of options, and the names by which services and routes call them. Called
 * by site-plan.ts. What modules there are is for app to say (a ModuleCatalogue), since config runs nothing.
 */
import type { AnyOptions, OptionFault, OptionTable } from '../base/module-options.ts';
import type { ConfigMiddleware, ConfigModule } from './edge-config.ts';
import type { GivenModule } from './given-module.ts';
import { readModuleOptions } from './module-options.ts';
import { quoteText } from './parsed.ts';
import type { ConfigProblem, SourcePlace } from './problem.ts';
import { type Placed, withoutNamesakes } from './record-reader.ts';
import type { GivenMiddleware, ServiceTables } from './service-tables.ts';
import { findSuggestion } from './suggestion.ts';
import type { YamlNode } from './yaml-tree.ts';

/** A module as far as its configuration goes, or why there is none. */
export type FoundModule =
  | {
      readonly kind: 'ok';
      /** The word, or the absolute path. */
      readonly use: string;
      readonly options: OptionTable;
      readonly check: (values: AnyOptions) => readonly OptionFault[];
      /** It fills the cache with what the origin is told by it, and so belongs to routes. */
      readonly isForRoutes: (values: AnyOptions) => boolean;
    }
  | { readonly kind: 'absent'; readonly message: string; readonly suggestion?: string | undefined };

/** Finds modules. */
export interface ModuleCatalogue {
  /** @param folder where relative paths begin */
  find(use: string, folder: string): FoundModule;
  /** As find(), for balancers. */
  findBalancer(use: string, folder: string): FoundModule;
}

/** Knows none. */
export const NO_MODULES: ModuleCatalogue = { find: absent, findBalancer: absent };

function absent(): FoundModule {
  return { kind: 'absent', message: 'is not possible here: no modules are known' };
}

/** What is joined. */
export interface MiddlewareInput {
  readonly tables: ServiceTables;
  readonly modules: ModuleCatalogue;
  readonly folder: string;
  /** Names of upstream groups. */
  readonly groups: readonly string[];
}

/** Joins; of use only when no problem was added. */
export function planMiddlewares(
  input: MiddlewareInput,
  problems: ConfigProblem[],
): { readonly middlewares: readonly ConfigMiddleware[]; readonly sources: ReadonlyMap<string, string> } {
  const given = withoutNamesakes(input.tables.middlewares ?? [], 'middlewares', problems);
  const middlewares = given.flatMap((each) => joinMiddleware(each, input, problems) ?? []);
  checkNames(given, input, problems);
  checkPreflights(given, input, problems);
  const sources = new Map(given.map(({ name }) => [`middlewares.${name.value}`, `${name.place.file}:${name.place.line}`]));
  return { middlewares, sources };
}

function joinMiddleware(given: GivenMiddleware, input: MiddlewareInput, problems: ConfigProblem[]): ConfigMiddleware | undefined {
  const { name, timeoutMs } = given;
  const found = input.modules.find(given.use.value, input.folder);
  const joined = joinModule(given, { ...input, found }, problems);
  if (joined === undefined) return undefined;
  if (found.kind === 'ok' && found.isForRoutes(joined.options)) forbidInServices(name, input, problems);
  return { name: name.value, timeoutMs, ...joined };
}

/** Reads the options of a module that was found. */
export function joinModule(
  given: GivenModule,
  { found, groups, folder }: { readonly found: FoundModule; readonly groups: readonly string[]; readonly folder: string },
  problems: ConfigProblem[],
): (ConfigModule & { readonly upstreams: readonly string[] }) | undefined {
  const { use, useKey, optionsKey } = given;
  if (found.kind === 'absent') {
    problems.push(problemAt(use.place, useKey, found.message, found.suggestion));
    return undefined;
  }
  const node: Extract<YamlNode, { kind: 'map' }> = given.options ?? { kind: 'map', entries: [], place: given.place };
  const known = problems.length;
  const about = { key: optionsKey, table: found.options, surroundings: { groups, folder } };
  const { values, shown, upstreams } = readModuleOptions(node, about, problems);
  if (problems.length > known) return undefined;
  for (const { option, message } of found.check(values)) {
    const place = node.entries.find((entry) => entry.key === option)?.value.place ?? node.place;
    problems.push(problemAt(place, option === undefined ? optionsKey : `${optionsKey}.${option}`, message));
  }
  return problems.length > known ? undefined : { use: found.use, options: values, upstreams, shown };
}

/** A route's name is part of the key of what is stored, a service's is not. */
function forbidInServices({ value: name }: Placed<string>, { tables }: MiddlewareInput, problems: ConfigProblem[]): void {
  const message = `names ${quoteText(name)}, which changes what the origin is told and so what is stored; name it in routes`;
  for (const service of tables.services ?? [])
    for (const use of service.middlewares.filter(({ value }) => value === name))
      problems.push(problemAt(use.place, `services.${service.name.value}.middlewares`, message));
}

/** An access control that nobody names protects nothing, so it is a mistake. */
function checkNames(given: readonly GivenMiddleware[], { tables }: MiddlewareInput, problems: ConfigProblem[]): void {
  const known = new Set((tables.middlewares ?? []).map(({ name }) => name.value));
  const used = new Set<string>();
  const users = [
    ...(tables.services ?? []).map(({ name, middlewares }) => ({ key: `services.${name.value}.middlewares`, middlewares })),
    ...(tables.routes ?? []).map(({ name, middlewares }) => ({ key: `routes.${name.value}.middlewares`, middlewares })),
  ];
  for (const { key, middlewares } of users) {
    for (const [index, { value, place }] of middlewares.entries()) {
      used.add(value);
      if (middlewares.findIndex((other) => other.value === value) < index)
        problems.push(problemAt(place, key, `names ${quoteText(value)} twice`));
      if (known.has(value)) continue;
      const message = `names ${quoteText(value)}, and there is no middleware of that name`;
      problems.push(problemAt(place, key, message, findSuggestion(value, known)));
    }
  }
  if (tables.services === undefined && tables.routes === undefined) return;
  for (const { name, key } of given)
    if (!used.has(name.value))
      problems.push(
        problemAt(name.place, `${key}.name`, `is named by no service and no route, so it does nothing; name it in their middlewares`),
      );
}

/** Shipped ones that answer who has no credentials. */
const ASK_FOR_CREDENTIALS: ReadonlySet<string> = new Set(['basic', 'bearer', 'jwt']);

/** Preflights carry no credentials (Fetch standard), so whatever asks for some has to let `cors` answer first. */
function checkPreflights(given: readonly GivenMiddleware[], { tables }: MiddlewareInput, problems: ConfigProblem[]): void {
  const uses = new Map(given.map(({ name, use }) => [name.value, use.value]));
  const told = new Set<SourcePlace>();
  const look = (key: string, list: readonly Placed<string>[]): void => {
    const asking = list.findIndex(({ value }) => ASK_FOR_CREDENTIALS.has(uses.get(value) ?? ''));
    const cors = list.slice(asking + 1).find(({ value }) => uses.get(value) === 'cors');
    if (asking < 0 || cors === undefined || told.has(cors.place)) return;
    told.add(cors.place);
    const message = `has ${quoteText(cors.value)} behind ${quoteText(list[asking]?.value ?? '')}, and preflights carry no credentials; put it before`;
    problems.push(problemAt(cors.place, key, message));
  };
  const routes = tables.routes ?? [];
  for (const { name, routes: names, middlewares } of tables.services ?? []) {
    look(`services.${name.value}.middlewares`, middlewares);
    const served = routes.filter((route) => names === undefined || names.some(({ value }) => value === route.name.value));
    for (const route of served) look(`routes.${route.name.value}.middlewares`, [...middlewares, ...route.middlewares]);
  }
  for (const route of routes) look(`routes.${route.name.value}.middlewares`, route.middlewares);
  if (tables.services === undefined && tables.routes === undefined)
    look(
      'middlewares',
      given.map(({ name }) => name),
    );
}

function problemAt(place: SourcePlace, key: string, message: string, suggestion?: string | undefined): ConfigProblem {
  return { source: place.file, place, key, message, suggestion };
}
