/** Modules of one's own for tests: a file with the text of a module, and a door to what it exports beside. */
import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { withTemporaryDirectory } from './temp.ts';

/** A module in a file. */
export interface ModuleFile {
  readonly file: string;
  /** What it exports, once it was loaded; the program and the test see one module. */
  readonly exported: () => Readonly<Record<string, unknown>>;
}

/** Runs with a module whose default export has these members, as source, beside interfaceVersion. @param more further source, before it */
export async function withModule(members: string, run: (module: ModuleFile) => Promise<void>, more = ''): Promise<void> {
  const text = `${more}\nexport const seen: string[] = [];\nexport default { interfaceVersion: 1, options: {}, ${members} };\n`;
  await withTemporaryDirectory(async (folder) => {
    const file = path.join(folder, 'module.ts');
    await writeFile(file, text);
    await run({ file, exported: () => createRequire(import.meta.url)(file) });
  });
}
