/**
 * Lists of preferences with weights: Accept, Accept-Language, Accept-Charset (RFC 9110 s12.4.2, s12.5). The normal form differs only where
 * the grammar says that nothing is meant by it: case, white space, how a weight is written, and the order of members of different weight.
 * Members of one weight keep their order, since origins look at it (s12.5.4).
 */
import { splitList, trimWhitespace } from './header-fields.ts';

/** RFC 9110 s12.4.2. */
const WEIGHT = /^q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/i;
const WEIGHTED_NAME = /^[!#$%&'*+\-.^_`|~/0-9A-Za-z]+$/;

/** The weight in a parameter such as `q=0.5`, 0 to 1; undefined when it is none. */
export function parseWeight(parameter: string): number | undefined {
  const digits = WEIGHT.exec(parameter)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The normal form; a value with a member that breaks the grammar, or with parameters beside the weight, stays as it is. */
export function normaliseWeightedList(value: string): string {
  const members: { readonly name: string; readonly weight: number }[] = [];
  for (const member of splitList(value)) {
    const [name = '', parameter, ...rest] = member.split(';').map(trimWhitespace);
    const weight = parameter === undefined ? 1 : parseWeight(parameter);
    if (rest.length > 0 || weight === undefined || !WEIGHTED_NAME.test(name)) return value;
    members.push({ name: name.toLowerCase(), weight });
  }
  members.sort((one, other) => other.weight - one.weight);
  return members.map(({ name, weight }) => (weight === 1 ? name : `${name};q=${weight}`)).join(', ');
}
