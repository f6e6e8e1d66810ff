/**
 * Assertions say what a programmer got wrong; they stay on in production and are cheap.
 * Never assert on what a client, an origin or a disk may send: that is a verdict or an EdgeError.
 */

/** Thrown when the program contradicts itself; nothing catches it on purpose. */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure';
}

/**
 * Stops the program's current task when `condition` is false.
 *
 * @param message what should have held; a thunk where building the text costs something
 * @throws AssertionFailure
 */
export function assert(condition: boolean, message: string | (() => string)): asserts condition {
  if (!condition) throw new AssertionFailure(typeof message === 'string' ? message : message());
}

/** Marks a branch that the types say cannot be reached. @throws AssertionFailure always */
export function unreachable(value: never): never {
  throw new AssertionFailure(`unreachable value ${JSON.stringify(value)}`);
}

/** The value, when it is there; a missing one is a programmer's error. @throws AssertionFailure */
export function must<T>(value: T | undefined | null, message: string | (() => string)): T {
  assert(value !== undefined && value !== null, message);
  return value;
}
