// Builds fs-ext against the headers of the Node that will run the program, proves that it loads, and marks the install as whole.
// Runs after every install. `node` is by then the one in node_modules/.bin where the optional package for this platform exists.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(path.dirname(process.execPath), '..');
const environment = { ...process.env };
// The environment wins over a user's own .npmrc; without it fs-ext would be compiled for whatever Node runs npm.
if (existsSync(path.join(root, 'include/node/node_api.h'))) environment.npm_config_nodedir = root;

const build = spawnSync('node-gyp', ['rebuild', '--silent', '--directory', 'node_modules/fs-ext'], { encoding: 'utf8', env: environment });
if (build.status !== 0) {
  process.stderr.write(`${build.stdout ?? ''}${build.stderr ?? ''}\n`);
  process.stderr.write('rawslice: building fs-ext failed; install python3, make and g++, then run npm ci again\n');
  process.exit(build.status ?? 1);
}
await import('fs-ext');

// The install is whole: bootstrap.mjs looks for this, and need not install again after somebody's own `npm ci`.
const lock = readFileSync('package-lock.json');
writeFileSync('node_modules/.rawslice-lock', createHash('sha256').update(lock).digest('hex'));
