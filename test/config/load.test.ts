/** loadConfig(): layers, values, problems and how they read. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { parseConfigText } from '../../src/config/config-file.ts';
import type { EdgeConfig } from '../../src/config/edge-config.ts';
import { listEffectiveOptions } from '../../src/config/effective-options.ts';
import type { ConfigOverride } from '../../src/config/environment.ts';
import { type LoadResult, loadConfig } from '../../src/config/load.ts';
import { OPTION_KEYS } from '../../src/config/options.ts';
import { formatProblem } from '../../src/config/problem.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const FOLDER = mkdtempSync(path.join(tmpdir(), 'rawslice-config-'));
const FILE = path.join(FOLDER, 'edge.yaml');
const MINIMAL = 'upstream: { url: "http://origin.test" }\ndevice: { path: cache.img }\n';

after(() => rmSync(FOLDER, { recursive: true }));

function load(text: string, environment: Record<string, string> = {}, overrides: readonly ConfigOverride[] = []): LoadResult {
  writeFileSync(FILE, text);
  return loadConfig({ file: FILE, environment, overrides });
}

function mustLoad(text: string, environment: Record<string, string> = {}, overrides: readonly ConfigOverride[] = []): EdgeConfig {
  const result = load(text, environment, overrides);
  assert.ok(result.kind === 'ok', problemsOf(result).join('\n'));
  return result.config;
}

/** Problems as text, without the folder of the file. */
function problemsOf(result: LoadResult): readonly string[] {
  return result.kind === 'ok' ? [] : result.problems.map((problem) => formatProblem(problem).replaceAll(`${FOLDER}/`, ''));
}

/** The first line of each problem. */
function headsOf(result: LoadResult): readonly string[] {
  return problemsOf(result).map((text) => text.split('\n')[0] ?? '');
}

test('loadConfig() fills in every default', () => {
  assert.deepEqual(mustLoad(MINIMAL), {
    services: [
      {
        name: 'default',
        isImplicit: true,
        listen: [{ host: '127.0.0.1', port: 8080 }],
        routes: ['default'],
        certificates: [],
        tlsMinVersion: '1.2',
        takesProxyProtocol: false,
        hasHttp2: false,
        trustedProxies: undefined,
        forwardedField: 'x-forwarded-for',
        middlewares: [],
      },
    ],
    routes: [
      {
        name: 'default',
        isImplicit: true,
        hosts: [],
        path: { kind: 'any' },
        methods: undefined,
        group: 'default',
        stripPrefix: '',
        addPrefix: '',
        rules: [],
        sliceSizeBytes: 1024 ** 2,
        middlewares: [],
        upgrades: ['websocket'],
      },
    ],
    middlewares: [],
    groups: [
      {
        name: 'default',
        isNamedByOrigin: true,
        nodes: [{ origin: 'http://origin.test', weight: 1, sni: undefined, verifiesCertificate: true, isBackup: false }],
        basePath: '',
        balance: 'round-robin',
        balancer: undefined,
        hashOn: { kind: 'path' },
        boundedLoadPercent: 0,
        slowStartMs: 0,
        panicPercent: 0,
        discovery: undefined,
        healthCheck: undefined,
        outlier: { failuresMax: 1, errorPercent: 0, slowFactor: 0, restMs: 1000, restMsMax: 30_000 },
        hostHeader: undefined,
        protocol: 'http/1.1',
        preservesHost: false,
        retriesMax: 2,
        retryBudgetPercent: 20,
        connectTimeoutMs: 5000,
        headTimeoutMs: 30_000,
        bodyTimeoutMs: 30_000,
        connectionsMax: 64,
      },
    ],
    listen: { host: '127.0.0.1', port: 8080 },
    expressLane: true,
    purge: { allow: undefined, token: undefined },
    admin: { listen: { host: '127.0.0.1', port: 8081 }, token: undefined },
    upstream: {
      origin: 'http://origin.test',
      basePath: '',
      connectTimeoutMs: 5000,
      headTimeoutMs: 30_000,
      bodyTimeoutMs: 30_000,
      connectionsMax: 64,
      preservesHost: false,
    },
    preset: 'generic',
    rules: [],
    device: {
      paths: ['cache.img'],
      sizeBytes: 10 * 1024 ** 3,
      formatsBlank: false,
      io: 'auto',
      writeBudgetBytes: undefined,
      compression: 'auto',
      scrubPeriodMs: 30 * 86_400_000,
      trims: false,
    },
    memory: { arenaBytes: 256 * 1024 ** 2 },
    slice: { sizeBytes: 1024 ** 2 },
    cache: { staleIfErrorMs: 86_400_000 },
    upgrades: ['websocket'],
    limits: {
      variantsMax: 16,
      connectionsMax: 16_384,
      requestsMax: 10_000,
      streamsMax: 128,
      clientStallMs: 60_000,
      uploadStallMs: 60_000,
      tunnelsMax: 1024,
      tunnelIdleMs: 600_000,
      headerBytesMax: 16 * 1024,
      headerTimeoutMs: 10_000,
      rangesMax: 256,
      rangeSurplusBytes: 128 * 1024 ** 2,
      clientSurplusBytes: 1024 ** 3,
    },
    cacheStatus: { key: false },
    log: { level: 'info', access: true, accessFormat: 'json', accessFile: undefined },
    requestId: 'origin',
    reload: { intervalMs: 2000 },
    shutdown: { drainMs: 30_000 },
  });
});

test('loadConfig() needs no file when everything required comes from elsewhere', () => {
  const result = loadConfig({
    environment: { RAWSLICE_UPSTREAM__URL: 'https://o.test:8443/a/b/' },
    overrides: [['device.path', '/dev/x', 'flag --device']],
  });
  assert.ok(result.kind === 'ok');
  assert.deepEqual([result.config.upstream.origin, result.config.upstream.basePath], ['https://o.test:8443', '/a/b']);
  assert.deepEqual(result.config.device.paths, ['/dev/x']);
});

test('later layers win, and each value keeps its source', () => {
  const text = `${MINIMAL}listen: 127.0.0.1:1\nlog:\n  level: warn\npreset: alpine\nrules:\n  - { name: own, prefix: /x+/, freshFor: 5m }\n`;
  const result = load(text, { RAWSLICE_LISTEN: '127.0.0.1:2', RAWSLICE_SHUTDOWN__DRAIN: '1m' }, [['listen', '[::1]:3', 'flag --listen']]);
  assert.ok(result.kind === 'ok');
  const effective = new Map(listEffectiveOptions(result.config, result.sources).map((option) => [option.key, option]));
  const shown = (key: string): readonly unknown[] => [effective.get(key)?.value, effective.get(key)?.source.replace(`${FOLDER}/`, '')];
  assert.deepEqual(shown('listen'), ['[::1]:3', 'flag --listen']);
  assert.deepEqual(shown('shutdown.drain'), ['1m', 'environment RAWSLICE_SHUTDOWN__DRAIN']);
  assert.deepEqual(shown('log.level'), ['warn', 'edge.yaml:5']);
  assert.deepEqual(shown('memory.arena'), ['256MiB', 'default']);
  assert.deepEqual(shown('admin.token'), [undefined, 'default']);
  assert.deepEqual(shown('rules.own'), ['^/x\\+/, freshFor 5m', 'edge.yaml:8']);
  assert.deepEqual(shown('rules.alpine-packages'), ['\\.apk$, immutable, ignoreClientCacheControl', 'preset alpine']);
  assert.deepEqual([...effective.keys()].slice(0, OPTION_KEYS.length), OPTION_KEYS);
});

test('effective values can be written back', () => {
  const text = `${MINIMAL}slice: { size: 512k }\nlimits: { clientStall: 90s, headerBytes: 20000 }\n`;
  const first = load(text);
  assert.ok(first.kind === 'ok');
  const overrides = listEffectiveOptions(first.config, first.sources).flatMap(({ key, value }): ConfigOverride[] => {
    return value === undefined ? [] : [[key, value, 'flag']];
  });
  const second = loadConfig({ environment: {}, overrides });
  assert.ok(second.kind === 'ok');
  assert.deepEqual(second.config, first.config);
});

test('a secret is shown neither among effective options nor in a problem', () => {
  const result = load(`${MINIMAL}admin: { token: correct-horse }\n`);
  assert.ok(result.kind === 'ok');
  assert.equal(JSON.stringify(listEffectiveOptions(result.config, result.sources)).includes('correct-horse'), false);
  const wrong = load(MINIMAL, { RAWSLICE_ADMIN__TOKEN: 'with space' });
  assert.deepEqual(problemsOf(wrong), [
    'environment RAWSLICE_ADMIN__TOKEN: admin.token: must be 8 to 256 visible ASCII characters without spaces',
  ]);
});

test('all problems come at once, in the order of the file, with excerpt, caret and hint', () => {
  const text = [
    'listen: :8080',
    'upstraem: {}',
    'upstream:',
    '  url: ftp://x',
    '  connectTimeout: 5',
    '  conections: 7',
    'memory: { arena: 12XiB }',
    'slice: { size: 3MiB }',
    'preset: debain',
    'device: [a]',
    '',
  ].join('\n');
  assert.deepEqual(problemsOf(load(text, {}, [['lisen', 'x', 'flag --set']])), [
    'edge.yaml:1:9: listen: must name an address: 127.0.0.1:8080 for this machine only, 0.0.0.0:8080 or [::]:8080 for every interface\n' +
      '    1 | listen: :8080\n      |         ^^^^^',
    'edge.yaml:2:1: upstraem: is not an option; did you mean upstream?\n    2 | upstraem: {}\n      | ^^^^^^^^',
    'edge.yaml:4:8: upstream.url: must be a URL such as http://deb.debian.org or https://host:8443/path, not "ftp://x"\n' +
      '    4 |   url: ftp://x\n      |        ^^^^^^^',
    'edge.yaml:5:19: upstream.connectTimeout: needs a unit (ms, s, m, h, d, w, y): "5s" or the like\n' +
      '    5 |   connectTimeout: 5\n      |                   ^',
    'edge.yaml:6:3: upstream.conections: is not an option; did you mean connections?\n    6 |   conections: 7\n      |   ^^^^^^^^^^',
    'edge.yaml:7:18: memory.arena: must be a size such as 64MiB, 100GiB or 512k, not "12XiB"\n' +
      '    7 | memory: { arena: 12XiB }\n      |                  ^^^^^',
    'edge.yaml:8:16: slice.size: must be a power of two, not "3MiB"\n    8 | slice: { size: 3MiB }\n      |                ^^^^',
    'edge.yaml:9:9: preset: must be one of generic, debian, ubuntu, fedora, arch, alpine, pypi, npm, iso, not "debain"; did you mean debian?\n' +
      '    9 | preset: debain\n      |         ^^^^^^',
    'edge.yaml:10:9: device: must be a section with keys of its own, one line each\n   10 | device: [a]\n      |         ^^^',
    'flag --set: lisen: is not an option; did you mean listen?',
    'configuration: device.path: is required',
  ]);
});

test('options that contradict each other are found while others are wrong', () => {
  const text = `${MINIMAL}listen: 127.0.0.1:8081\nmemory: { arena: 4MiB }\nlog: { level: loud }\n`;
  assert.deepEqual(headsOf(load(text)), [
    'edge.yaml:4:18: memory.arena: must hold 8 slices of 1MiB, that is 8MiB; it is 4MiB',
    'edge.yaml:5:15: log.level: must be one of trace, debug, info, warn, error, fatal, silent, not "loud"',
    'default: admin.listen: must differ from listen; both are 127.0.0.1:8081',
  ]);
  assert.deepEqual(headsOf(load(`${MINIMAL}memory: { arena: 20000001 }\nadmin: { listen: 0.0.0.0:9 }\n`)), [
    'edge.yaml:3:18: memory.arena: must be a multiple of 64KiB, not 20000001 bytes',
    'edge.yaml:4:18: admin.listen: is 0.0.0.0:9, which others can reach: set admin.token, or listen on 127.0.0.1',
  ]);
  mustLoad(`${MINIMAL}admin: { listen: 0.0.0.0:9, token: 0123456789 }\n`);
  mustLoad(`${MINIMAL}admin: { listen: 127.0.0.1:0 }\nlisten: 127.0.0.1:0\n`);
  mustLoad(`${MINIMAL}purge: { allow: [127.0.0.1, 192.0.2.0/24] }\n`);
});

test('bounds hold, and are named', () => {
  assert.deepEqual(
    headsOf(load(MINIMAL, { RAWSLICE_UPSTREAM__CONNECTIONS: '0', RAWSLICE_DEVICE__SIZE: '1MiB', RAWSLICE_UPSTREAM__HEAD_TIMEOUT: '2h' })),
    [
      'environment RAWSLICE_UPSTREAM__HEAD_TIMEOUT: upstream.headTimeout: must be between 1ms and 1h, not "2h"',
      'environment RAWSLICE_UPSTREAM__CONNECTIONS: upstream.connections: must be between 1 and 4096, not "0"',
      'environment RAWSLICE_DEVICE__SIZE: device.size: must be between 64MiB and 1024TiB, not "1MiB"',
    ],
  );
});

test('what is wrong with rules', () => {
  const text = `${MINIMAL}rules:
  - { name: a, match: '(' }
  - { name: b, prefix: x, freshfor: 1m }
  - { name: c, prefix: /, match: . }
  - { name: d }
  - { name: e, prefix: /e/, store: never, freshFor: 1m }
  - { name: f, prefix: /f/ }
  - { name: f, prefix: /g/ }
  - { prefix: /h/ }
  - word
`;
  assert.deepEqual(headsOf(load(text)), [
    'edge.yaml:4:23: rules.0.match: is not a regular expression: unterminated group',
    'edge.yaml:5:24: rules.1.prefix: must be a path that begins with a slash, not "x"',
    'edge.yaml:5:27: rules.1.freshfor: is not a key of a rule; did you mean freshFor?',
    'edge.yaml:6:5: rules.2: has both match and prefix; keep one',
    'edge.yaml:7:5: rules.3: needs match or prefix',
    'edge.yaml:8:5: rules.4: stores nothing (store: never), so freshFor cannot hold; leave one out',
    'edge.yaml:10:5: rules.6.name: is "f" as in line 9; names are unique',
    'edge.yaml:11:5: rules.7.name: is required',
    'edge.yaml:12:5: rules.8: must be a rule: a name, match or prefix, and what holds there',
  ]);
  assert.deepEqual(headsOf(load(`${MINIMAL}preset: alpine\nrules: [{ name: alpine-packages, prefix: / }]\n`)), [
    'edge.yaml:4:9: rules: alpine-packages is the name of a rule of the preset; choose another',
  ]);
  assert.deepEqual(headsOf(load(MINIMAL, {}, [['rules.0.name', 'x', 'flag']])), ['flag: rules.0.name: can be given in a file only']);
});

test('row 44: a rule may follow redirects, to hosts that it names', () => {
  const rule = (keys: string): string => `${MINIMAL}rules: [{ name: a, prefix: /, ${keys} }]\n`;
  const { rules } = mustLoad(rule('followRedirects: 3, redirectHosts: "CDN.example *.blob.example 10.0.0.7:8080 [::1]:80 *"'));
  assert.deepEqual(rules[0]?.redirects, { hopsMax: 3, hosts: ['cdn.example', '*.blob.example', '10.0.0.7:8080', '[::1]:80', '*'] });
  assert.equal(mustLoad(rule('followRedirects: 0')).rules[0]?.redirects, undefined);
  assert.deepEqual(headsOf(load(rule('followRedirects: 11'))), [
    'edge.yaml:3:48: rules.0.followRedirects: must be a number from 0 to 10, not "11"',
  ]);
  assert.deepEqual(headsOf(load(rule('redirectHosts: a.example'))), [
    'edge.yaml:3:9: rules.0: has redirectHosts without followRedirects; add it',
  ]);
  assert.deepEqual(headsOf(load(rule('followRedirects: 1, redirectHosts: https://a.example/'))), [
    'edge.yaml:3:66: rules.0.redirectHosts: must be hosts such as cdn.example, *.cdn.example, 10.0.0.7:8080 or *, not "https://a.example/"',
  ]);
});

test('a rule checks the type of what it makes fresh unless it says otherwise, and makes something fresh', () => {
  const rule = (keys: string): string => `${MINIMAL}rules: [{ name: a, prefix: /, ${keys} }]\n`;
  assert.equal(mustLoad(rule('freshFor: 5m')).rules[0]?.checksContentType, true);
  assert.equal(mustLoad(rule('immutable: true, checkContentType: false')).rules[0]?.checksContentType, false);
  assert.deepEqual(headsOf(load(rule('missingFreshFor: 5m, checkContentType: false'))), [
    'edge.yaml:3:9: rules.0: has checkContentType without immutable or freshFor, whose content it is about; add one',
  ]);
});

test('files that are no configuration', () => {
  assert.deepEqual(headsOf(load('a: [1\nb: 2\n')).slice(0, 1), [
    'edge.yaml:2:1: flow sequence in block collection must be sufficiently indented and end with a ]',
  ]);
  assert.deepEqual(headsOf(load('just words\n')), ['edge.yaml:1:1: must be a map of options, such as `listen: 127.0.0.1:8080`']);
  assert.deepEqual(headsOf(load('listen: &a x\nlog: { level: *a }\n')), ['edge.yaml:2:15: is an alias; write the value out']);
  assert.deepEqual(headsOf(load('log: { level: info }\nlog: { access: true }\n')), [
    'edge.yaml:2:1: "log" is given twice; the first is in line 1',
  ]);
  assert.deepEqual(headsOf(load(`${MINIMAL}listen:\n`)), ['edge.yaml:3:8: listen: has no value; leave the key out to get its default']);
  assert.deepEqual(headsOf(load('')), ['configuration: upstream.url: is required', 'configuration: device.path: is required']);
  assert.deepEqual(headsOf(load('x'.repeat(300_000))), ['edge.yaml: is larger than 256KiB']);
  assert.deepEqual(headsOf(loadConfig({ file: path.join(FOLDER, 'none.yaml'), environment: {} })), ['none.yaml: does not exist']);
  assert.deepEqual(headsOf(loadConfig({ file: FOLDER, environment: {} })), [`${FOLDER}: is a directory`]);
  writeFileSync(FILE, new Uint8Array([0x61, 0xff, 0xfe]));
  assert.deepEqual(headsOf(loadConfig({ file: FILE, environment: {} })), ['edge.yaml: is not UTF-8 text']);
});

test('a section whose keys are all commented out is empty', () => {
  mustLoad(`${MINIMAL}log:\n  # level: info\nrules:\n`);
});

test('long lines are cut around the caret, and control characters do not reach the terminal', () => {
  const [problem] = problemsOf(load(`listen: "${'x'.repeat(300)}"\n`));
  assert.ok(problem?.split('\n').every((line) => line.length < 200));
  const [coloured] = problemsOf(load('listen: "a\u001b[31m"\n'));
  assert.equal(coloured?.includes('\u001b'), false);
});

test('config/default.yaml is valid', () => {
  const result = loadConfig({ file: path.join(ROOT, 'config/default.yaml'), environment: {} });
  assert.ok(result.kind === 'ok', headsOf(result).join('\n'));
  assert.deepEqual(
    [result.config.preset, result.config.upstream.origin, result.config.device],
    [
      'debian',
      'http://deb.debian.org',
      {
        paths: ['var/rawslice.cache'],
        sizeBytes: 10 * 1024 ** 3,
        formatsBlank: false,
        io: 'auto',
        writeBudgetBytes: undefined,
        compression: 'auto',
        scrubPeriodMs: 30 * 86_400_000,
        trims: false,
      },
    ],
  );
});

test('no text throws, and what is not valid has a problem', () => {
  const key = fc.constantFrom('listen', 'upstream', 'rules', 'device', 'log', 'name', 'match', 'x');
  const scalar = fc.constantFrom(
    '1',
    '[',
    ']',
    '{',
    '}',
    '*a',
    '&a b',
    '!!binary x',
    '|',
    '"',
    '- y',
    '? z',
    '<<',
    '~',
    '%YAML 9',
    '---',
    '\t',
    '\u0000',
  );
  const line = fc.tuple(fc.nat(6), key, scalar).map(([indent, name, value]) => `${' '.repeat(indent)}${name}: ${value}`);
  const yamlLike = fc.array(fc.oneof(line, fc.string()), { maxLength: 12 }).map((lines) => lines.join('\n'));
  const anyText = fc.oneof(fc.string({ unit: 'binary', maxLength: 200 }), yamlLike);
  fc.assert(
    fc.property(anyText, (text) => {
      for (const problem of parseConfigText(text, 'f.yaml').problems) assert.notEqual(formatProblem(problem), '');
    }),
    { numRuns: 200 },
  );
});

test('hostile nesting and endless maps end quickly, with few problems', () => {
  const nested = ['['.repeat(2000), '[]'.repeat(900), `${'['.repeat(900)}${']'.repeat(900)}`, '- '.repeat(2000), '{a: '.repeat(900)];
  for (const text of nested) {
    const { problems } = parseConfigText(text, 'f.yaml');
    assert.ok(problems.length > 0 && problems.length <= 20, `${problems.length} problems`);
  }
  const many = Array.from({ length: 2000 }, (_, index) => `k${index}: 1`).join('\n');
  assert.deepEqual(
    parseConfigText(many, 'f.yaml').problems.map(({ message }) => message),
    ['has 2000 keys; the limit is 100'],
  );
});

test('device.path takes several, as a list or with commas, and each once', () => {
  const pathsOf = (text: string): readonly string[] => {
    const result = load(`upstream: { url: "http://origin.test" }\ndevice: { path: ${text} }\n`);
    return result.kind === 'ok' ? result.config.device.paths : headsOf(result);
  };
  assert.deepEqual(pathsOf('[/dev/a, /dev/b]'), ['/dev/a', '/dev/b']);
  assert.deepEqual(pathsOf('"/dev/a, /dev/b"'), ['/dev/a', '/dev/b']);
  assert.match(pathsOf('[/dev/a, /dev/b, /dev/a]')[0] ?? '', /device\.path: names .*\/dev\/a.* twice/);
  assert.match(pathsOf('["/dev/a,b"]')[0] ?? '', /device\.path: must be a list of paths without commas/);
  assert.match(pathsOf('[]')[0] ?? '', /device\.path: must be the path/);
  assert.match(pathsOf(`[${Array.from({ length: 17 }, (_, number) => `/dev/${number}`).join(', ')}]`)[0] ?? '', /at most 16/);
});
