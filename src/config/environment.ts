/**
 * Options from environment variables: `RAWSLICE_UPSTREAM__CONNECT_TIMEOUT` is `upstream.connectTimeout` (two underscores for the dot, one
 * before each capital). An empty variable counts as unset, because container files hand on variables that nobody has filled in.
 */
import { OPTION_KEYS, type OptionKey } from './options.ts';
import type { ConfigProblem } from './problem.ts';
import { findSuggestion } from './suggestion.ts';

const PREFIX = 'RAWSLICE_';

/** An option's value from outside the file: key, text, and what to call the source in a problem. */
export type ConfigOverride = readonly [key: string, text: string, source: string];

/** The name of the variable that sets `key`. */
export function environmentName(key: OptionKey): string {
  return PREFIX + key.replace(/[A-Z]/g, '_$&').replaceAll('.', '__').toUpperCase();
}

/**
 * Finds options in an environment. A variable with `__` that names no option is a problem; one without is a problem only when it looks
 * like a misspelt option, because others use the prefix too (Kubernetes sets RAWSLICE_SERVICE_HOST for a service of that name).
 */
export function readEnvironment(environment: Readonly<Record<string, string | undefined>>): {
  readonly overrides: readonly ConfigOverride[];
  readonly problems: readonly ConfigProblem[];
} {
  const keys = new Map<string, OptionKey>(OPTION_KEYS.map((key) => [environmentName(key), key]));
  const overrides: ConfigOverride[] = [];
  const problems: ConfigProblem[] = [];
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith(PREFIX) || text === undefined || text === '') continue;
    const source = `environment ${name}`;
    const key = keys.get(name);
    if (key !== undefined) {
      overrides.push([key, text, source]);
      continue;
    }
    const hasSection = name.includes('__');
    const suggestion = findSuggestion(
      name.slice(PREFIX.length),
      [...keys.keys()].filter((other) => other.includes('__') === hasSection).map(withoutPrefix),
    );
    if (!hasSection && suggestion === undefined) continue;
    problems.push({ source, message: 'names no option', suggestion: suggestion === undefined ? undefined : PREFIX + suggestion });
  }
  return { overrides, problems };
}

function withoutPrefix(name: string): string {
  return name.slice(PREFIX.length);
}
