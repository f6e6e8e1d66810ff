/** `npm run docs`: writes the generated parts of the documentation anew. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { collectMetrics, GENERATED_PAGES, renderParts, renderSchema, SCHEMA_FILE, updatePage } from './generated-docs.ts';

const root = path.resolve(import.meta.dirname, '..');
const parts = renderParts(await collectMetrics(root));
for (const page of GENERATED_PAGES) {
  const file = path.join(root, page);
  writeFileSync(file, updatePage(readFileSync(file, 'utf8'), parts));
}
writeFileSync(path.join(root, SCHEMA_FILE), renderSchema());
