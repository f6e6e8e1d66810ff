/**
 * The middlewares of a configuration: each record joined with its module's table of options, and the names by which services and routes call them. Called
 * by site-plan.ts. What modules there are is for app to say (a ModuleCatalogue), since config runs nothing.
 */
import type { AnyOptions, OptionFault, OptionTable } from '../base/module-options.ts';
import type { ConfigMiddleware } from './edge-config.ts';
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
}

/** Knows none. */
export const NO_MODULES: ModuleCatalogue = { find: () => ({ kind: 'absent', message: 'is not possible here: no modules are known' }) };

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
  const sources = new Map(given.map(({ name }) => [`middlewares.${name.value}`, `${name.place.file}:${name.place.line}`]));
  return { middlewares, sources };
}

function joinMiddleware(given: GivenMiddleware, input: MiddlewareInput, problems: ConfigProblem[]): ConfigMiddleware | undefined {
  const { name, use, timeoutMs, key } = given;
  const { modules, folder, groups } = input;
  const found = modules.find(use.value, folder);
  if (found.kind === 'absent') {
    problems.push(problemAt(use.place, `${key}.use`, found.message, found.suggestion));
    return undefined;
  }
  const node: Extract<YamlNode, { kind: 'map' }> = given.options ?? { kind: 'map', entries: [], place: given.place };
  const known = problems.length;
  const about = { key: `${key}.options`, table: found.options, surroundings: { groups, folder } };
  const { values, shown, upstreams } = readModuleOptions(node, about, problems);
  if (problems.length > known) return undefined;
  for (const { option, message } of found.check(values)) {
    const place = node.entries.find((entry) => entry.key === option)?.value.place ?? node.place;
    problems.push(problemAt(place, option === undefined ? about.key : `${about.key}.${option}`, message));
  }
  if (problems.length > known) return undefined;
  if (found.isForRoutes(values)) forbidInServices(name, input, problems);
  return { name: name.value, use: found.use, timeoutMs, options: values, shown, upstreams };
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

function problemAt(place: SourcePlace, key: string, message: string, suggestion?: string | undefined): ConfigProblem {
  return { source: place.file, place, key, message, suggestion };
}
