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

type AnyModule = MiddlewareModule<OptionTable>;
type Loaded = { readonly kind: 'ok'; readonly module: AnyModule; readonly fingerprint: string } | Extract<FoundModule, { kind: 'absent' }>;

const EVENTS_MAX = 16;

/** Modules that were loaded already; code is a matter of the process, so this is one of the module's own few states. */
class Modules implements ModuleCatalogue {
  readonly #files = new Map<string, Loaded>();

  find(use: string, folder: string): FoundModule {
    const isFile = use.includes('/');
    const name = isFile ? path.resolve(folder, use) : use;
    const loaded = isFile ? this.#load(name) : shipped(use);
    if (loaded.kind === 'absent') return loaded;
    const { module } = loaded;
    return {
      kind: 'ok',
      use: name,
      options: module.options,
      check: (values) => checkOptions(module, values),
      isForRoutes: (values) => (module.originFields?.(values) ?? []).length > 0,
    };
  }

  /** The module itself; undefined for what find() did not find. @param use as find() gave it */
  module(use: string): AnyModule | undefined {
    const loaded = use.includes('/') ? this.#load(use) : shipped(use);
    return loaded.kind === 'ok' ? loaded.module : undefined;
  }

  /** Whether the file of a module is another one now than the one that was loaded. */
  hasChanged(use: string): boolean {
    const loaded = this.#files.get(use);
    return loaded?.kind === 'ok' && fingerprintOf(use) !== loaded.fingerprint;
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

/** A module from outside may throw, or return anything. */
function checkOptions(module: AnyModule, values: AnyOptions): readonly OptionFault[] {
  try {
    const faults = [...(module.check?.(values) ?? [])];
    for (const [name, value] of module.originFields?.(values) ?? []) checkedField(name, value);
    return faults;
  } catch (error) {
    return [{ message: `cannot be checked by the module: ${error instanceof Error ? error.message : String(error)}` }];
  }
}

function shipped(word: string): Loaded {
  const module = SHIPPED.get(word);
  if (module !== undefined) return { kind: 'ok', module, fingerprint: '' };
  const words = [...SHIPPED.keys()];
  const message = `must be one of ${words.join(', ')}, or the path of a module such as ./${word.replace(/\W/g, '') || 'mine'}.ts, not ${JSON.stringify(word)}`;
  return { kind: 'absent', message, suggestion: findSuggestion(word, words) };
}

function loadFile(file: string): Loaded {
  const absent = (message: string): Loaded => ({ kind: 'absent', message });
  const fingerprint = fingerprintOf(file);
  if (fingerprint === undefined) return absent(`names ${file}, which cannot be read`);
  try {
    const namespace: unknown = createRequire(import.meta.url)(file);
    const module: unknown = typeof namespace === 'object' && namespace !== null && 'default' in namespace ? namespace.default : undefined;
    const fault = findFault(module);
    if (fault !== undefined) return absent(`names ${file}, ${fault}`);
    return isModule(module) ? { kind: 'ok', module, fingerprint } : absent(`names ${file}, whose default export is no middleware`);
  } catch (error) {
    if (systemErrorCode(error) === 'ERR_REQUIRE_ASYNC_MODULE')
      return absent(`names ${file}, which awaits something while it is loaded; do that in create() or a hook`);
    const why = error instanceof Error ? `${error.name}: ${error.message.split('\n', 1)[0]}` : String(error);
    return absent(`names ${file}, which cannot be loaded: ${why}`);
  }
}

/** A clause on what is wrong with the default export of a file. */
function findFault(module: unknown): string | undefined {
  if (typeof module !== 'object' || module === null) return 'which has no default export that is a middleware';
  if (!('interfaceVersion' in module) || module.interfaceVersion !== INTERFACE_VERSION) {
    const version = 'interfaceVersion' in module ? String(module.interfaceVersion) : 'none';
    return `which is written for interface version ${version}; this program has ${INTERFACE_VERSION}`;
  }
  if (!('create' in module) || typeof module.create !== 'function') return 'whose default export has no function create';
  if (!('options' in module) || typeof module.options !== 'object' || module.options === null) return 'whose default export has no options';
  if (!isModule(module)) return undefined;
  const fault = findTableFault(module.options);
  if (fault !== undefined) return `of which ${fault}`;
  const { events = [] } = module;
  if (!Array.isArray(events) || events.length > EVENTS_MAX || events.some((event) => !/^[a-z][a-z0-9-]{0,63}$/.test(String(event))))
    return `whose events are not ${EVENTS_MAX} words at most, in lower case`;
  return undefined;
}

function isModule(module: unknown): module is AnyModule {
  return typeof module === 'object' && module !== null && 'create' in module && 'options' in module;
}

function fingerprintOf(file: string): string | undefined {
  try {
    return hash('sha256', readFileSync(file), 'hex');
  } catch {
    return undefined;
  }
}
