/** What is in JSON of others: a member of a kind, or nothing. */

/** JSON's objects. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** @returns undefined for what is no JSON */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Whoever asks says what it should have been.
    return undefined;
  }
}

/** Whether it is an object, and no list. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The member as an object; an empty one where it is none. */
export function objectAt(value: JsonObject, name: string): JsonObject {
  const member = value[name];
  return isObject(member) ? member : {};
}

/** The member as a list; an empty one where it is none. */
export function listAt(value: JsonObject, name: string): readonly unknown[] {
  const member = value[name];
  return Array.isArray(member) ? member : [];
}

/** The member as text; empty where it is none. */
export function textAt(value: JsonObject, name: string): string {
  const member = value[name];
  return typeof member === 'string' ? member : '';
}

/** The member as a number, also where it is written as text; undefined where it is none. */
export function numberAt(value: JsonObject, name: string): number | undefined {
  const member = value[name];
  const number = typeof member === 'string' && /^\d{1,15}$/.test(member) ? Number(member) : member;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}
