/**
 * Ctrl-C and SIGTERM for commands that can end in good order: the first asks them to, a second one ends the process at once. Used by serve
 * and prewarm.
 */
import type { Clock } from '../src/base/clock.ts';
import { EXIT_CODES } from './exit-codes.ts';

/** npm, timeout(1) and others pass on a signal that the terminal has sent to the whole group; that is the first one again. */
const ECHO_MS = 500;
const NAMES = ['SIGINT', 'SIGTERM'] as const;

/**
 * Calls `stop` once, for the first signal.
 *
 * @returns lets go of the signals, which then do what they usually do
 */
export function watchSignals(clock: Clock, stop: (signal: NodeJS.Signals) => void): () => void {
  let firstMs: number | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    const nowMs = clock.monotonicMs();
    if (firstMs === undefined) {
      firstMs = nowMs;
      stop(signal);
    } else if (nowMs - firstMs >= ECHO_MS) process.exit(EXIT_CODES.failure);
  };
  for (const name of NAMES) process.on(name, onSignal);
  return () => {
    for (const name of NAMES) process.off(name, onSignal);
  };
}

/** Runs `act` with a signal that aborts when the user wants the command to end. */
export async function withInterrupt<Result>(clock: Clock, act: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  const letGo = watchSignals(clock, () => controller.abort());
  try {
    return await act(controller.signal);
  } finally {
    letGo();
  }
}
