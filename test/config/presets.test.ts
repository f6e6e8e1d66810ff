/** Presets: every file is valid, and each rule is found for the paths of real mirrors. */
import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { PRESET_NAMES, type PresetName } from '../../src/config/options.ts';
import { presetFile, readPreset } from '../../src/config/presets.ts';

/** The name of the first rule that matches, without the preset's name. */
function ruleFor(name: PresetName, requestPath: string): string | undefined {
  return readPreset(name)
    .rules.find(({ rule }) => rule.pattern.test(requestPath))
    ?.rule.name.slice(name.length + 1);
}

test('there is a valid file for every preset, and a preset for every file', () => {
  const files = globSync('*.yaml', { cwd: path.dirname(presetFile('generic')) }).sort();
  assert.deepEqual(files, PRESET_NAMES.map((name) => `${name}.yaml`).sort());
  for (const name of PRESET_NAMES) {
    const { description, rules, problems } = readPreset(name);
    assert.deepEqual(problems, [], name);
    assert.notEqual(description, '');
    for (const { rule } of rules) {
      assert.ok(rule.name.startsWith(`${name}-`), rule.name);
      const isMutable = rule.freshForMs !== undefined && rule.staleIfErrorMs !== undefined;
      assert.equal(Number(rule.isImmutable) + Number(isMutable) + Number(rule.store === 'never'), 1, `${rule.name} says exactly one thing`);
    }
  }
});

const CASES: readonly (readonly [PresetName, string, string | undefined])[] = [
  ['debian', '/debian/pool/main/b/bash/bash_5.2.15-2+b7_amd64.deb', 'pool'],
  ['debian', '/debian/pool/main/b/bash/', undefined],
  ['debian', '/debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/0123abcd', 'by-hash'],
  ['debian', '/debian/dists/bookworm/InRelease', 'indexes'],
  ['debian', '/debian/dists/bookworm/main/binary-amd64/Packages.xz', 'indexes'],
  ['debian', '/debian/project/trace/master', 'trace'],
  ['debian', '/archive/debian/20240101T000000Z/dists/sid/InRelease', 'snapshot'],
  ['debian', '/debian/doc/README', undefined],
  ['ubuntu', '/ubuntu/pool/universe/z/zsh/zsh_5.9_amd64.deb', 'pool'],
  ['ubuntu', '/releases/24.04/ubuntu-24.04.1-live-server-amd64.iso', 'images'],
  ['ubuntu', '/releases/24.04/SHA256SUMS', 'image-sums'],
  ['ubuntu', '/noble/current/noble-server-cloudimg-amd64.img', 'image-sums'],
  ['fedora', '/linux/releases/42/Everything/x86_64/os/Packages/b/bash-5.2.37-1.fc42.x86_64.rpm', 'packages'],
  ['fedora', `/linux/updates/42/repodata/${'0a'.repeat(32)}-primary.xml.zst`, 'hashed-repodata'],
  ['fedora', '/linux/updates/42/repodata/repomd.xml', 'repomd'],
  ['fedora', '/metalink', 'mirror-lists'],
  ['fedora', '/linux/releases/42/Server/x86_64/iso/Fedora-Server-dvd-x86_64-42-1.1.iso', 'images'],
  ['arch', '/core/os/x86_64/bash-5.2.037-1-x86_64.pkg.tar.zst', 'packages'],
  ['arch', '/core/os/x86_64/bash-5.2.037-1-x86_64.pkg.tar.zst.sig', 'packages'],
  ['arch', '/core/os/x86_64/core.db', 'databases'],
  ['arch', '/core/os/x86_64/core.db.tar.gz.sig', 'databases'],
  ['arch', '/lastsync', 'markers'],
  ['arch', '/iso/2026.11.01/archlinux-2026.11.01-x86_64.iso', 'images'],
  ['arch', '/iso/latest/archlinux-x86_64.iso', 'latest-image'],
  ['alpine', '/alpine/v3.22/main/x86_64/bash-5.2.37-r0.apk', 'packages'],
  ['alpine', '/alpine/v3.22/main/x86_64/APKINDEX.tar.gz', 'indexes'],
  ['alpine', '/alpine/v3.22/releases/x86_64/alpine-standard-3.22.1-x86_64.iso', 'images'],
  ['pypi', `/packages/ab/cd/${'0f'.repeat(30)}/numpy-2.0-cp313-manylinux.whl.metadata`, 'files'],
  ['pypi', '/simple/numpy/', 'index'],
  ['pypi', '/pypi/numpy/json', 'index'],
  ['npm', '/lodash/-/lodash-4.17.21.tgz', 'tarballs'],
  ['npm', '/@types/node/-/node-26.0.0.tgz', 'tarballs'],
  ['npm', '/@types%2fnode', 'documents'],
  ['npm', '/@types/node', 'documents'],
  ['npm', '/lodash', 'documents'],
  ['npm', '/-/v1/search', 'calls'],
  ['iso', '/images/debian-12.7.0-amd64-netinst.iso', 'images'],
  ['iso', '/debian-cd/current/amd64/iso-cd/debian-12.7.0-amd64-netinst.iso', 'moving'],
  ['iso', '/images/12/SHA256SUMS', 'moving'],
  ['iso', '/images/disk-2026.qcow2.xz', 'images'],
  ['iso', '/images/readme.txt', undefined],
  ['generic', '/anything.deb', undefined],
];

test('presets say the right thing of the paths of real mirrors', () => {
  for (const [name, requestPath, rule] of CASES) assert.equal(ruleFor(name, requestPath), rule, `${name} ${requestPath}`);
});
