/** `redirect`: answers with a redirect, where the path matches. */
import type { OptionFault, OptionValues } from '../../base/module-options.ts';
import { isFieldValue } from '../../http/header-fields.ts';
import type { EarlyAnswer, Exchange, Middleware, MiddlewareModule } from '../middleware.ts';

const OPTIONS = {
  to: {
    kind: 'text',
    isRequired: true,
    meaning:
      'Where it leads: a URL or a path, with `{host}` (without port), `{path}`, `{query}` (with its `?`) and `$1` to `$9` of `match`',
  },
  match: { kind: 'pattern', meaning: 'Regular expression on the path; others pass. Left out: all' },
  status: {
    kind: 'choice',
    choices: ['301', '302', '303', '307', '308'],
    default: '302',
    meaning: 'The status; 301 and 308 are remembered by browsers',
  },
  insecureOnly: { kind: 'boolean', default: 'false', meaning: 'Requests that came by TLS pass: for `to: https://{host}{path}{query}`' },
} as const;

type Options = OptionValues<typeof OPTIONS>;

/** What a client sends must not become a part of the host. */
const ABSOLUTE = /^https?:\/\/(?:\{host\}|[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?(?:$|\/|\?|\{path\}|\{query\})/i;

/** The module. */
export const REDIRECT: MiddlewareModule<typeof OPTIONS> = {
  interfaceVersion: 1,
  options: OPTIONS,
  check: findFaults,
  create: (options) => new Redirect(options),
};

class Redirect implements Middleware {
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  onRequest(exchange: Exchange): EarlyAnswer | undefined {
    const { match, to, status, insecureOnly } = this.#options;
    if (insecureOnly && exchange.isSecure) return undefined;
    const found = match === undefined ? [] : match.exec(exchange.path);
    if (found === null) return undefined;
    const target = locationOf(to, exchange, found);
    if (!isFieldValue(target)) return undefined;
    return { status: Number(status), fields: [['location', target]] };
  }
}

/** A path that would lead to another host (`//host`, `/\host`) is one of this host. */
function locationOf(template: string, { host = '', path, query }: Exchange, groups: readonly (string | undefined)[]): string {
  const values: Readonly<Record<string, string>> = {
    '{host}': host.replace(/:\d*$/, ''),
    '{path}': path,
    '{query}': query === undefined ? '' : `?${query}`,
  };
  const target = template.replace(/\{(?:host|path|query)\}|\$[1-9]/g, (name) => values[name] ?? groups[Number(name.slice(1))] ?? '');
  return target.startsWith('/') ? target.replace(/^[/\\]+/, '/') : target;
}

function findFaults({ to, match }: Options): readonly OptionFault[] {
  const faults: OptionFault[] = [];
  if (!to.startsWith('/') && !to.startsWith('{path}') && !ABSOLUTE.test(to))
    faults.push({ option: 'to', message: 'must be a path or a URL whose host is written out or {host}, followed by a path' });
  if (/\$[1-9]/.test(to) && match === undefined) faults.push({ option: 'to', message: 'has parts of match, and there is no match' });
  return faults;
}
