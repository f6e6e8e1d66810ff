/** `rawslice rules explain`: what it prints, and its exit codes. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { runWords } from '../helpers/run-program.ts';

const EXAMPLES = path.resolve(import.meta.dirname, '../../config/examples');
const explain = (...words: readonly string[]): ReturnType<typeof runWords> => runWords(['rules', 'explain', ...words]);

test('it says route, group, nodes, key and rule, with where they are written', async () => {
  const file = path.join(EXAMPLES, 'multi-site-edge.yaml');
  const { code, stdout } = await explain('http://www.shop.example/images/a.png?w=1', '--config', file, '--service', 'edge');
  assert.equal(code, 0);
  assert.match(stdout, /^service edge\n {2}route {2}images {2}# .*multi-site-edge\.yaml:\d+\n {2}group {2}images\n/);
  assert.match(stdout, /asks {3}http:\/\/10\.0\.2\.11:9000\/images\/a\.png\?w=1 {2}\(Host: the node's own\)\n {9}http:\/\/10\.0\.2\.12/);
  assert.match(stdout, /key {4}images\|images\/images\/a\.png\?w=1\n {2}rule {3}pictures: \^\/images\/, freshFor 1h/);
  const gateway = path.join(EXAMPLES, 'api-gateway.yaml');
  const [json] = JSON.parse((await explain('http://x/api/v1/orders/7', '--config', gateway, '--json')).stdout);
  assert.deepEqual([json.route, json.upstream[0], json.ruleText], ['orders', 'http://10.0.0.21:8080/orders/7', undefined]);
  assert.match(json.key, /^orders\|orders\|[0-9a-f]{8}\/api\/v1\/orders\/7$/);
});

test('the short form has the key and the rules of ever', async () => {
  const { code, stdout } = await explain('/debian/dists/stable/InRelease');
  assert.equal(code, 0);
  assert.match(
    stdout,
    /key {4}deb\.debian\.org\/debian\/dists\/stable\/InRelease\n {2}rule {3}debian-indexes: .*freshFor 1m.* {2}# preset debian\n/,
  );
});

test('what no service takes ends with 1, and what is no URL, or no service, with 2', async () => {
  const file = path.join(EXAMPLES, 'debian-mirror.yaml');
  assert.deepEqual(await explain('http://else.example/', '--config', file), {
    code: 1,
    stdout: 'service mirror\n  421: no route answers for the host\n',
    stderr: '',
  });
  assert.match(
    (await explain('http://deb.example.org/debian/x', '--method', 'post', '--config', file)).stdout,
    /405: no route of the path/,
  );
  assert.equal((await explain('ftp://x/y', '--config', file)).code, 2);
  assert.match((await explain('/x', '--config', file, '--service', 'x')).stderr, /There is no service x; there are mirror/);
  assert.equal((await explain('/x', '--config', path.join(EXAMPLES, 'none.yaml'))).code, 78);
});
