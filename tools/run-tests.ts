/**
 * `npm test`: finds the test files and hands them to node:test. `npm test -- NAME...` runs the files whose path contains one of the names;
 * `--fast` leaves out the scenarios with real clients and the simulation.
 */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const words = process.argv.slice(2);
const isFast = words.includes('--fast');
const names = words.filter((word) => !word.startsWith('--'));

const files = globSync('test/**/*.test.ts', { cwd: root })
  .sort()
  .filter((file) => names.length === 0 || names.some((name) => file.includes(name)))
  .filter((file) => !isFast || !/^test\/(clients|simulation)\//.test(file));

if (files.length === 0) {
  process.stderr.write(`No test file matches ${names.join(', ')}; they are under test/\n`);
  process.exit(2);
}
const run = spawnSync(process.execPath, ['--test', '--test-concurrency=2', '--test-timeout=120000', ...files], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '16' },
});
process.exit(run.status ?? 1);
