/**
 * The outcome of reading one text form (a size, a duration, an address). Wrong input is expected here, so it is a verdict and not an
 * error; the message says what would be right and ends up behind the key in a problem.
 */

/** A value, or the reason why the text is not one: a clause without full stop that names what was received. */
export type Parsed<T> = { readonly kind: 'ok'; readonly value: T } | { readonly kind: 'invalid'; readonly message: string };

/** The text was understood. */
export function parsed<T>(value: T): Parsed<T> {
  return { kind: 'ok', value };
}

/** The text was not understood. */
export function invalid(message: string): { readonly kind: 'invalid'; readonly message: string } {
  return { kind: 'invalid', message };
}

/** `text` in quotes for a message, cut to 60 characters, control characters escaped. */
export function quoteText(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}
