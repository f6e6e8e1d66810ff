/** `discover`: what it means, what is left out, how it is shown, and what is wrong with it. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { explainRequest } from '../../src/app/explain-request.ts';
import { listEffectiveOptions } from '../../src/config/effective-options.ts';
import { type LoadResult, loadConfig } from '../../src/config/load.ts';
import { formatProblem } from '../../src/config/problem.ts';
import { parseRequestTarget } from '../../src/http/request-target.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';

/** @param group what stands behind the name of the only group */
function load(group: string): Promise<LoadResult> {
  return withTemporaryDirectory(async (folder) => {
    const file = path.join(folder, 'edge.yaml');
    await writeFile(file, `device: { path: cache.img }\nupstreams:\n  - name: g\n    ${group}\n`);
    return loadConfig({ file, environment: {}, overrides: [] });
  });
}

async function discoveryOf(group: string) {
  const result = await load(group);
  assert.ok(result.kind === 'ok', result.kind === 'ok' ? '' : result.problems.map(formatProblem).join('\n'));
  const [first] = result.config.groups;
  const shown = listEffectiveOptions(result.config, result.sources).find(({ key }) => key === 'upstreams.g')?.value ?? '';
  return { group: first, discovery: first?.discovery, shown, result };
}

async function problemsOf(group: string): Promise<readonly string[]> {
  const result = await load(group);
  return result.kind === 'ok'
    ? []
    : result.problems.map(
        (problem) =>
          formatProblem(problem)
            .replace(/^\S*\//, '')
            .split('\n')[0] ?? '',
      );
}

test('DNS: names, records, ports and servers; what is left out', async () => {
  const plain = await discoveryOf('discover: { type: dns, name: Web.Internal. }');
  assert.deepEqual(plain.discovery, {
    ...{ kind: 'dns', scheme: 'http', authority: 'web.internal', sni: undefined, verifiesCertificate: true, networks: undefined },
    ...{ takesEmpty: false, waitMs: 3000, timeoutMs: 2000, name: 'web.internal', isService: false, families: ['A', 'AAAA'], port: 80 },
    ...{ servers: [], ttlMsMin: 1000, ttlMsMax: 60_000 },
  });
  assert.match(
    plain.shown,
    /^discover dns web\.internal A and AAAA port 80 TTL 1s to 1m scheme http wait 3s timeout 2s, balance round-robin,/,
  );
  const full = await discoveryOf(
    'discover: { type: dns, name: _https._tcp.api.internal, scheme: https, path: /v1/, sni: api.internal, verifyCertificate: false, networks: [10.0.0.0/8, "::1"], takeEmpty: true, wait: 0, timeout: 1s, servers: [10.0.0.53, "[::1]:5353"], minTtl: 5s, maxTtl: 10s }',
  );
  assert.deepEqual([full.group?.basePath, full.group?.nodes, full.discovery?.authority], ['/v1', [], 'api.internal']);
  assert.match(
    full.shown,
    /^discover dns _https\._tcp\.api\.internal SRV servers 10\.0\.0\.53:53 \[::1\]:5353 TTL 5s to 10s scheme https path \/v1 sni api\.internal verifyCertificate false networks 10\.0\.0\.0\/8,::1\/128 takeEmpty wait 0 timeout 1s,/,
  );
  const { discovery } = await discoveryOf('discover: { type: dns, name: a.b, record: aaaa, port: 8080, maxTtl: 500ms }');
  assert.ok(discovery?.kind === 'dns');
  assert.deepEqual([discovery.families, discovery.authority, discovery.ttlMsMin, discovery.ttlMsMax], [['AAAA'], 'a.b:8080', 500, 500]);
});

test('Consul: what is asked, whom, and with what', async () => {
  const { discovery, shown } = await discoveryOf(
    'discover: { type: consul, service: Web, url: ["http://127.0.0.1:8500", "https://consul.internal:8501/x/"], tags: [v1, eu], datacenter: dc2, token: secret-token, ca: ca.pem, cert: c.pem, key: c.key, hold: 30s }',
  );
  assert.deepEqual(discovery?.authority, 'web.service.consul');
  assert.match(
    shown,
    /^discover consul Web tags v1 eu datacenter dc2 url http:\/\/127\.0\.0\.1:8500 https:\/\/consul\.internal:8501\/x ca ca\.pem cert c\.pem key c\.key token \(set\) hold 30s scheme http/,
  );
  assert.match(
    (await discoveryOf('discover: { type: consul, service: a }')).shown,
    /^discover consul a url http:\/\/127\.0\.0\.1:8500 hold 1m /,
  );
  const problems = await problemsOf('discover: { type: consul, name: x, token: " ", tokenFile: t, cert: c.pem, hold: 1ms }');
  assert.deepEqual(problems, [
    'edge.yaml:4:15: upstreams.0.discover.service: is required',
    'edge.yaml:4:37: upstreams.0.discover.name: is for discovery of type dns',
    'edge.yaml:4:47: upstreams.0.discover.token: must be 8 to 256 visible ASCII characters without spaces',
    'edge.yaml:4:72: upstreams.0.discover.cert: is about TLS, and url is not https',
    'edge.yaml:4:72: upstreams.0.discover.cert: needs the other of cert and key',
    'edge.yaml:4:85: upstreams.0.discover.hold: must be between 1s and 10m, not "1ms"',
  ]);
});

test('nodes may stand beside; a request is explained with what stands for those that are found', async () => {
  const { result, group } = await discoveryOf(
    'nodes: [{ url: "http://a.example/x", backup: true }]\n    discover: { type: dns, name: web.internal, path: /x }',
  );
  assert.deepEqual([group?.nodes.length, group?.basePath], [1, '/x']);
  const target = parseRequestTarget('/y', 'any.example');
  assert.ok(target.kind === 'ok');
  const [explained] = explainRequest(result, { target, method: 'GET' });
  assert.deepEqual(explained?.kind === 'routed' && [explained.upstream, explained.host], [
    ['http://a.example/x/y', 'http://web.internal/x/y'],
    "the node's own",
  ]);
});

test('what is wrong is said with its place and a hint', async () => {
  assert.deepEqual(await problemsOf('discover: { type: dnss, nmae: x }'), [
    'edge.yaml:4:23: upstreams.0.discover.type: must be one of dns, consul, not "dnss"; did you mean dns?',
    'edge.yaml:4:29: upstreams.0.discover.nmae: is not a key of discovery; did you mean name?',
  ]);
  assert.deepEqual(
    await problemsOf('discover: { type: dns, name: 10.0.0.1, port: 0, servers: [dns.example], minTtl: 10s, maxTtl: 1s, sni: a.b }'),
    [
      'edge.yaml:4:34: upstreams.0.discover.name: is an address, "10.0.0.1"; an address is a node (nodes, url)',
      'edge.yaml:4:50: upstreams.0.discover.port: must be a whole number from 1 to 65535, not "0"',
      'edge.yaml:4:63: upstreams.0.discover.servers: must be the address of a DNS server such as 127.0.0.1, 127.0.0.1:5353 or [::1]:53, not "dns.example"',
      'edge.yaml:4:98: upstreams.0.discover.maxTtl: is shorter than minTtl',
      'edge.yaml:4:107: upstreams.0.discover.sni: is about TLS, and the scheme is not https',
    ],
  );
  assert.deepEqual(await problemsOf('discover: { type: dns, name: _http._tcp.x, port: 80 }'), [
    'edge.yaml:4:54: upstreams.0.discover.port: is for addresses; SRV records name the port',
  ]);
  assert.deepEqual(await problemsOf('balance: random'), [
    'edge.yaml:3:5: upstreams.0: needs nodes: a list of servers, each with its url; or discover, which finds them',
  ]);
  assert.deepEqual(await problemsOf('discover:'), [
    'edge.yaml:4:14: upstreams.0.discover: is empty; say where nodes are found, or leave it out',
  ]);
  assert.deepEqual(await problemsOf('nodes: [{ url: "http://a.example" }]\n    discover: { type: dns, name: a.b, path: /x }'), [
    'edge.yaml:5:15: upstreams.0.discover: has another path than the first node (/); nodes of a group answer alike',
  ]);
});
