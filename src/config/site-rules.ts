/**
 * Site rules as they stand in a file (`rules:` of a configuration or of a preset): which paths, and what holds for them. Reads a YAML list
 * into ConfigRules; whatever is wrong with one is a problem and the others are still read.
 */
import { z } from 'zod';
import { parseDuration } from './duration.ts';
import type { ConfigRule } from './edge-config.ts';
import { invalid, type Parsed, parsed, quoteText } from './parsed.ts';
import type { ConfigProblem, SourcePlace } from './problem.ts';
import { parseName } from './record-reader.ts';
import { fromText, parseBoolean, parseChoice } from './schema.ts';
import { findSuggestion } from './suggestion.ts';
import type { YamlNode } from './yaml-tree.ts';

/** Rules in one list; each costs a regular expression for every request that reaches it. */
const RULES_MAX = 256;
const PATTERN_LENGTH_MAX = 1024;
const REDIRECTS_MAX = 10;
const REDIRECT_HOSTS_MAX = 64;
/** Everything, a suffix, or a name or address with or without a port. */
const REDIRECT_HOST = /^(?:\*|\*\.[a-z0-9.-]+|(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?)$/;
const STORE_WORDS = ['auto', 'always', 'never'] as const;
const ENCODING_WORDS = ['client', 'identity'] as const;
const SET_COOKIE_WORDS = ['refuse', 'strip', 'keep'] as const;

/** Keys of one rule with their meaning, for the reference. Exactly one of `match` and `prefix` is given. */
export const RULE_KEYS = {
  name: 'Name for logs, unique; letters, digits, dot, underscore and hyphen',
  match: 'Regular expression on the path, without query (case matters; not anchored unless it says `^` or `$`)',
  prefix: 'Beginning of the path, instead of `match`',
  immutable: 'The content under this path never changes: `true` or `false` (the default)',
  freshFor: "How long content (status 200) is fresh, in place of the origin's word; errors and redirects keep theirs",
  missingFreshFor: "How long a 404 or 410 is fresh, in place of the origin's word; `immutable` and `freshFor` do not hold for them",
  staleWhileRevalidate:
    "How long past its freshness a response is served at once while it is renewed in the background, in place of the origin's word",
  staleIfError: "How long past its freshness a response may be served while the origin fails, in place of the origin's word",
  setCookie:
    'A response with `Set-Cookie`: `refuse` to store it (the default), `strip` the field and store the rest (the default where `immutable`), or `keep` it for every client',
  checkContentType:
    'Whether content that `immutable` or `freshFor` would make fresh is not stored when its Content-Type contradicts the extension of its path, such as `text/html` for `.css`: `true` (the default) or `false`',
  ignoreClientCacheControl: 'Ignore Cache-Control and Pragma of requests; by default what `immutable` says',
  store:
    '`auto` (the default): a full device keeps what is asked for twice; `always` to keep it at the first request; `never` to pass requests through',
  encodings:
    '`client` (the default): the origin is asked for what the client accepts of br, zstd and gzip, and each encoding is a variant of its own; `identity`: it is asked for none, so that there is one representation for all',
  followRedirects:
    'Redirects in a row that are followed in place of the client, 0 (the default) to 10; the answer is stored under the URL that was asked for. Another origin is sent what says which representation is wanted (`Accept`, `Range` and the like), and nothing of who asks',
  redirectHosts:
    'Hosts that redirects may lead to beside the origin itself, separated by spaces: `host`, `*.suffix` or `*` on the usual port of the scheme at public addresses; `host:port` at any',
} as const;

const RULE_SCHEMA = z.object({
  name: fromText(parseName),
  match: fromText(parsePattern).optional(),
  prefix: fromText(parsePrefix).optional(),
  immutable: fromText(parseBoolean).optional(),
  freshFor: fromText(parseDuration).optional(),
  missingFreshFor: fromText(parseDuration).optional(),
  staleWhileRevalidate: fromText(parseDuration).optional(),
  staleIfError: fromText(parseDuration).optional(),
  setCookie: fromText((text) => parseChoice(text, SET_COOKIE_WORDS)).optional(),
  checkContentType: fromText(parseBoolean).optional(),
  ignoreClientCacheControl: fromText(parseBoolean).optional(),
  store: fromText((text) => parseChoice(text, STORE_WORDS)).optional(),
  encodings: fromText((text) => parseChoice(text, ENCODING_WORDS)).optional(),
  followRedirects: fromText(parseHops).optional(),
  redirectHosts: fromText(parseHosts).optional(),
} satisfies Record<keyof typeof RULE_KEYS, z.ZodType>);

/** A rule with the place that it was read from. */
export interface PlacedRule {
  readonly rule: ConfigRule;
  readonly place: SourcePlace;
}

/** Reads the value of `rules`. Valid rules in order, and a problem for each of the others. */
export function readRules(node: YamlNode): { readonly rules: readonly PlacedRule[]; readonly problems: readonly ConfigProblem[] } {
  const problems: ConfigProblem[] = [];
  const rules: PlacedRule[] = [];
  if (node.kind === 'none') return { rules, problems };
  if (node.kind !== 'list' || node.items.length > RULES_MAX) {
    const message = node.kind === 'list' ? `has ${node.items.length} rules; the limit is ${RULES_MAX}` : 'must be a list of rules';
    return { rules, problems: [{ source: node.place.file, place: node.place, key: 'rules', message }] };
  }
  for (const [index, item] of node.items.entries()) {
    const rule = readRule(item, `rules.${index}`, problems);
    if (rule === undefined) continue;
    const first = rules.find((other) => other.rule.name === rule.name);
    if (first === undefined) rules.push({ rule, place: item.place });
    else
      problems.push(
        problemAt(item.place, `rules.${index}.name`, `is ${quoteText(rule.name)} as in line ${first.place.line}; names are unique`),
      );
  }
  return { rules, problems };
}

function readRule(node: YamlNode, key: string, problems: ConfigProblem[]): ConfigRule | undefined {
  if (node.kind !== 'map') {
    problems.push(problemAt(node.place, key, 'must be a rule: a name, match or prefix, and what holds there'));
    return undefined;
  }
  const known = problems.length;
  const texts: Record<string, string> = {};
  const places = new Map<string, SourcePlace>();
  for (const entry of node.entries) {
    const entryKey = `${key}.${entry.key}`;
    if (!Object.hasOwn(RULE_KEYS, entry.key)) {
      const suggestion = findSuggestion(entry.key, Object.keys(RULE_KEYS));
      problems.push({ ...problemAt(entry.keyPlace, entryKey, 'is not a key of a rule'), suggestion });
    } else if (entry.value.kind === 'text') {
      texts[entry.key] = entry.value.text;
      places.set(entry.key, entry.value.place);
    } else {
      problems.push(problemAt(entry.value.place, entryKey, 'must have one value'));
    }
  }
  const result = RULE_SCHEMA.safeParse(texts);
  for (const issue of result.error?.issues ?? []) {
    const field = String(issue.path[0]);
    const message = places.has(field) ? issue.message : 'is required';
    problems.push(problemAt(places.get(field) ?? node.place, `${key}.${field}`, message));
  }
  const message = findContradiction(texts);
  if (message !== undefined) problems.push(problemAt(node.place, key, message));
  return result.success && problems.length === known ? toRule(result.data) : undefined;
}

/** What is wrong with the keys taken together; values are looked at elsewhere. */
function findContradiction(texts: Readonly<Record<string, string>>): string | undefined {
  if ((texts.match === undefined) === (texts.prefix === undefined)) {
    return texts.match === undefined ? 'needs match or prefix' : 'has both match and prefix; keep one';
  }
  if (texts.redirectHosts !== undefined && texts.followRedirects === undefined) return 'has redirectHosts without followRedirects; add it';
  if (texts.checkContentType !== undefined && texts.freshFor === undefined && texts.immutable === undefined)
    return 'has checkContentType without immutable or freshFor, whose content it is about; add one';
  const kept = ['immutable', 'freshFor', 'missingFreshFor', 'staleWhileRevalidate', 'staleIfError', 'setCookie'].filter(
    (key) => texts[key] !== undefined,
  );
  if (texts.store === 'never' && kept.length > 0)
    return `stores nothing (store: never), so ${kept.join(' and ')} cannot hold; leave one out`;
  return undefined;
}

function toRule(values: z.output<typeof RULE_SCHEMA>): ConfigRule {
  const isImmutable = values.immutable ?? false;
  return {
    name: values.name,
    pattern: values.match ?? new RegExp(`^${escapePattern(values.prefix ?? '')}`, 'u'),
    isImmutable,
    freshForMs: values.freshFor,
    missingFreshForMs: values.missingFreshFor,
    staleWhileRevalidateMs: values.staleWhileRevalidate,
    staleIfErrorMs: values.staleIfError,
    setCookie: values.setCookie ?? (isImmutable ? 'strip' : 'refuse'),
    checksContentType: values.checkContentType ?? true,
    ignoresClientCacheControl: values.ignoreClientCacheControl ?? isImmutable,
    store: values.store ?? 'auto',
    encodings: values.encodings ?? 'client',
    ...(values.followRedirects ? { redirects: { hopsMax: values.followRedirects, hosts: values.redirectHosts ?? [] } } : {}),
  };
}

function parseHops(text: string): Parsed<number> {
  return /^\d{1,2}$/.test(text) && Number(text) <= REDIRECTS_MAX
    ? parsed(Number(text))
    : invalid(`must be a number from 0 to ${REDIRECTS_MAX}, not ${quoteText(text)}`);
}

function parseHosts(text: string): Parsed<readonly string[]> {
  const hosts = text.trim().toLowerCase().split(/\s+/);
  const wrong = hosts.find((host) => !REDIRECT_HOST.test(host));
  if (wrong !== undefined) return invalid(`must be hosts such as cdn.example, *.cdn.example, 10.0.0.7:8080 or *, not ${quoteText(wrong)}`);
  return hosts.length > REDIRECT_HOSTS_MAX ? invalid(`has ${hosts.length} hosts; the limit is ${REDIRECT_HOSTS_MAX}`) : parsed(hosts);
}

/** Reads a regular expression on paths. */
export function parsePattern(text: string): Parsed<RegExp> {
  if (text === '' || text.length > PATTERN_LENGTH_MAX)
    return invalid(`must be a regular expression of 1 to ${PATTERN_LENGTH_MAX} characters`);
  try {
    return parsed(new RegExp(text, 'u'));
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^.*: /s, '') : String(error);
    return invalid(`is not a regular expression: ${reason.slice(0, 1).toLowerCase()}${reason.slice(1)}`);
  }
}

function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}

/** Reads the beginning of a path. */
export function parsePrefix(text: string): Parsed<string> {
  if (!text.startsWith('/') || text.length > PATTERN_LENGTH_MAX)
    return invalid(`must be a path that begins with a slash, not ${quoteText(text)}`);
  return parsed(text);
}

function problemAt(place: SourcePlace, key: string, message: string): ConfigProblem {
  return { source: place.file, place, key, message };
}
