/** Sizes, durations, addresses and suggestions as text. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatDuration, parseDuration } from '../../src/config/duration.ts';
import { environmentName, readEnvironment } from '../../src/config/environment.ts';
import { formatListenAddress, isLoopback, parseListenAddress } from '../../src/config/listen-address.ts';
import { formatNetworks, parseNetworks } from '../../src/config/network.ts';
import { OPTION_KEYS } from '../../src/config/options.ts';
import type { Parsed } from '../../src/config/parsed.ts';
import { parseBoolean, parseProtocols } from '../../src/config/schema.ts';
import { formatSize, parseSize } from '../../src/config/size.ts';
import { findSuggestion } from '../../src/config/suggestion.ts';

function valueIn<T>(verdict: Parsed<T>): T | 'invalid' {
  return verdict.kind === 'ok' ? verdict.value : 'invalid';
}

function messageOf(verdict: Parsed<unknown>): string {
  return verdict.kind === 'invalid' ? verdict.message : 'ok';
}

test('parseSize() knows IEC, decimal and bare units', () => {
  const cases: readonly [string, number | 'invalid'][] = [
    ['0', 0],
    ['1500000', 1_500_000],
    ['64MiB', 64 * 1024 ** 2],
    ['100 GiB', 100 * 1024 ** 3],
    ['1TB', 1e12],
    ['1MB', 1e6],
    ['512k', 512 * 1024],
    ['1000g', 1000 * 1024 ** 3],
    ['2T', 2 * 1024 ** 4],
    ['7b', 7],
    ['1.5MiB', 1.5 * 1024 ** 2],
    ['0.1KiB', 'invalid'],
    ['', 'invalid'],
    ['-1', 'invalid'],
    ['1e3', 'invalid'],
    ['1,5MiB', 'invalid'],
    ['5 XiB', 'invalid'],
    ['8192TiB', 'invalid'],
    ['MiB', 'invalid'],
  ];
  for (const [text, bytes] of cases) assert.equal(valueIn(parseSize(text)), bytes, text);
  assert.equal(messageOf(parseSize('12XiB')), 'must be a size such as 64MiB, 100GiB or 512k, not "12XiB"');
});

test('parseDuration() wants units, each once and the larger first', () => {
  const cases: readonly [string, number | 'invalid'][] = [
    ['0', 0],
    ['0s', 0],
    ['500ms', 500],
    ['30s', 30_000],
    ['1h30m', 5_400_000],
    ['1d 12h', 129_600_000],
    ['1.5s', 1500],
    ['1w', 604_800_000],
    ['1y', 31_536_000_000],
    ['30', 'invalid'],
    ['1m1h', 'invalid'],
    ['1s1s', 'invalid'],
    ['1.0001ms', 'invalid'],
    ['5 min', 'invalid'],
    ['-1s', 'invalid'],
    ['', 'invalid'],
  ];
  for (const [text, ms] of cases) assert.equal(valueIn(parseDuration(text)), ms, text);
  assert.equal(messageOf(parseDuration('30')), 'needs a unit (ms, s, m, h, d, w, y): "30s" or the like');
});

test('parseListenAddress() wants an address as well as a port', () => {
  assert.deepEqual(valueIn(parseListenAddress('127.0.0.1:8080')), { host: '127.0.0.1', port: 8080 });
  assert.deepEqual(valueIn(parseListenAddress('[::1]:0')), { host: '::1', port: 0 });
  assert.deepEqual(valueIn(parseListenAddress('localhost:65535')), { host: 'localhost', port: 65535 });
  for (const text of ['8080', '127.0.0.1', '256.0.0.1:80', '[127.0.0.1]:80', 'example.org:80', '127.0.0.1:-1', '[::1]', 'a:b:c', '']) {
    assert.equal(valueIn(parseListenAddress(text)), 'invalid', text);
  }
  assert.equal(
    messageOf(parseListenAddress(':8080')),
    'must name an address: 127.0.0.1:8080 for this machine only, 0.0.0.0:8080 or [::]:8080 for every interface',
  );
  assert.equal(messageOf(parseListenAddress('127.0.0.1:65536')), 'has port 65536; ports go from 0 to 65535');
  assert.match(messageOf(parseListenAddress('::1:8080')), /brackets$/);
  assert.deepEqual(
    ['127.9.9.9', '::1', 'localhost', '0.0.0.0', '::'].map((host) => isLoopback({ host, port: 1 })),
    [true, true, true, false, false],
  );
});

test('sizes, durations and addresses read back what they print', () => {
  const amount = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  fc.assert(fc.property(amount, (bytes) => valueIn(parseSize(formatSize(bytes))) === bytes));
  fc.assert(fc.property(amount, (ms) => valueIn(parseDuration(formatDuration(ms))) === ms));
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.integer({ min: 0, max: 65_535 }), (host, port) => {
      assert.deepEqual(valueIn(parseListenAddress(formatListenAddress({ host, port }))), { host, port });
    }),
  );
});

test('parseBoolean() takes the usual words', () => {
  assert.deepEqual(
    ['true', 'Yes', 'on'].map((text) => valueIn(parseBoolean(text))),
    [true, true, true],
  );
  assert.deepEqual(
    ['false', 'no', 'OFF'].map((text) => valueIn(parseBoolean(text))),
    [false, false, false],
  );
  assert.equal(messageOf(parseBoolean('1')), 'must be true or false, not "1"');
});

test('findSuggestion() finds what is near, and nothing else', () => {
  assert.equal(
    findSuggestion(
      'conections',
      OPTION_KEYS.map((key) => key.split('.')[1] ?? key),
    ),
    'connections',
  );
  assert.equal(findSuggestion('debain', ['generic', 'debian']), 'debian');
  assert.equal(findSuggestion('ab', ['listen']), undefined);
  assert.equal(findSuggestion('', ['a', 'listen']), 'a');
});

test('every option has a variable, and unknown variables are judged by their look', () => {
  assert.equal(environmentName('upstream.connectTimeout'), 'RAWSLICE_UPSTREAM__CONNECT_TIMEOUT');
  assert.equal(new Set(OPTION_KEYS.map(environmentName)).size, OPTION_KEYS.length);
  const { overrides, problems } = readEnvironment({
    RAWSLICE_LISTEN: '127.0.0.1:1',
    RAWSLICE_ADMIN__TOKEN: '',
    RAWSLICE_SERVICE_HOST: '10.0.0.1',
    RAWSLICE_PRESETS: 'debian',
    RAWSLICE_UPSTREAM__URI: 'http://x',
    PATH: '/bin',
  });
  assert.deepEqual(overrides, [['listen', '127.0.0.1:1', 'environment RAWSLICE_LISTEN']]);
  assert.deepEqual(problems, [
    { source: 'environment RAWSLICE_PRESETS', message: 'names no option', suggestion: 'RAWSLICE_PRESET' },
    { source: 'environment RAWSLICE_UPSTREAM__URI', message: 'names no option', suggestion: 'RAWSLICE_UPSTREAM__URL' },
  ]);
});

test('networks: lists of both families, single addresses, and what is none', () => {
  const networks = parseNetworks('192.0.2.0/24, 127.0.0.1,2001:db8::/32,::1');
  assert.ok(networks.kind === 'ok');
  assert.equal(formatNetworks(networks.value), '192.0.2.0/24,127.0.0.1/32,2001:db8::/32,::1/128');
  assert.deepEqual(parseNetworks(formatNetworks(networks.value)), networks);
  for (const text of ['', 'localhost', '192.0.2.0/33', '192.0.2/24', '::1/129', '1.2.3.4/8/8', '1.2.3.4/', 'fe80::1%eth0', '1.2.3.4,,'])
    assert.match(messageOf(parseNetworks(text)), /^must be networks such as/, text);
  assert.match(messageOf(parseNetworks(Array(257).fill('::1').join())), /names 257 networks; the limit is 256/);
});

test('parseProtocols() takes names, and none that would hide requests', () => {
  assert.deepEqual(parseProtocols('WebSocket, chat/2'), { kind: 'ok', value: ['websocket', 'chat/2'] });
  assert.deepEqual(parseProtocols('none'), { kind: 'ok', value: [] });
  for (const text of ['h2c', 'websocket,h2c', 'TLS/1.0', 'HTTP/2.0', 'h2'])
    assert.match(messageOf(parseProtocols(text)), /^must not have ".*": requests inside it would pass by/, text);
  for (const text of ['', 'none,websocket', 'a b', '/2', 'a/b/c'])
    assert.match(messageOf(parseProtocols(text)), /^must be protocols such as/, text);
  assert.match(messageOf(parseProtocols(Array(9).fill('a').join())), /names 9 protocols; the limit is 8/);
});
