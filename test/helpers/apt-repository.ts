/**
 * A Debian archive made for a test: real packages built by dpkg-deb, with Packages and Release as an archive has them (SHA-256, by-hash,
 * signed where gpg is there), put onto a scripted origin; and an apt of its own that knows nothing of the machine's. Used by test/clients.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { bodyBytes } from './body.ts';
import { hasTool } from './loop-device.ts';
import type { Origin } from './origin.ts';
import { mustRunTool, runTool, type ToolRun } from './run-tool.ts';

/** Old enough to be a strong validator (RFC 9110 8.8.2.2), young enough for apt. */
const MODIFIED = 'Wed, 01 Jan 2025 00:00:00 GMT';
const SUITE = 'stable';
const ARCHITECTURE = 'amd64';

/** One package of the archive. */
export interface BuiltPackage {
  readonly name: string;
  readonly version: string;
  /** Path below the archive's root. */
  readonly poolPath: string;
  readonly bytes: Buffer;
}

/** The archive at the origin. */
export interface AptRepository {
  readonly packages: readonly BuiltPackage[];
  /** Path of the Packages.gz by its hash, below the archive's root. */
  readonly byHashPath: string;
  readonly packagesGz: Buffer;
  /** `[signed-by=...]` or `[trusted=yes]`. */
  readonly sourceOptions: string;
}

/** Why no archive can be built or used here, or undefined. */
export function aptObstacle(): string | undefined {
  return ['apt-get', 'dpkg-deb'].every(hasTool) ? undefined : 'apt-get and dpkg-deb are not installed';
}

/** Builds one package whose payload is `payloadBytes` of noise, so that its length is its payload's. */
export async function buildPackage(folder: string, wish: { name: string; version: string; payloadBytes: number }): Promise<BuiltPackage> {
  const { name, version, payloadBytes } = wish;
  const root = path.join(folder, `${name}-${version}`);
  await mkdir(path.join(root, 'DEBIAN'), { recursive: true });
  await mkdir(path.join(root, 'usr/share', name), { recursive: true });
  const fields = [`Package: ${name}`, `Version: ${version}`, 'Architecture: all', 'Maintainer: Tests <tests@example.org>'];
  await writeFile(path.join(root, 'DEBIAN/control'), `${fields.join('\n')}\nDescription: a package made of noise\n`);
  await writeFile(path.join(root, 'usr/share', name, 'noise'), bodyBytes({ name: `${name}-${version}`, version: 1 }, 0, payloadBytes));
  const file = path.join(folder, `${name}_${version}_all.deb`);
  await mustRunTool('dpkg-deb', ['--root-owner-group', '-Znone', '--build', root, file]);
  return { name, version, poolPath: `pool/main/${name.slice(0, 1)}/${name}/${path.basename(file)}`, bytes: await readFile(file) };
}

/** Puts an archive of these packages onto `origin` below `/debian`. @param isSigned with InRelease, which needs gpg */
export async function publish(
  origin: Origin,
  folder: string,
  wish: { packages: readonly BuiltPackage[]; isSigned: boolean },
): Promise<AptRepository> {
  const { packages, isSigned } = wish;
  const put = (name: string, bytes: Buffer): void => {
    origin.setObject(`/debian/${name}`, { body: bytes, lastModified: MODIFIED });
  };
  for (const one of packages) put(one.poolPath, one.bytes);
  const plain = Buffer.from(packages.map(stanza).join('\n'));
  const packagesGz = gzipSync(plain);
  const directory = `main/binary-${ARCHITECTURE}`;
  const indexes = new Map([
    [`${directory}/Packages`, plain],
    [`${directory}/Packages.gz`, packagesGz],
  ]);
  for (const [name, bytes] of indexes) {
    put(`dists/${SUITE}/${name}`, bytes);
    put(`dists/${SUITE}/${directory}/by-hash/SHA256/${sha256(bytes)}`, bytes);
  }
  const release = releaseText(indexes);
  put(`dists/${SUITE}/Release`, Buffer.from(release));
  const byHashPath = `dists/${SUITE}/${directory}/by-hash/SHA256/${sha256(packagesGz)}`;
  if (!isSigned) return { packages, byHashPath, packagesGz, sourceOptions: '[trusted=yes]' };
  const { signed, keyring } = await sign(folder, release);
  put(`dists/${SUITE}/InRelease`, signed);
  return { packages, byHashPath, packagesGz, sourceOptions: `[signed-by=${keyring}]` };
}

function stanza({ name, version, poolPath, bytes }: BuiltPackage): string {
  const fields = [`Package: ${name}`, `Version: ${version}`, 'Architecture: all', 'Maintainer: Tests <tests@example.org>'];
  const place = [`Filename: ${poolPath}`, `Size: ${bytes.length}`, `SHA256: ${sha256(bytes)}`];
  return `${[...fields, ...place].join('\n')}\nDescription: a package made of noise\n`;
}

function releaseText(indexes: ReadonlyMap<string, Buffer>): string {
  const fields = ['Origin: rawslice tests', `Suite: ${SUITE}`, `Codename: ${SUITE}`, `Date: ${MODIFIED.replace('GMT', 'UTC')}`];
  const lists = [`Architectures: all ${ARCHITECTURE}`, 'Components: main', 'Acquire-By-Hash: yes', 'SHA256:'];
  const sums = [...indexes].map(([name, bytes]) => ` ${sha256(bytes)} ${bytes.length} ${name}`);
  return `${[...fields, ...lists, ...sums].join('\n')}\n`;
}

async function sign(folder: string, release: string): Promise<{ signed: Buffer; keyring: string }> {
  const home = path.join(folder, 'gnupg');
  await mkdir(home, { mode: 0o700 });
  const keyring = path.join(folder, 'archive-key.gpg');
  await writeFile(path.join(folder, 'Release'), release);
  const gpg = (...words: string[]): Promise<string> =>
    mustRunTool('gpg', ['--homedir', home, '--batch', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', '', ...words]);
  try {
    await gpg('--quick-generate-key', 'tests@example.org', 'ed25519', 'sign', 'never');
    await gpg('--output', keyring, '--export');
    await gpg('--output', path.join(folder, 'InRelease'), '--clearsign', path.join(folder, 'Release'));
  } finally {
    await runTool('gpgconf', ['--homedir', home, '--kill', 'gpg-agent']);
  }
  return { signed: await readFile(path.join(folder, 'InRelease')), keyring };
}

/** An apt whose whole world is one directory. */
export class IsolatedApt {
  /** Where packages are downloaded to. */
  readonly archives: string;
  readonly #configuration: string;

  private constructor(directory: string) {
    this.archives = path.join(directory, 'cache/archives');
    this.#configuration = path.join(directory, 'apt.conf');
  }

  /** Makes the tree below `directory`. @param source the line of sources.list after `deb` */
  static async create(directory: string, source: string): Promise<IsolatedApt> {
    const apt = new IsolatedApt(directory);
    for (const folder of ['etc/apt.conf.d', 'etc/preferences.d', 'state/lists/partial', 'cache/archives/partial', 'log'])
      await mkdir(path.join(directory, folder), { recursive: true });
    await writeFile(path.join(directory, 'status'), '');
    await writeFile(path.join(directory, 'etc/sources.list'), `deb ${source} ${SUITE} main\n`);
    const lines = [
      `Dir "${directory}";`,
      `Dir::State "state"; Dir::State::status "${directory}/status"; Dir::Cache "cache"; Dir::Etc "etc"; Dir::Log "log";`,
      `APT::Architecture "${ARCHITECTURE}"; APT::Architectures { "${ARCHITECTURE}"; }; APT::Sandbox::User "root";`,
      'Acquire::Languages "none"; Acquire::Retries "0"; Acquire::http::Proxy "DIRECT";',
    ];
    await writeFile(apt.#configuration, `${lines.join('\n')}\n`);
    return apt;
  }

  /** `apt-get WORDS`; any exit is a result. */
  run(...words: string[]): Promise<ToolRun> {
    return runTool('apt-get', ['--yes', '--quiet', ...words], { environment: { APT_CONFIG: this.#configuration } });
  }

  /** `apt-get WORDS` that must succeed without a warning. @returns what it printed */
  async mustRun(...words: string[]): Promise<string> {
    const { exit, stdout, stderr } = await this.run(...words);
    if (exit !== 0 || /^[WE]: /m.test(stderr)) throw new Error(`apt-get ${words.join(' ')} ended with ${exit}\n${stdout}${stderr}`);
    return stdout;
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
