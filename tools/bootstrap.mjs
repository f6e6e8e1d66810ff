// Makes `npm start`, `npm test` and `npm run ...` work on a fresh clone: installs once, and again when the lock file has changed.
// Every install that comes to its end leaves the lock file's hash in node_modules (build-native.mjs).
// Plain JavaScript that an old Node understands, because it runs before the right Node is there.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const stamp = path.join(root, 'node_modules/.rawslice-lock');
const lock = createHash('sha256')
  .update(readFileSync(path.join(root, 'package-lock.json')))
  .digest('hex');

if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== lock) {
  process.stderr.write('rawslice: installing packages (once, about half a minute)\n');
  const install = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: root, stdio: ['ignore', 2, 2] });
  if (install.status !== 0) {
    process.stderr.write('rawslice: npm ci failed; it needs the npm registry, python3, make and g++ (for fs-ext)\n');
    process.exit(install.status || 1);
  }
}
