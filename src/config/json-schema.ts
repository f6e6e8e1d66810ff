/**
 * The JSON Schema of a configuration file, for editors: keys, words, bounds and explanations, from the tables that the checks are made of, so that a new key is
 * in it as soon as it is one. It knows the shape of each value, not what values mean together; `config check` has the last word. What a table says in
 * words only (the keys of lists) has its form below; a key without one may be anything. Printed by `rawslice config schema`; config/schema.json is this.
 */
import { FORWARDED_FIELDS, TLS_MIN_VERSIONS } from './edge-config.ts';
import { BALANCE_WORDS, listOptions, type OptionKind, type OptionRow, PRESET_NAMES } from './options.ts';
import {
  CERTIFICATE_KEYS,
  CHECK_KEYS,
  GROUP_KEYS,
  MIDDLEWARE_KEYS,
  NODE_KEYS,
  OUTLIER_KEYS,
  ROUTE_KEYS,
  SERVICE_KEYS,
  TABLE_KEYS,
  type TableKey,
} from './service-tables.ts';
import { RULE_KEYS } from './site-rules.ts';

/** A schema, or a part of one. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** As YAML reads them, and as texts. */
const BOOLEAN: JsonSchema = {
  anyOf: [{ type: 'boolean' }, { type: 'string', pattern: '^(?:[Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF)$' }],
};
const SIZE: JsonSchema = {
  anyOf: [
    { type: 'integer', minimum: 0 },
    { type: 'string', pattern: '^\\s*\\d{1,16}(?:\\.\\d{1,9})?\\s*(?:[bB]|[kmgtKMGT](?:[iI]?[bB])?)?\\s*$' },
  ],
};
const DURATION: JsonSchema = {
  anyOf: [{ const: 0 }, { type: 'string', pattern: '^\\s*(?:0|(?:\\d{1,15}(?:\\.\\d{1,9})?\\s*(?:ms|[smhdwy])\\s*)+)$' }],
};
const TEXT: JsonSchema = { type: 'string', minLength: 1 };
const NAME: JsonSchema = { anyOf: [{ type: 'string', pattern: '^[\\w.-]{1,64}$' }, { type: 'number' }] };
const ADDRESS: JsonSchema = { type: 'string', pattern: '^\\s*(?:(?:\\[[^\\]]+\\]|[^:\\s]+):\\d{1,5}|unix:/.+)\\s*$' };
const URL_TEXT: JsonSchema = { type: 'string', pattern: '^\\s*[hH][tT][tT][pP][sS]?://[^?#\\s]+\\s*$' };
const PATH: JsonSchema = { type: 'string', pattern: '^/' };

/** What an option's value looks like, by its kind. */
const KINDS: Readonly<Record<OptionKind, (row: OptionRow) => JsonSchema>> = {
  address: () => ADDRESS,
  url: () => URL_TEXT,
  duration: () => DURATION,
  size: () => SIZE,
  count: ({ min, max }) => countFrom(Number(min), Number(max)),
  boolean: () => BOOLEAN,
  choice: ({ choices = [] }) => oneOf(choices),
  paths: () => oneOrMore(TEXT),
  networks: () => oneOrMore(TEXT),
  protocols: () => oneOrMore(TEXT),
  file: () => TEXT,
  secret: () => ({ type: 'string', pattern: '^[\\x21-\\x7e]{8,256}$' }),
};

type Forms<Keys extends Readonly<Record<string, string>>> = Readonly<Partial<Record<keyof Keys, JsonSchema>>>;

const RULE_FORMS: Forms<typeof RULE_KEYS> = {
  name: NAME,
  match: TEXT,
  prefix: PATH,
  immutable: BOOLEAN,
  freshFor: DURATION,
  missingFreshFor: DURATION,
  staleWhileRevalidate: DURATION,
  staleIfError: DURATION,
  setCookie: oneOf(['refuse', 'strip', 'keep']),
  checkContentType: BOOLEAN,
  ignoreClientCacheControl: BOOLEAN,
  store: oneOf(['auto', 'always', 'never']),
  encodings: oneOf(['client', 'identity']),
  followRedirects: countFrom(0, 10),
  redirectHosts: TEXT,
};

const CHECK_FORMS: Forms<typeof CHECK_KEYS> = {
  type: oneOf(['http', 'tcp']),
  path: PATH,
  host: TEXT,
  status: oneOrMore({
    anyOf: [
      { type: 'integer', minimum: 100, maximum: 599 },
      { type: 'string', pattern: '^[1-5]\\d\\d(?:-[1-5]\\d\\d)?$' },
    ],
  }),
  body: { type: ['string', 'number', 'boolean'] },
  interval: DURATION,
  timeout: DURATION,
  rise: countFrom(1, 100),
  fall: countFrom(1, 100),
};

const OUTLIER_FORMS: Forms<typeof OUTLIER_KEYS> = {
  failures: countFrom(1, 100),
  errorRate: countFrom(0, 100),
  slowFactor: countFrom(2, 100),
  rest: DURATION,
  restMax: DURATION,
};

const NODE_FORMS: Forms<typeof NODE_KEYS> = {
  url: URL_TEXT,
  weight: countFrom(1, 1000),
  backup: BOOLEAN,
  sni: TEXT,
  verifyCertificate: BOOLEAN,
};

const SERVICE_FORMS: Forms<typeof SERVICE_KEYS> = {
  name: NAME,
  listen: oneOrMore(ADDRESS),
  routes: oneOrMore(NAME),
  certificates: listOf(record(CERTIFICATE_KEYS, { cert: TEXT, key: TEXT }, ['cert', 'key'])),
  tlsMinVersion: { enum: [...TLS_MIN_VERSIONS, ...TLS_MIN_VERSIONS.map(Number)] },
  proxyProtocol: BOOLEAN,
  trustedProxies: oneOrMore(TEXT),
  forwardedField: oneOf(FORWARDED_FIELDS),
  middlewares: oneOrMore(NAME),
};

const ROUTE_FORMS: Forms<typeof ROUTE_KEYS> = {
  name: NAME,
  host: oneOrMore(TEXT),
  prefix: PATH,
  path: PATH,
  match: TEXT,
  methods: oneOrMore({ type: 'string', pattern: '^\\s*[A-Z][A-Z-]{0,31}\\s*$' }),
  upstream: NAME,
  stripPrefix: PATH,
  addPrefix: PATH,
  preset: oneOf(PRESET_NAMES),
  rules: ruleList(),
  sliceSize: SIZE,
  upgrade: oneOrMore(TEXT),
  middlewares: oneOrMore(NAME),
};

const GROUP_FORMS: Forms<typeof GROUP_KEYS> = {
  name: NAME,
  nodes: listOf(record(NODE_KEYS, NODE_FORMS, ['url'])),
  balance: { anyOf: [oneOf(BALANCE_WORDS), { type: 'string', pattern: '/' }] },
  balanceOptions: orNothing({ type: 'object' }),
  hashOn: { type: 'string', pattern: '^\\s*(?:client|path|key|header\\s+\\S+)\\s*$' },
  boundedLoad: countFrom(101, 1000),
  slowStart: DURATION,
  panicThreshold: countFrom(0, 100),
  healthCheck: orNothing(record(CHECK_KEYS, CHECK_FORMS, [])),
  outlier: orNothing(record(OUTLIER_KEYS, OUTLIER_FORMS, [])),
  hostHeader: TEXT,
  preserveHost: BOOLEAN,
  retries: countFrom(0, 10),
  retryBudget: countFrom(0, 1000),
  connectTimeout: DURATION,
  headTimeout: DURATION,
  bodyTimeout: DURATION,
  connections: countFrom(1, 4096),
};

/** What `options` may be is for the module to say. */
const MIDDLEWARE_FORMS: Forms<typeof MIDDLEWARE_KEYS> = {
  name: NAME,
  use: TEXT,
  timeout: DURATION,
  options: orNothing({ type: 'object' }),
};

/** The lists of a file; one that is not here may have any items. */
const TABLES: Readonly<Partial<Record<TableKey, JsonSchema>>> = {
  services: record(SERVICE_KEYS, SERVICE_FORMS, ['name', 'listen']),
  routes: record(ROUTE_KEYS, ROUTE_FORMS, ['name']),
  upstreams: record(GROUP_KEYS, GROUP_FORMS, ['name']),
  middlewares: record(MIDDLEWARE_KEYS, MIDDLEWARE_FORMS, ['name', 'use']),
};

/** The whole schema, in the dialect that editors speak (draft 7). */
export function configJsonSchema(): JsonSchema {
  const properties: Record<string, JsonSchema> = {};
  const sections = new Map<string, Record<string, JsonSchema>>();
  for (const [key, row] of listOptions()) {
    const form = {
      description: plain(row.description),
      ...KINDS[row.kind](row),
      ...(row.default === undefined ? {} : { default: row.default }),
    };
    const [section = '', name] = key.split('.');
    if (name === undefined) properties[section] = form;
    else {
      const known = sections.get(section) ?? {};
      known[name] = form;
      sections.set(section, known);
    }
  }
  // A section whose keys are all commented out is an empty one.
  for (const [section, keys] of sections) properties[section] = { type: ['object', 'null'], additionalProperties: false, properties: keys };
  properties.rules = orNothing(ruleList());
  for (const table of TABLE_KEYS) properties[table] = orNothing(listOf(TABLES[table] ?? {}));
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'rawslice configuration',
    type: ['object', 'null'],
    additionalProperties: false,
    properties,
  };
}

function record<Keys extends Readonly<Record<string, string>>>(
  keys: Keys,
  forms: Forms<Keys>,
  required: readonly (keyof Keys & string)[],
): JsonSchema {
  const properties = Object.fromEntries(
    Object.entries(keys).map(([key, meaning]) => [key, { description: plain(meaning), ...forms[key] }]),
  );
  return { type: 'object', additionalProperties: false, properties, ...(required.length === 0 ? {} : { required }) };
}

function ruleList(): JsonSchema {
  const either = [{ required: ['match'] }, { required: ['prefix'] }];
  return { type: 'array', items: { ...record(RULE_KEYS, RULE_FORMS, ['name']), oneOf: either } };
}

function listOf(items: JsonSchema): JsonSchema {
  return { type: 'array', minItems: 1, items };
}

function oneOrMore(form: JsonSchema): JsonSchema {
  return { anyOf: [form, { type: 'array', minItems: 1, items: form }] };
}

function orNothing(form: JsonSchema): JsonSchema {
  return { anyOf: [form, { type: 'null' }] };
}

function oneOf(words: readonly string[]): JsonSchema {
  return { enum: [...words] };
}

function countFrom(minimum: number, maximum: number): JsonSchema {
  return {
    anyOf: [
      { type: 'integer', minimum, maximum },
      { type: 'string', pattern: '^\\s*\\d{1,15}\\s*$' },
    ],
  };
}

/** Editors show the text as it is. */
function plain(markdown: string): string {
  return markdown.replaceAll('`', '');
}
