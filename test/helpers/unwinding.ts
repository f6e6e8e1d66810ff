/** Undoing in the opposite order: node:test runs the hooks of a test first to last, but a process must end before its device goes. */
import type { TestContext } from 'node:test';
import type { AfterHook } from './temp.ts';

const stacks = new WeakMap<TestContext, (() => Promise<void>)[]>();

/** A hook like the test's own, but the last one registered runs first; one that fails does not keep the others from running. */
export function unwinding(context: TestContext): AfterHook {
  let stack = stacks.get(context);
  if (stack === undefined) {
    stack = [];
    stacks.set(context, stack);
    const undoAll = stack;
    context.after(async () => {
      const errors: unknown[] = [];
      for (const undo of undoAll.reverse()) await undo().catch((error: unknown) => errors.push(error));
      if (errors.length > 0) throw new AggregateError(errors, 'undoing failed');
    });
  }
  const own = stack;
  return { after: (callback) => void own.push(callback) };
}
