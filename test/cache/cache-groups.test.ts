/** Cache groups as RFC 9875 has them: Lists of Strings, of the site alone, told apart from every tag of an origin. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupTags, INVALIDATED_GROUPS_MAX, invalidatedGroupTags } from '../../src/cache/cache-groups.ts';
import { siteNameOf } from '../../src/cache/cache-key.ts';
import { hasTagField, tagsOf } from '../../src/cache/cache-tags.ts';

const groups = (...lines: readonly string[]): readonly string[] =>
  groupTags(
    lines.map((line) => ['cache-groups', line] as const),
    'site',
  ).map((tag) => tag.slice(tag.indexOf(' ') + 1));

test('row 55 (RFC 9875 s2): a List of Strings; parameters do not count, and what is no such list is ignored as a whole', () => {
  assert.deepEqual(groups('"scripts", "Scripts";x=1', '"two words", "", "a\\"b"'), ['scripts', 'Scripts', 'two words', '', 'a"b']);
  for (const line of ['scripts', '"a", b', '("a")', '"a",', '"a', '1', '"\u00e9"', '']) assert.deepEqual(groups(line), [], line);
});

test('row 55 (RFC 9875 s2): 32 groups of 32 characters at least, on a site with a long name', () => {
  const names = Array.from({ length: 32 }, (_, at) => `${at}`.padEnd(32, 'x'));
  const fields = [['cache-groups', names.map((name) => `"${name}"`).join(', ')]] as const;
  assert.equal(tagsOf(fields, 'a'.repeat(255))?.length, 32);
  assert.equal(hasTagField(fields), true);
});

test('row 55 (RFC 9875 s2.1): a group is of its site, and no tag of an origin is one', () => {
  const field = [['cache-groups', '"g"']] as const;
  const [tag = ''] = groupTags(field, 'one.example');
  assert.notDeepEqual(groupTags(field, 'other.example'), [tag]);
  assert.equal(tagsOf([['surrogate-key', tag]], 'one.example')?.includes(tag), false);
  assert.equal(siteNameOf('one.example/a/b'), 'one.example');
});

test('row 55 (RFC 9875 s3): Cache-Group-Invalidation names each group once, and many of them', () => {
  const named = Array.from({ length: INVALIDATED_GROUPS_MAX + 2 }, (_, at) => `"${at}"`);
  const { tags, excess } = invalidatedGroupTags([['cache-group-invalidation', [...named, '"0"'].join()]], 's');
  assert.deepEqual([tags.length, excess], [INVALIDATED_GROUPS_MAX, 2]);
  assert.deepEqual(tags.slice(0, 1), groupTags([['cache-groups', '"0"']], 's'));
  assert.deepEqual(invalidatedGroupTags([['cache-group-invalidation', 'g']], 's'), { tags: [], excess: 0 });
});
