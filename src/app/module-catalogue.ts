/**
 * The modules that a configuration can name: those that are shipped, by their word, and those of one's own, by the path of their file. A file is loaded once
 * in the life of the process, by Node itself, TypeScript as it is; its code is as trusted as the configuration that names it. Used by load-config.ts.
 */
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { systemErrorCode } from '../base/errors.ts';
import type { AnyOptions, OptionFault, OptionTable } from '../base/module-options.ts';
import type { FoundModule, ModuleCatalogue } from '../config/middleware-plan.ts';
import { findTableFault } from '../config/module-options.ts';
import { findSuggestion } from '../config/suggestion.ts';
import { checkedField } from '../middleware/editable-head.ts';
import { INTERFACE_VERSION, type MiddlewareModule } from '../middleware/middleware.ts';
import { SHIPPED } from '../middleware/shipped/shipped.ts';
import { BALANCER_INTERFACE_VERSION, type BalancerModule } from '../upstream/balancer-module.ts';

type AnyMiddleware = MiddlewareModule<OptionTable>;
type AnyBalancer = BalancerModule<OptionTable>;
type Kind = 'middleware' | 'balancer';
type Absent = Extract<FoundModule, { kind: 'absent' }>;
type Loaded = { readonly kind: 'ok'; readonly module: unknown; readonly fingerprint: string } | Absent;

const EVENTS_MAX = 16;
const VERSIONS: Readonly<Record<Kind, number>> = { middleware: INTERFACE_VERSION, balancer: BALANCER_INTERFACE_VERSION };

/** Modules that were loaded already; code is a matter of the process, so this is one of the module's own few states. */
class Modules implements ModuleCatalogue {
  readonly #files = new Map<string, Loaded>();

  find(use: string, folder: string): FoundModule {
    const name = use.includes('/') ? path.resolve(folder, use) : use;
    const found = this.#middleware(name);
    if (found.kind === 'absent') return found;
    const { module } = found;
    return {
      kind: 'ok',
      use: name,
      options: module.options,
      check: (values) => checkOptions(module, values),
      isForRoutes: (values) => (module.originFields?.(values) ?? []).length > 0,
    };
  }

  findBalancer(use: string, folder: string): FoundModule {
    const name = path.resolve(folder, use);
    const found = this.#balancer(name);
    if (found.kind === 'absent') return found;
    const { module } = found;
    return { kind: 'ok', use: name, options: module.options, check: (values) => checkOptions(module, values), isForRoutes: () => false };
  }

  /** The module itself; undefined for what find() did not find. @param use as find() gave it */
  middleware(use: string): AnyMiddleware | undefined {
    const found = this.#middleware(use);
    return found.kind === 'ok' ? found.module : undefined;
  }

  /** As middleware(), for what findBalancer() gave. */
  balancer(use: string): AnyBalancer | undefined {
    const found = this.#balancer(use);
    return found.kind === 'ok' ? found.module : undefined;
  }

  /** Whether the file of a module is another one now than the one that was loaded. */
  hasChanged(use: string): boolean {
    const loaded = this.#files.get(use);
    return loaded?.kind === 'ok' && fingerprintOf(use) !== loaded.fingerprint;
  }

  #middleware(use: string): { readonly kind: 'ok'; readonly module: AnyMiddleware } | Absent {
    if (!use.includes('/')) return shipped(use);
    const loaded = this.#load(use);
    if (loaded.kind === 'absent') return loaded;
    const { module } = loaded;
    const fault = findFault(module, 'middleware');
    return fault === undefined && isMiddleware(module) ? { kind: 'ok', module } : absentFile(use, fault);
  }

  #balancer(use: string): { readonly kind: 'ok'; readonly module: AnyBalancer } | Absent {
    const loaded = this.#load(use);
    if (loaded.kind === 'absent') return loaded;
    const { module } = loaded;
    const fault = findFault(module, 'balancer');
    return fault === undefined && isBalancer(module) ? { kind: 'ok', module } : absentFile(use, fault);
  }

  #load(file: string): Loaded {
    const known = this.#files.get(file);
    if (known !== undefined) return known;
    const loaded = loadFile(file);
    // What could not be loaded may have been mended by the next reload.
    if (loaded.kind === 'ok') this.#files.set(file, loaded);
    return loaded;
  }
}

/** The catalogue of this process. */
export const MODULES = new Modules();

function absentFile(file: string, fault = 'whose default export is none'): Absent {
  return { kind: 'absent', message: `names ${file}, ${fault}` };
}

/** A module from outside may throw, or return anything. */
function checkOptions(module: AnyMiddleware | AnyBalancer, values: AnyOptions): readonly OptionFault[] {
  try {
    const faults = [...(module.check?.(values) ?? [])];
    if ('originFields' in module) for (const [name, value] of module.originFields?.(values) ?? []) checkedField(name, value);
    return faults;
  } catch (error) {
    return [{ message: `cannot be checked by the module: ${error instanceof Error ? error.message : String(error)}` }];
  }
}

function shipped(word: string): { readonly kind: 'ok'; readonly module: AnyMiddleware } | Absent {
  const module = SHIPPED.get(word);
  if (module !== undefined) return { kind: 'ok', module };
  const words = [...SHIPPED.keys()];
  const message = `must be one of ${words.join(', ')}, or the path of a module such as ./${word.replace(/\W/g, '') || 'mine'}.ts, not ${JSON.stringify(word)}`;
  return { kind: 'absent', message, suggestion: findSuggestion(word, words) };
}

function loadFile(file: string): Loaded {
  const fingerprint = fingerprintOf(file);
  if (fingerprint === undefined) return absentFile(file, 'which cannot be read');
  try {
    const namespace: unknown = createRequire(import.meta.url)(file);
    const module: unknown = typeof namespace === 'object' && namespace !== null && 'default' in namespace ? namespace.default : undefined;
    return { kind: 'ok', module, fingerprint };
  } catch (error) {
    if (systemErrorCode(error) === 'ERR_REQUIRE_ASYNC_MODULE')
      return absentFile(file, 'which awaits something while it is loaded; do that in create() or a hook');
    const why = error instanceof Error ? `${error.name}: ${error.message.split('\n', 1)[0]}` : String(error);
    return absentFile(file, `which cannot be loaded: ${why}`);
  }
}

/** A clause on what is wrong with the default export of a file. */
function findFault(module: unknown, kind: Kind): string | undefined {
  if (typeof module !== 'object' || module === null) return `which has no default export that is a ${kind}`;
  if (!('interfaceVersion' in module) || module.interfaceVersion !== VERSIONS[kind]) {
    const version = 'interfaceVersion' in module ? String(module.interfaceVersion) : 'none';
    return `which is written for interface version ${version}; this program has ${VERSIONS[kind]}`;
  }
  const itsKind = 'kind' in module ? module.kind : 'middleware';
  if (itsKind !== kind) return `which is a ${String(itsKind)}, and no ${kind}`;
  if (!('create' in module) || typeof module.create !== 'function') return 'whose default export has no function create';
  if (!('options' in module) || typeof module.options !== 'object' || module.options === null) return 'whose default export has no options';
  if (!isMiddleware(module)) return undefined;
  const fault = findTableFault(module.options);
  if (fault !== undefined) return `of which ${fault}`;
  const { events = [] } = module;
  if (!Array.isArray(events) || events.length > EVENTS_MAX || events.some((event) => !/^[a-z][a-z0-9-]{0,63}$/.test(String(event))))
    return `whose events are not ${EVENTS_MAX} words at most, in lower case`;
  return undefined;
}

/** Once findFault() has found none. */
function isMiddleware(module: unknown): module is AnyMiddleware {
  return typeof module === 'object' && module !== null && 'create' in module && 'options' in module;
}

/** Once findFault() has found none. */
function isBalancer(module: unknown): module is AnyBalancer {
  return typeof module === 'object' && module !== null && 'create' in module && 'options' in module;
}

function fingerprintOf(file: string): string | undefined {
  try {
    return hash('sha256', readFileSync(file), 'hex');
  } catch {
    return undefined;
  }
}
