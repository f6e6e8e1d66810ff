/** FORMAT.md and the code's tables say the same, in both directions. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { CONTENTS_ENTRY, CONTENTS_HEADER, CONTENTS_MAGIC } from '../../src/format/checkpoint-contents.ts';
import { CHECKPOINT_ENTRY, CHECKPOINT_HEADER, CHECKPOINT_MAGIC } from '../../src/format/checkpoint-part.ts';
import { EXTENT_HEADER, EXTENT_MAGIC } from '../../src/format/extent-header.ts';
import type { Field } from '../../src/format/field-layout.ts';
import { FORMAT_BLOCK, FORMAT_FIRST_WORDS, FORMAT_MAGIC } from '../../src/format/format-block.ts';
import { JOURNAL_HEADER, JOURNAL_MAGIC, JOURNAL_RECORD } from '../../src/format/journal-block.ts';
import { MANIFEST_MAGIC, MANIFEST_RECORD } from '../../src/format/manifest-record.ts';
import { SUPERBLOCK, SUPERBLOCK_MAGIC } from '../../src/format/superblock.ts';

const PAGE = readFileSync(path.resolve(import.meta.dirname, '../../FORMAT.md'), 'utf8');

const TABLES: Readonly<Record<string, Readonly<Record<string, Field>>>> = {
  'Format block': FORMAT_BLOCK,
  Superblock: SUPERBLOCK,
  'Journal block': JOURNAL_HEADER,
  'Journal record': JOURNAL_RECORD,
  'Checkpoint part': CHECKPOINT_HEADER,
  'Checkpoint entry': CHECKPOINT_ENTRY,
  'Table of contents': CONTENTS_HEADER,
  'Table of contents entry': CONTENTS_ENTRY,
  'Extent header': EXTENT_HEADER,
  'Manifest record': MANIFEST_RECORD,
};

for (const [title, layout] of Object.entries(TABLES)) {
  test(`FORMAT.md describes the ${title.toLowerCase()}`, () => {
    const section = PAGE.split(`### ${title}\n`)[1]?.split('\n## ')[0]?.split('\n### ')[0] ?? '';
    const rows = [...section.matchAll(/^\| (\d+) \| (\d+) \| (\w+) \| `(\w+)` \|/gm)].map((row) => row.slice(1).join(' '));
    const fields = Object.entries(layout).map(([name, field]) => `${field.offset} ${field.size} ${field.type} ${name}`);
    assert.deepEqual(rows, fields);
  });
}

test('FORMAT.md has no other tables of fields, and names every magic', () => {
  assert.equal(PAGE.match(/^\| offset \|/gm)?.length, Object.keys(TABLES).length);
  for (const magic of [FORMAT_MAGIC, SUPERBLOCK_MAGIC, JOURNAL_MAGIC, CHECKPOINT_MAGIC, CONTENTS_MAGIC, EXTENT_MAGIC, MANIFEST_MAGIC]) {
    assert.ok(PAGE.includes(`\`${magic}\``), magic);
  }
  assert.ok(PAGE.includes(`\`${FORMAT_FIRST_WORDS}`));
});
