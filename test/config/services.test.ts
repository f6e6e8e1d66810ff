/** Lists of services, routes and upstream groups: what they mean, what is wrong with them, and how they are shown. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import type { EdgeConfig } from '../../src/config/edge-config.ts';
import { listEffectiveOptions } from '../../src/config/effective-options.ts';
import type { ConfigOverride } from '../../src/config/environment.ts';
import { type LoadResult, loadConfig } from '../../src/config/load.ts';
import { formatProblem } from '../../src/config/problem.ts';

const FOLDER = mkdtempSync(path.join(tmpdir(), 'rawslice-services-'));
const FILE = path.join(FOLDER, 'edge.yaml');

after(() => rmSync(FOLDER, { recursive: true }));

function load(text: string, overrides: readonly ConfigOverride[] = []): LoadResult {
  writeFileSync(FILE, `device: { path: cache.img }\n${text}`);
  return loadConfig({ file: FILE, environment: {}, overrides });
}

function mustLoad(text: string): EdgeConfig {
  const result = load(text);
  assert.ok(result.kind === 'ok', headsOf(result).join('\n'));
  return result.config;
}

function headsOf(result: LoadResult): readonly string[] {
  if (result.kind === 'ok') return [];
  return result.problems.map((problem) => formatProblem(problem).replaceAll(`${FOLDER}/`, '').split('\n')[0] ?? '');
}

const FULL = `
upstream: { connectTimeout: 1s }
preset: generic
rules:
  - { name: shared, prefix: /s/, freshFor: 5m }
services:
  - name: edge
    listen: [127.0.0.1:8080, "[::1]:8080"]
    certificates: [{ cert: a.pem, key: a.key }, { cert: b.pem, key: b.key }]
    tlsMinVersion: 1.3
    proxyProtocol: true
    trustedProxies: [10.0.0.0/8, "::1"]
    forwardedField: forwarded
  - name: inner
    listen: 127.0.0.1:8082
    routes: [api, debian]
routes:
  - name: debian
    host: [Mirror.Example, "*.mirrors.example"]
    prefix: /debian
    stripPrefix: /debian/
    addPrefix: /archive/
    upstream: mirrors
    preset: debian
    rules:
      - { name: own, prefix: /dists/x/, freshFor: 1m }
    sliceSize: 512KiB
  - name: api
    match: ^/v\\d+/
    methods: [GET, POST]
    upstream: api
    upgrade: [websocket, Chat/2]
upstreams:
  - name: mirrors
    nodes:
      - { url: http://a.example/base, weight: 3 }
      - { url: "http://b.example:8080/base/" }
    connections: 9
    retries: 0
  - name: api
    nodes: [{ url: https://10.0.0.7, sni: api.example, verifyCertificate: false }]
    hostHeader: api.example:8443
    headTimeout: 2s
`;

const PLAIN = {
  certificates: [],
  tlsMinVersion: '1.2',
  takesProxyProtocol: false,
  hasHttp2: false,
  trustedProxies: undefined,
  forwardedField: 'x-forwarded-for',
  middlewares: [],
};

test('services, routes and groups are joined; what they leave out comes from the options', () => {
  const { services, routes, groups } = mustLoad(FULL);
  assert.deepEqual(services, [
    {
      name: 'edge',
      isImplicit: false,
      listen: [
        { host: '127.0.0.1', port: 8080 },
        { host: '::1', port: 8080 },
      ],
      routes: ['debian', 'api'],
      certificates: [
        { certFile: 'a.pem', keyFile: 'a.key' },
        { certFile: 'b.pem', keyFile: 'b.key' },
      ],
      tlsMinVersion: '1.3',
      takesProxyProtocol: true,
      hasHttp2: true,
      trustedProxies: [
        { address: '10.0.0.0', prefixBits: 8, family: 'ipv4' },
        { address: '::1', prefixBits: 128, family: 'ipv6' },
      ],
      forwardedField: 'forwarded',
      middlewares: [],
    },
    { ...PLAIN, name: 'inner', isImplicit: false, listen: [{ host: '127.0.0.1', port: 8082 }], routes: ['debian', 'api'] },
  ]);
  const [debian, api] = routes;
  assert.deepEqual(
    { ...debian, rules: debian?.rules.slice(0, 2).map(({ name }) => name) },
    {
      name: 'debian',
      isImplicit: false,
      hosts: ['mirror.example', '*.mirrors.example'],
      path: { kind: 'prefix', path: '/debian' },
      methods: undefined,
      group: 'mirrors',
      stripPrefix: '/debian',
      addPrefix: '/archive',
      rules: ['own', 'debian-pool'],
      sliceSizeBytes: 512 * 1024,
      middlewares: [],
      upgrades: ['websocket'],
    },
  );
  assert.deepEqual(
    api?.rules.map(({ name }) => name),
    ['shared'],
  );
  assert.deepEqual(
    [api?.path, api?.methods, api?.sliceSizeBytes, api?.upgrades],
    [{ kind: 'pattern', pattern: /^\/v\d+\//u }, ['GET', 'POST'], 1024 ** 2, ['websocket', 'chat/2']],
  );
  const [mirrors, other] = groups;
  assert.deepEqual(
    [mirrors?.nodes.map(({ origin, weight }) => [origin, weight]), mirrors?.basePath, mirrors?.connectionsMax, mirrors?.retriesMax],
    [
      [
        ['http://a.example', 3],
        ['http://b.example:8080', 1],
      ],
      '/base',
      9,
      0,
    ],
  );
  assert.deepEqual(other?.nodes, [
    { origin: 'https://10.0.0.7', weight: 1, sni: 'api.example', verifiesCertificate: false, isBackup: false },
  ]);
  assert.deepEqual(
    [other?.hostHeader, other?.connectTimeoutMs, other?.headTimeoutMs, other?.retriesMax],
    ['api.example:8443', 1000, 2000, 2],
  );
});

test('--print-effective shows the lists with their sources', () => {
  const result = load(FULL);
  assert.ok(result.kind === 'ok');
  const shown = new Map(listEffectiveOptions(result.config, result.sources).map((option) => [option.key, option]));
  const row = (key: string): string => `${shown.get(key)?.value} # ${shown.get(key)?.source.replace(`${FOLDER}/`, '')}`;
  assert.equal(row('services.inner'), 'listen 127.0.0.1:8082, routes debian api # edge.yaml:15');
  assert.equal(
    row('routes.debian'),
    'host mirror.example *.mirrors.example, prefix /debian, stripPrefix /debian, addPrefix /archive, upstream mirrors, sliceSize 512KiB, upgrade websocket # edge.yaml:19',
  );
  assert.equal(row('routes.debian.rules.own'), '^/dists/x/, freshFor 1m # edge.yaml:27');
  assert.match(row('services.edge'), /, trusted proxies 10\.0\.0\.0\/8,::1\/128 by forwarded #/);
  assert.match(row('routes.debian.rules.debian-pool'), /immutable.* # preset debian$/);
  assert.match(
    row('upstreams.api'),
    /^https:\/\/10\.0\.0\.7 sni api\.example verifyCertificate false, balance round-robin, outlier failures 1 rest 1s to 30s, hostHeader api/,
  );
});

test('the short form is one service, one route and one group, and may stand beside groups', () => {
  const { routes, groups } = mustLoad(
    'upstream: { url: "http://o.example" }\nupstreams: [{ name: g, nodes: [{ url: "http://g.example" }] }]\nroutes:\n  - { name: a, prefix: /a, upstream: g }\n  - { name: rest, upstream: default }\n',
  );
  assert.deepEqual(
    groups.map(({ name, isNamedByOrigin }) => [name, isNamedByOrigin]),
    [
      ['default', true],
      ['g', false],
    ],
  );
  assert.deepEqual(
    routes.map(({ group }) => group),
    ['g', 'default'],
  );
  const only = mustLoad('upstreams: [{ name: g, nodes: [{ url: "http://g.example" }] }]\n');
  assert.deepEqual([only.routes.map(({ name, group }) => [name, group]), only.upstream.origin], [[['default', 'g']], undefined]);
});

test('all problems of the lists come at once, with line and hint', () => {
  const text = `
services:
  - name: edge
    listen: [127.0.0.1:8081, ":80"]
    routes: [debain]
  - name: edge
    listn: 127.0.0.1:1
routes:
  - name: debian
    host: mirror.example:80
    prefix: debian
    path: /x
    stripPrefix: /y
    upstream: mirors
    methods: get
    sliceSize: 3MiB
  - name: b/c
    rules: [{ name: r }]
    preset: debain
upstreams:
  - name: mirrors
    balance: rr
    nodes:
      - { url: http://a.example/x }
      - { url: http://b.example/y, weight: 0, sni: b.example }
      - { url: http://a.example/x }
  - name: empty
    nodes: []
    retries: 11
    connectTimeout: 5
    preserveHost: true
    hostHeader: x.example
`;
  assert.deepEqual(headsOf(load(text)), [
    'edge.yaml:5:14: services.edge.listen: is 127.0.0.1:8081, as that of admin.listen',
    'edge.yaml:5:30: services.0.listen: must name an address: 127.0.0.1:80 for this machine only, 0.0.0.0:80 or [::]:80 for every interface',
    'edge.yaml:6:14: services.edge.routes: names "debain", and there is no route of that name; did you mean debian?',
    'edge.yaml:7:5: services.1.listen: is required',
    'edge.yaml:7:11: services: "edge" is given twice; the first is in line 4',
    'edge.yaml:8:5: services.1.listn: is not a key of a service; did you mean listen?',
    'edge.yaml:11:11: routes.0.host: must be a host such as mirror.example or *.example, without port, not "mirror.example:80"',
    'edge.yaml:12:13: routes.0.prefix: must be a path that begins with a slash, not "debian"',
    'edge.yaml:13:11: routes.0.path: stands beside prefix; keep one of prefix, path and match',
    'edge.yaml:14:18: routes.0.stripPrefix: is not how "debian" begins',
    'edge.yaml:15:15: routes.debian.upstream: is "mirors", and there is no upstream group of that name; did you mean mirrors?',
    'edge.yaml:16:14: routes.0.methods: must be a method such as GET or POST, not "get"',
    'edge.yaml:17:16: routes.0.sliceSize: must be a power of two, not "3MiB"',
    'edge.yaml:18:11: routes.1.name: must be 1 to 64 letters, digits, dots, underscores or hyphens, not "b/c"',
    'edge.yaml:19:13: rules.0: needs match or prefix',
    'edge.yaml:20:13: routes.1.preset: must be one of generic, debian, ubuntu, fedora, arch, alpine, pypi, npm, iso, not "debain"; did you mean debian?',
    'edge.yaml:23:14: upstreams.0.balance: must be one of round-robin, random, two-choices, least-connections, ketama, rendezvous, not "rr"',
    'edge.yaml:26:16: upstreams.0.nodes.1.url: has another path than the first node (/x); nodes of a group answer alike',
    'edge.yaml:26:44: upstreams.0.nodes.1.weight: must be a whole number from 1 to 1000, not "0"',
    'edge.yaml:26:52: upstreams.0.nodes.1.sni: is about TLS, and the url is not https',
    'edge.yaml:27:16: upstreams.0.nodes.2.url: is a node of this group already; use weight',
    'edge.yaml:29:12: upstreams.1.nodes: is empty; add a node',
    'edge.yaml:30:14: upstreams.1.retries: must be a whole number from 0 to 10, not "11"',
    'edge.yaml:31:21: upstreams.1.connectTimeout: needs a unit (ms, s, m, h, d, w, y): "5s" or the like',
    "edge.yaml:33:17: upstreams.1.hostHeader: contradicts preserveHost, which sends the client's; keep one",
  ]);
});

test('what does not fit together is said: listen beside services, a missing group, a missing list of routes, lists by flag', () => {
  const group = 'upstreams: [{ name: g, nodes: [{ url: "http://g.example" }] }, { name: h, nodes: [{ url: "http://h.example" }] }]\n';
  const cases: readonly (readonly [text: string, problems: readonly string[]])[] = [
    [
      'upstream: { url: "http://o.example" }\nlisten: 127.0.0.1:1\nservices: [{ name: a, listen: 127.0.0.1:2 }]\n',
      ['edge.yaml:3:9: listen: is given beside services, which say themselves where they listen; leave it out'],
    ],
    [
      'upstream: { url: "http://o.example" }\nservices: [{ name: a, listen: [0.0.0.0:80, "[::1]:80", 10.0.0.1:80] }, { name: b, listen: ["[::]:81", 0.0.0.0:81, "0.0.0.0:8081"] }]\n',
      [
        'edge.yaml:3:56: services.a.listen: is 10.0.0.1:80, which 0.0.0.0:80 of service a excludes',
        'edge.yaml:3:103: services.b.listen: is 0.0.0.0:81, which [::]:81 of service b excludes',
        'edge.yaml:3:115: services.b.listen: is 0.0.0.0:8081, which 127.0.0.1:8081 of admin.listen excludes',
      ],
    ],
    [group, ['configuration: routes: is required where there are several upstream groups']],
    [`${group}routes: [{ name: r }]\n`, ['edge.yaml:3:18: routes.r: needs upstream: one of g, h']],
    [
      `${group}routes: [{ name: r, upstream: g }]\nservices: [{ name: a, listen: 127.0.0.1:1, forwardedField: x-real-ip }, { name: b, listen: 127.0.0.1:2, forwardedField: forwarded }]\n`,
      [
        'edge.yaml:4:60: services.0.forwardedField: must be one of x-forwarded-for, forwarded, not "x-real-ip"',
        'edge.yaml:4:121: services.1.forwardedField: is about trustedProxies, and there are none',
      ],
    ],
    ['routes: [{ name: r }]\n', ['configuration: upstream.url: is required']],
    [
      'upstream: { url: "http://o.example" }\nroutes: [x]\nservices: y\n',
      ['edge.yaml:3:10: routes.0: must be a route, with keys of its own', 'edge.yaml:4:11: services: must be a list, each item a service'],
    ],
    [
      'upstream: { url: "http://o.example" }\nmemory: { arena: 8MiB }\nroutes: [{ name: r, sliceSize: 2MiB }]\n',
      ['edge.yaml:4:32: memory.arena: must hold 8 slices of 2MiB; it is 8MiB'],
    ],
  ];
  for (const [text, problems] of cases) assert.deepEqual(headsOf(load(text)), problems);
  assert.deepEqual(headsOf(load(FULL, [['services.edge.listen', 'x', 'flag --set services.edge.listen']])), [
    'flag --set services.edge.listen: services.edge.listen: can be given in a file only',
  ]);
});

test('balancers, health checks and outliers: what they mean, how they are shown, and what is wrong with them', () => {
  const text = (group: string): string =>
    `upstreams:\n  - name: g\n    nodes: [{ url: "http://a.example" }, { url: "http://b.example", backup: true }]\n${group}`;
  const good = text(
    '    balance: ketama\n    hashOn: header X-User\n    boundedLoad: 125\n    slowStart: 30s\n    panicThreshold: 40\n    healthCheck: { path: /health?x=1, status: [200-299, 304], body: fine, interval: 1s, rise: 1 }\n    outlier: { failures: 5, errorRate: 50, slowFactor: 3, rest: 2s }\n',
  );
  const [group] = mustLoad(good).groups;
  assert.deepEqual(
    {
      hashOn: group?.hashOn,
      bound: group?.boundedLoadPercent,
      slow: group?.slowStartMs,
      panic: group?.panicPercent,
      check: group?.healthCheck,
      outlier: group?.outlier,
    },
    {
      hashOn: { kind: 'header', name: 'x-user' },
      bound: 125,
      slow: 30_000,
      panic: 40,
      check: {
        kind: 'http',
        path: '/health?x=1',
        host: undefined,
        statuses: [
          { first: 200, last: 299 },
          { first: 304, last: 304 },
        ],
        body: 'fine',
        intervalMs: 1000,
        timeoutMs: 2000,
        rise: 1,
        fall: 3,
      },
      outlier: { failuresMax: 5, errorPercent: 50, slowFactor: 3, restMs: 2000, restMsMax: 30_000 },
    },
  );
  const result = load(good);
  assert.ok(result.kind === 'ok');
  const shown = listEffectiveOptions(result.config, result.sources).find(({ key }) => key === 'upstreams.g')?.value;
  assert.match(
    shown ?? '',
    /backup, balance ketama, hashOn header x-user, boundedLoad 125, slowStart 30s, panicThreshold 40, healthCheck http \/health\?x=1 status 200-299 304 body "fine" every 1s within 2s rise 1 fall 3, outlier failures 5 errorRate 50 slowFactor 3 rest 2s to 30s/,
  );
  const bad = text(
    '    hashOn: cookie\n    boundedLoad: 90\n    healthCheck: { type: tcp, path: /x, stauts: 200, interval: 1ms }\n    outlier: { failures: 0, rest: 1m, restMax: 1s }\n',
  ).replace('"http://a.example"', '"http://a.example", backup: true');
  assert.deepEqual(
    headsOf(load(bad)).map((head) => head.replace(/^edge\.yaml:\d+:\d+: upstreams\.0\./, '')),
    [
      'nodes: are all backups; one at least has to be none',
      'hashOn: must be client, path, key or header NAME, not "cookie"',
      'hashOn: is for balance ketama and rendezvous',
      'boundedLoad: must be a whole number from 101 to 1000, not "90"',
      'boundedLoad: is for balance ketama and rendezvous',
      'healthCheck.path: is for checks of type http',
      'healthCheck.stauts: is not a key of a health check; did you mean status?',
      'healthCheck.interval: must be between 10ms and 1h, not "1ms"',
      'outlier.failures: must be a whole number from 1 to 100, not "0"',
      'outlier.restMax: is shorter than rest',
    ],
  );
});
