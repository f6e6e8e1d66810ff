/**
 * What an operator (or a preset) says about some paths of a site, over and above what the origin's header fields say. Rules are tried in
 * order and the first whose pattern matches the path decides; a path that none matches gets plain RFC 9111.
 */
import type { RedirectRule } from '../http/redirect-target.ts';

/** One rule. */
export interface SiteRule {
  /** Name for logs and `rules explain`, unique within a site. */
  readonly name: string;
  /** Tested against the normalised path (no query). */
  readonly pattern: RegExp;
  /** The content under this path never changes: fresh for `freshForMs` (default a year) whatever origin and client say about freshness. */
  readonly isImmutable: boolean;
  /** How long a 200 is fresh after it was received or revalidated, replacing the origin's word; undefined = the origin decides. */
  readonly freshForMs: number | undefined;
  /** How long a 404 or 410 is fresh, replacing the origin's word; undefined = the origin decides. No other key speaks of them. */
  readonly missingFreshForMs: number | undefined;
  /** How long a stale response may be served while it is being renewed, replacing the origin's word; undefined = the origin decides. */
  readonly staleWhileRevalidateMs: number | undefined;
  /** How long after that it may be served while the origin fails, replacing the origin's word; undefined = the origin decides. */
  readonly staleIfErrorMs: number | undefined;
  /** `refuse`: a response with Set-Cookie is not stored. `strip`: it is, without the cookie. `keep`: with it, for everybody. */
  readonly setCookie: 'refuse' | 'strip' | 'keep';
  /** Whether what this rule would make fresh is not stored when its Content-Type contradicts the extension of its path. */
  readonly checksContentType: boolean;
  /** Whether Cache-Control and Pragma of requests are ignored (mirror clients send max-age=0 on everything). */
  readonly ignoresClientCacheControl: boolean;
  /** `never`: requests pass through. `always`: kept at the first request, also by a full device. */
  readonly store: 'auto' | 'always' | 'never';
  /** `client`: the origin is asked for what the client accepts of br, zstd and gzip. `identity`: for no encoding, whoever asks. */
  readonly encodings: 'client' | 'identity';
  /** Redirects of the origin that are followed on the client's behalf; undefined: none. */
  readonly redirects?: RedirectRule | undefined;
}

/** The rule where none matches: the origin's word, RFC 9111. */
export const PLAIN_RULE: SiteRule = {
  name: 'plain',
  pattern: /^/,
  isImmutable: false,
  freshForMs: undefined,
  missingFreshForMs: undefined,
  staleWhileRevalidateMs: undefined,
  staleIfErrorMs: undefined,
  setCookie: 'refuse',
  checksContentType: true,
  ignoresClientCacheControl: false,
  store: 'auto',
  encodings: 'client',
};

/** The first rule whose pattern matches `path`, else PLAIN_RULE. */
export function findSiteRule(rules: readonly SiteRule[], path: string): SiteRule {
  return rules.find((rule) => rule.pattern.test(path)) ?? PLAIN_RULE;
}
