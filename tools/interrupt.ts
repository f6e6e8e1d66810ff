/** Ctrl-C for commands that can end in good order: the first SIGINT or SIGTERM asks them to, a second one ends the process as usual. */

/** Runs `act` with a signal that aborts when the user wants the command to end. */
export async function withInterrupt<Result>(act: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  const interrupt = (): void => controller.abort();
  const names = ['SIGINT', 'SIGTERM'] as const;
  for (const name of names) process.once(name, interrupt);
  try {
    return await act(controller.signal);
  } finally {
    for (const name of names) process.off(name, interrupt);
  }
}
