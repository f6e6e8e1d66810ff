/**
 * Which route takes a request: of a service's routes the first, in the order in which they are written, that matches host, path and method. The
 * lists of candidates for each host are made when the router is, so that a look-up is one in a map and then path matchers in a row. Pure; made
 * by app, asked by the stage *route* and for purges.
 */

/** Which paths a route takes. */
export type PathMatch =
  | { readonly kind: 'any' }
  /** In whole segments. */
  | { readonly kind: 'prefix'; readonly path: string }
  | { readonly kind: 'exact'; readonly path: string }
  | { readonly kind: 'pattern'; readonly pattern: RegExp };

/** What a route matches by. */
export interface RouteMatch {
  /** Lower-case names and `*.suffix`; empty for any, and for requests that name none. */
  readonly hosts: readonly string[];
  readonly path: PathMatch;
  /** Upper-case; undefined for any. GET is HEAD too. */
  readonly methods: readonly string[] | undefined;
}

/** A request as far as routes look at it. */
export interface RoutedRequest {
  /** Normalised, perhaps with a port, which does not count. */
  readonly host: string | undefined;
  /** Normalised, without query. */
  readonly path: string;
  readonly method: string;
}

/** The route, or how far the request came. `methods`: those that routes of this host and path take. */
export type RouteVerdict<Route> =
  | { readonly kind: 'route'; readonly route: Route }
  | { readonly kind: 'absent'; readonly why: 'host' | 'path' }
  | { readonly kind: 'absent'; readonly why: 'method'; readonly methods: readonly string[] };

/** The routes of one service. */
export class Router<Route extends { readonly match: RouteMatch }> {
  readonly routes: readonly Route[];
  readonly #exact = new Map<string, readonly Route[]>();
  /** By suffix, without `*.`. */
  readonly #wildcards = new Map<string, readonly Route[]>();
  readonly #others: readonly Route[];

  /** @param routes in the order in which they are tried */
  constructor(routes: readonly Route[]) {
    this.routes = routes;
    this.#others = routes.filter(({ match }) => match.hosts.length === 0);
    for (const pattern of new Set(routes.flatMap(({ match }) => match.hosts))) {
      if (pattern.startsWith('*.')) this.#wildcards.set(pattern.slice(2), this.#matching(pattern));
      else this.#exact.set(pattern, this.#matching(pattern));
    }
  }

  /** The first route that matches. */
  find({ host, path, method }: RoutedRequest): RouteVerdict<Route> {
    const candidates = this.candidates(host);
    if (candidates.length === 0) return { kind: 'absent', why: 'host' };
    let methods: string[] | undefined;
    for (const route of candidates) {
      const { match } = route;
      if (!matchesPath(match.path, path)) continue;
      if (matchesMethod(match.methods, method)) return { kind: 'route', route };
      methods = [...(methods ?? []), ...(match.methods ?? [])];
    }
    return methods === undefined ? { kind: 'absent', why: 'path' } : { kind: 'absent', why: 'method', methods: [...new Set(methods)] };
  }

  /** Routes that answer for a host, in their order. */
  candidates(host: string | undefined): readonly Route[] {
    if (host === undefined) return this.#others;
    const name = hostName(host);
    const exact = this.#exact.get(name);
    if (exact !== undefined) return exact;
    // All suffixes of a host that have routes end the longest one, whose list has theirs too.
    for (let dot = this.#wildcards.size === 0 ? -1 : name.indexOf('.', 1); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const found = this.#wildcards.get(name.slice(dot + 1));
      if (found !== undefined) return found;
    }
    return this.#others;
  }

  /** @param name a host, or for all that have no list of their own `*.suffix` */
  #matching(name: string): readonly Route[] {
    const isOf = (pattern: string): boolean =>
      pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) && name.length >= pattern.length : pattern === name;
    return this.routes.filter(({ match }) => match.hosts.length === 0 || match.hosts.some(isOf));
  }
}

/** Whether a path is one of those that a route takes. */
export function matchesPath(match: PathMatch, path: string): boolean {
  switch (match.kind) {
    case 'any':
      return true;
    case 'exact':
      return path === match.path;
    case 'prefix':
      return isBelow(path, match.path);
    case 'pattern':
      return match.pattern.test(path);
  }
}

/** The path behind a prefix of whole segments; the path itself where it does not begin so. */
export function withoutPrefix(path: string, prefix: string): string {
  if (prefix === '' || !isBelow(path, prefix)) return path;
  return path.length === prefix.length ? '/' : path.slice(prefix.length);
}

function isBelow(path: string, prefix: string): boolean {
  return path.startsWith(prefix) && (path.length === prefix.length || prefix.endsWith('/') || path[prefix.length] === '/');
}

function matchesMethod(methods: readonly string[] | undefined, method: string): boolean {
  return methods === undefined || methods.includes(method) || (method === 'HEAD' && methods.includes('GET'));
}

/** Without port, and without the dot that ends a name which is written out in full. */
function hostName(host: string): string {
  const name = host.replace(/:\d*$/, '');
  return name.endsWith('.') ? name.slice(0, -1) : name;
}
