/** The forms that values have in the JSON Schema of a configuration, as YAML reads them and as texts. Used by json-schema.ts and module-schema.ts. */

/** A schema, or a part of one. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** As YAML reads them, and as texts. */
export const BOOLEAN: JsonSchema = {
  anyOf: [{ type: 'boolean' }, { type: 'string', pattern: '^(?:[Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF)$' }],
};
/** Bytes, with a unit or without. */
export const SIZE: JsonSchema = {
  anyOf: [
    { type: 'integer', minimum: 0 },
    { type: 'string', pattern: '^\\s*\\d{1,16}(?:\\.\\d{1,9})?\\s*(?:[bB]|[kmgtKMGT](?:[iI]?[bB])?)?\\s*$' },
  ],
};
/** With units. */
export const DURATION: JsonSchema = {
  anyOf: [{ const: 0 }, { type: 'string', pattern: '^\\s*(?:0|(?:\\d{1,15}(?:\\.\\d{1,9})?\\s*(?:ms|[smhdwy])\\s*)+)$' }],
};
/** Any text. */
export const TEXT: JsonSchema = { type: 'string', minLength: 1 };
/** Of a record. */
export const NAME: JsonSchema = { anyOf: [{ type: 'string', pattern: '^[\\w.-]{1,64}$' }, { type: 'number' }] };
/** To listen on. */
export const ADDRESS: JsonSchema = { type: 'string', pattern: '^\\s*(?:(?:\\[[^\\]]+\\]|[^:\\s]+):\\d{1,5}|unix:/.+)\\s*$' };
/** http or https. */
export const URL_TEXT: JsonSchema = { type: 'string', pattern: '^\\s*[hH][tT][tT][pP][sS]?://[^?#\\s]+\\s*$' };
/** Of a URL. */
export const PATH: JsonSchema = { type: 'string', pattern: '^/' };

/** A list with something in it. */
export function listOf(items: JsonSchema): JsonSchema {
  return { type: 'array', minItems: 1, items };
}

/** One, or a list of them. */
export function oneOrMore(form: JsonSchema): JsonSchema {
  return { anyOf: [form, { type: 'array', minItems: 1, items: form }] };
}

/** As a section whose keys are all commented out. */
export function orNothing(form: JsonSchema): JsonSchema {
  return { anyOf: [form, { type: 'null' }] };
}

/** One of these words. */
export function oneOf(words: readonly string[]): JsonSchema {
  return { enum: [...words] };
}

/** A whole number. */
export function countFrom(minimum: number, maximum: number): JsonSchema {
  return {
    anyOf: [
      { type: 'integer', minimum, maximum },
      { type: 'string', pattern: '^\\s*\\d{1,15}\\s*$' },
    ],
  };
}

/** Editors show the text as it is. */
export function plain(markdown: string): string {
  return markdown.replaceAll('`', '');
}
