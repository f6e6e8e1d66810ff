/** The program `rawslice`: commands, output, exit codes. In this process but for one run of the real thing. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { EdgeError } from '../../src/base/errors.ts';
import { exitCodeFor } from '../../tools/exit-codes.ts';
import { runWords } from '../helpers/run-program.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const DEFAULT_FILE = path.join(ROOT, 'config/default.yaml');

const run = (...words: readonly string[]): ReturnType<typeof runWords> => runWords(words);

test('--help lists the commands on standard output', async () => {
  const { code, stdout, stderr } = await run('--help');
  assert.equal(code, 0);
  assert.match(stdout, /^Usage: rawslice .*\n[\s\S]*\n {2}config [\s\S]*\n {2}version /);
  assert.equal(stderr, '');
});

test('what cannot be understood ends with 2 and a suggestion', async () => {
  assert.deepEqual(await run('versoin'), {
    code: 2,
    stdout: '',
    stderr: "rawslice: unknown command 'versoin'\n(Did you mean version?)\n(rawslice help shows what there is)\n",
  });
  assert.equal((await run()).code, 2);
  assert.match((await run('version', '--jsno')).stderr, /Did you mean --json/);
  assert.equal((await run('config', 'check')).code, 2);
  const set = await run('config', 'check', DEFAULT_FILE, '--set', 'x');
  assert.deepEqual([set.code, set.stderr], [2, 'rawslice: Write --set KEY=VALUE, not --set "x"\n']);
});

test('version prints versions, as text and as JSON', async () => {
  assert.match((await run('version')).stdout, /^rawslice \d+\.\d+\.\d+\nnode \d+\.\d+\.\d+\nformat \d+\n$/);
  const { stdout } = await run('version');
  for (const option of ['--version', '-V']) assert.deepEqual(await run(option), { code: 0, stdout, stderr: '' });
  assert.equal(JSON.parse((await run('version', '--json')).stdout).node, process.versions.node);
});

test('config check says that a file is valid, unless it is to be quiet', async () => {
  assert.deepEqual(await run('config', 'check', DEFAULT_FILE), { code: 0, stdout: '', stderr: `${DEFAULT_FILE} is valid\n` });
  assert.deepEqual(await run('--quiet', 'config', 'check', DEFAULT_FILE), { code: 0, stdout: '', stderr: '' });
});

test('config check shows effective values with their sources', async () => {
  const { stdout } = await run('config', 'check', DEFAULT_FILE, '--print-effective', '--set', 'log.level=debug');
  assert.match(stdout, /^preset +debian {2}# .*default\.yaml:\d+$/m);
  assert.match(stdout, /^log\.level +debug {2}# flag --set log\.level$/m);
  assert.match(stdout, /^admin\.token +\(unset\) {2}# default$/m);
  assert.match(stdout, /^rules\.debian-pool +\/pool\/\.\*\[\^\/\]\$, immutable, ignoreClientCacheControl {2}# preset debian$/m);
  const { stdout: json } = await run('config', 'check', DEFAULT_FILE, '--print-effective', '--json');
  assert.deepEqual(JSON.parse(json).options[0], { key: 'listen', value: '127.0.0.1:8080', source: 'default' });
});

test('config check ends with 78 and every problem', async () => {
  const words = ['config', 'check', DEFAULT_FILE, '--set', 'listen=:1', '--set', 'log.levle=info'];
  const text = await run(...words);
  assert.deepEqual([text.code, text.stdout], [78, '']);
  assert.deepEqual(text.stderr.split('\n'), [
    'flag --set log.levle: log.levle: is not an option; did you mean log.level?',
    'flag --set listen: listen: must name an address: 127.0.0.1:1 for this machine only, 0.0.0.0:1 or [::]:1 for every interface',
    'rawslice: the configuration has 2 problems',
    '',
  ]);
  const json = await run(...words, '--json');
  assert.deepEqual([json.code, json.stderr], [78, '']);
  assert.equal(JSON.parse(json.stdout).problems[0].suggestion, 'log.level');
});

test('--upstream leaves a preset that a variable names, and no file is blamed for either', async () => {
  const words = ['serve', '--upstream', 'http://127.0.0.1:9', '--device', '/dev/rawslice-no-such-device'];
  const { code, stderr } = await runWords(words, { environment: { RAWSLICE_PRESET: 'debain' } });
  assert.equal(code, 78, stderr);
  assert.match(stderr, /^environment RAWSLICE_PRESET: preset: .*did you mean debian\?\nrawslice: the configuration has 1 problem\n$/);
});

test('errors have exit codes', () => {
  assert.deepEqual([new EdgeError('CONFIG_INVALID'), new EdgeError('USAGE'), new EdgeError('DEVICE_HELD')].map(exitCodeFor), [78, 2, 1]);
});

test('tools/cli.ts hands its arguments in and its exit code out', () => {
  const result = spawnSync(process.execPath, [path.join(ROOT, 'tools/cli.ts'), 'config', 'check', '/nonexistent.yaml'], {
    encoding: 'utf8',
  });
  assert.deepEqual([result.status, result.stdout], [78, '']);
  assert.equal(result.stderr, '/nonexistent.yaml: does not exist\nrawslice: /nonexistent.yaml has 1 problem\n');
});
