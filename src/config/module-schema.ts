/**
 * The options of modules that the program has in the JSON Schema for editors, from the tables that the modules declare: the same that config check reads them by
 * (module-options.ts). It refuses nothing that is taken there. Used by json-schema.ts.
 */
import type { ModuleOption, ModuleOptionKind, OptionTable } from '../base/module-options.ts';
import { BOOLEAN, countFrom, DURATION, type JsonSchema, NAME, oneOrMore, plain, SIZE } from './json-forms.ts';

/** What is written without quotes may look like a number or a word of YAML, and is a text all the same. */
const SCALAR: JsonSchema = { type: ['string', 'number', 'boolean'] };
const SECRET: JsonSchema = { anyOf: [{ type: 'string', pattern: '^[\\x21-\\x7e]{8,512}$' }, { type: 'number' }] };
const FIELD_NAME: JsonSchema = {
  anyOf: [{ type: 'string', pattern: "^\\s*[!#$%&'*+\\-.^_`|~0-9A-Za-z]{1,128}\\s*$" }, { type: 'number' }],
};
const RATE: JsonSchema = { type: 'string', pattern: '^\\s*\\d{1,16}(?:\\.\\d{1,9})?\\s*(?:[bB]|[kmgtKMGT](?:[iI]?[bB])?)?\\s*/s\\s*$' };

const KINDS: Readonly<Record<ModuleOptionKind, (option: ModuleOption) => JsonSchema>> = {
  text: () => SCALAR,
  secret: () => SECRET,
  count: ({ min = '0', max = '999999999999999' }) => countFrom(Number(min), Number(max)),
  boolean: () => BOOLEAN,
  duration: () => DURATION,
  size: () => SIZE,
  rate: () => RATE,
  choice: ({ choices = [] }) => ({ enum: [...choices, ...choices.filter((word) => /^\d+$/.test(word)).map(Number)] }),
  pattern: () => SCALAR,
  file: () => SCALAR,
  upstream: () => NAME,
  texts: () => oneOrMore(SCALAR),
  networks: () => oneOrMore({ type: 'string' }),
  fields: () => pairs(SCALAR),
  secrets: () => pairs(SECRET),
  name: () => FIELD_NAME,
  names: () => oneOrMore(FIELD_NAME),
  weights: () => pairs(countFrom(0, 1000)),
};

/**
 * What follows for a record from the module that its `use` names.
 *
 * @param tables of the modules, by the words that name them
 */
export function moduleConditions(tables: ReadonlyMap<string, OptionTable>): readonly JsonSchema[] {
  return [...tables].map(([word, table]) => ({
    if: { properties: { use: { const: word } } },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: consequence(table),
  }));
}

function consequence(table: OptionTable): JsonSchema {
  const rows = Object.entries(table);
  const properties = Object.fromEntries(
    rows.map(([name, option]) => [
      name,
      {
        description: plain(option.meaning),
        ...KINDS[option.kind](option),
        ...(option.default === undefined ? {} : { default: option.default }),
      },
    ]),
  );
  const required = rows.filter(([, { isRequired }]) => isRequired === true).map(([name]) => name);
  const options = { type: 'object', additionalProperties: false, properties };
  if (required.length === 0) return { properties: { options: { anyOf: [options, { type: 'null' }] } } };
  return { properties: { options: { ...options, required } }, required: ['options'] };
}

/** Keys that are data. */
function pairs(value: JsonSchema): JsonSchema {
  return { type: 'object', minProperties: 1, additionalProperties: value };
}
