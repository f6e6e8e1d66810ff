/**
 * The state file of prewarm: names of finished items, one a line, appended as they finish, so that a run that was broken off goes on where
 * it stood. Only whole lines count; a crash can leave the beginning of one.
 */
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { EdgeError, systemErrorCode } from '../../src/base/errors.ts';

/** Names that are finished; without a file it remembers nothing. */
export class FinishedList {
  readonly #names: Set<string>;
  readonly #file: FileHandle | undefined;

  private constructor(names: Set<string>, file: FileHandle | undefined) {
    this.#names = names;
    this.#file = file;
  }

  /** @param path the state file, made when it does not exist; undefined for none. @throws EdgeError USAGE when it cannot be used */
  static async open(path: string | undefined): Promise<FinishedList> {
    if (path === undefined) return new FinishedList(new Set(), undefined);
    try {
      const file = await open(path, 'a+', 0o644);
      const text = await readFile(path, 'utf8');
      const end = text.lastIndexOf('\n') + 1;
      if (end < text.length) await file.truncate(Buffer.byteLength(text.slice(0, end)));
      const names = text.slice(0, end).split('\n');
      return new FinishedList(new Set(names.filter((name) => name !== '')), file);
    } catch (cause) {
      throw new EdgeError('USAGE', `The state file ${path} cannot be used (${systemErrorCode(cause) ?? String(cause)})`, { cause });
    }
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  /** Remembers `name`, also over runs. */
  async add(name: string): Promise<void> {
    // One write call on a file opened for appending; concurrent ones do not mix.
    await this.#file?.write(`${name}\n`);
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }
}
