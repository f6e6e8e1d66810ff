/**
 * Temporary directories that are gone when the test is. Uses the system's place for temporary files.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** What of a node:test context is used here: something to be done after the test. */
export interface AfterHook {
  after(callback: () => Promise<void>): void;
}

/** A fresh directory, removed after the test `context`, also when it fails. */
export async function temporaryDirectory(context: AfterHook): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'rawslice-test-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Runs `act` with a fresh directory and removes it afterwards; returns what `act` returned. */
export async function withTemporaryDirectory<Result>(act: (directory: string) => Promise<Result>): Promise<Result> {
  const directory = await mkdtemp(path.join(tmpdir(), 'rawslice-test-'));
  try {
    return await act(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
