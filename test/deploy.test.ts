/** What deploy/ holds is valid by the tool of its kind, where that is installed, and names only metrics, options and files that there are. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { environmentName } from '../src/config/environment.ts';
import { OPTIONS } from '../src/config/options.ts';

const ROOT = path.resolve(import.meta.dirname, '..');
const DEPLOY = path.join(ROOT, 'deploy');
const METRICS = new Set(
  readFileSync(path.join(ROOT, 'METRICS.md'), 'utf8')
    .match(/`rawslice_\w+`/g)
    ?.map((name) => name.slice(1, -1)),
);
/** What a histogram is scraped as. */
const SUFFIX = /_(?:bucket|sum|count)$/;

function read(name: string): string {
  return readFileSync(path.join(DEPLOY, name), 'utf8');
}

function isMissing(program: string): string | false {
  return spawnSync('which', [program], { stdio: 'ignore' }).status === 0 ? false : `${program} is not installed`;
}

test('rules and dashboard name metrics that there are', () => {
  for (const name of ['prometheus-rules.yaml', 'grafana-dashboard.json']) {
    const named = new Set(read(name).match(/rawslice_\w+/g));
    assert.ok(named.size > 5, name);
    const unknown = [...named].filter((metric) => !METRICS.has(metric) && !METRICS.has(metric.replace(SUFFIX, '')));
    assert.deepEqual(unknown, [], name);
  }
});

test('rules have what Prometheus wants of them', () => {
  const { groups } = parse(read('prometheus-rules.yaml')) as { groups: { rules: Record<string, unknown>[] }[] };
  for (const rule of groups.flatMap(({ rules }) => rules)) {
    assert.deepEqual(
      Object.keys(rule).filter((key) => !['alert', 'expr', 'for', 'labels', 'annotations'].includes(key)),
      [],
    );
    assert.ok(typeof rule.alert === 'string' && typeof rule.expr === 'string');
  }
});

test('promtool takes the rules', { skip: isMissing('promtool') }, () => {
  const { status, stderr } = spawnSync('promtool', ['check', 'rules', path.join(DEPLOY, 'prometheus-rules.yaml')], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});

test('the dashboard is JSON whose panels do not overlap', () => {
  const { panels } = JSON.parse(read('grafana-dashboard.json')) as {
    panels: { id: number; gridPos: { x: number; y: number; w: number; h: number } }[];
  };
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  assert.equal(new Set(panels.map(({ gridPos: { x, y } }) => `${x} ${y}`)).size, panels.length);
  for (const { gridPos } of panels) assert.ok(gridPos.x + gridPos.w <= 24);
});

test('systemd takes the units', { skip: isMissing('systemd-analyze') }, () => {
  for (const name of readdirSync(DEPLOY).filter((file) => /\.(?:service|socket)$/.test(file))) {
    const { stderr } = spawnSync('systemd-analyze', ['verify', path.join(DEPLOY, name)], { encoding: 'utf8' });
    // The program is not installed where tests run.
    const problems = stderr.split('\n').filter((line) => line.includes('rawslice') && !line.includes('is not executable'));
    assert.deepEqual(problems, [], name);
  }
});

test('systemd-sysusers takes the user', { skip: isMissing('systemd-sysusers') }, () => {
  const file = path.join(DEPLOY, 'rawslice.sysusers.conf');
  const { status, stderr } = spawnSync('systemd-sysusers', ['--dry-run', file], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});

test('the container copies files that there are, and compose names options that there are', () => {
  for (const [, sources = ''] of read('Containerfile').matchAll(/^COPY (?!--)(.+) \S+$/gm))
    for (const source of sources.split(' ')) assert.ok(existsSync(path.join(ROOT, source)), source);
  const { services } = parse(read('compose.yaml')) as {
    services: { rawslice: { environment: Record<string, string>; build: { dockerfile: string } } };
  };
  const known = new Set(Object.keys(OPTIONS).map((key) => environmentName(key as keyof typeof OPTIONS)));
  for (const name of Object.keys(services.rawslice.environment)) assert.ok(known.has(name), name);
  assert.ok(existsSync(path.join(ROOT, services.rawslice.build.dockerfile)));
});
