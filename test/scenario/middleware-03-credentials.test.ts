/** Credentials at the edge: who has none sees nothing, not even what is stored; who has some shares what is stored, and nobody behind learns them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { argon2Sync, generateKeyPairSync, hash, scryptSync } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import { parsePasswordHash } from '../../src/middleware/shipped/password-hash.ts';
import { WatchedFile } from '../../src/middleware/shipped/watched-file.ts';
import { startEdge, type TestEdge } from '../helpers/edge.ts';
import { Origin } from '../helpers/origin.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';

const FRESH = { lengthBytes: 1000, cacheControl: 'public, max-age=600' };
const basic = (user: string, password: string): string => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

const PASSWORD = 'Hello world!';
/** By `openssl passwd`. */
const SHA256_CRYPT = '$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5';
const SHA512_CRYPT = '$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1';

test('passwords: the hashes that are promised are checked, the others say what to do', async () => {
  for (const hash of [SHA256_CRYPT, SHA512_CRYPT]) {
    assert.equal(await parsePasswordHash(hash).verify(PASSWORD), true, hash);
    assert.equal(await parsePasswordHash(hash).verify(`${PASSWORD}x`), false, hash);
  }
  const salt = Buffer.from('0123456789abcdef');
  const encode = (bytes: Buffer): string => bytes.toString('base64').replace(/=+$/, '');
  const argon = argon2Sync('argon2id', { message: 'pässword', nonce: salt, parallelism: 1, memory: 1024, passes: 2, tagLength: 32 });
  const argonText = `$argon2id$v=19$m=1024,t=2,p=1$${encode(salt)}$${encode(argon)}`;
  const scryptText = `$scrypt$ln=10,r=8,p=1$${encode(salt)}$${encode(scryptSync('pässword', salt, 32, { cost: 1024 }))}`;
  for (const text of [argonText, scryptText]) {
    assert.equal(await parsePasswordHash(text).verify('pässword'), true);
    assert.equal(await parsePasswordHash(text).verify('password'), false);
  }
  for (const kind of [
    '$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe',
    '$apr1$r31.$HqJZimcKQFAMYayBlzkrA/',
    '{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=',
    'plain',
  ])
    assert.throws(() => parsePasswordHash(kind), /is not supported; make the hash with `openssl passwd -6`/);
  assert.throws(() => parsePasswordHash('$6$rounds=900000$saltstring$x'), /sha512-crypt/);
  assert.throws(() => parsePasswordHash('$argon2id$v=19$m=9999999,t=3,p=4$MDEyMzQ1Njc4OWFi$MDEyMzQ1Njc4OWFiMDEyMzQ1Njc4OWFi'), /256 MiB/);
});

test('passwords: what openssl makes is checked, of any length', async (context) => {
  for (const kind of ['-5', '-6'])
    for (const length of [1, 15, 16, 31, 32, 63, 64, 65, 130]) {
      const password = 'x'.repeat(length);
      let hash: string;
      try {
        hash = execFileSync('openssl', ['passwd', kind, '-salt', 'abc', password], { encoding: 'utf8' }).trim();
      } catch {
        return context.skip('no openssl');
      }
      assert.equal(await parsePasswordHash(hash).verify(password), true, `${kind} ${length}`);
    }
});

async function statusOf(edge: TestEdge, path: string, authorization?: string): Promise<number | undefined> {
  return (await edge.get(path, authorization === undefined ? {} : { authorization })).status;
}

test('basic: a hit is for who knows a password, what is stored is shared by them, and the file is read again when it changes', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await withTemporaryDirectory(async (folder) => {
    const file = path.join(folder, 'users');
    const line = (user: string): string => `${user}:$6$rounds=1000$abc$${'x'.repeat(86)}\n`;
    await writeFile(file, `# users\n\nann:${SHA512_CRYPT}\nbob:${SHA256_CRYPT}\n${line('eve')}`);
    const yaml = `
middlewares:
  - { name: users, use: basic, options: { file: "${file}", realm: "a \\"b", userField: x-user } }
  - { name: seen, use: basic, options: { file: "${file}", strip: false, private: false } }
routes: [{ name: kept, prefix: /kept, middlewares: seen }, { name: all, middlewares: users }]
`;
    await using edge = await startEdge({ origin, yaml });
    const none = await edge.get('/x');
    assert.deepEqual([none.status, none.headers['www-authenticate']], [401, 'Basic realm="a \\"b", charset="UTF-8"']);
    assert.equal(none.headers['cache-control'], 'no-store, private');
    for (const wrong of [
      basic('ann', 'no'),
      basic('eve', 'no'),
      basic('nobody', 'Hello world!'),
      'Basic',
      'Basic !',
      'Bearer x',
      'Basic Og==',
    ])
      assert.equal(await statusOf(edge, '/x', wrong), 401, wrong);
    assert.equal(origin.requests.length, 0);
    const first = await edge.get('/x', { authorization: basic('ann', PASSWORD), 'x-user': 'root' });
    assert.deepEqual([first.status, first.headers['x-cache'], first.headers['cache-control']], [200, 'MISS', 'max-age=600, private']);
    await edge.settle();
    const second = await edge.get('/x', { authorization: basic('bob', PASSWORD) });
    assert.deepEqual([second.status, second.headers['x-cache']], [200, 'HIT']);
    assert.equal(await statusOf(edge, '/x'), 401);
    await edge.get('/post', { authorization: basic('ann', PASSWORD), 'x-user': 'root', 'content-length': '0' }, { method: 'POST' });
    // What a client calls a field of its connection is not passed on: it must not be able to have left out what the edge says.
    const hops = { authorization: basic('ann', PASSWORD), connection: 'close, X-User, x-other', 'x-other': '1' };
    await edge.get('/post', hops, { method: 'POST' });
    assert.deepEqual(
      origin.requests.map(({ method, headers }) => [method, headers.authorization, headers['x-user'], headers['x-other']]),
      [
        ['GET', undefined, undefined, undefined],
        ['POST', undefined, 'ann', undefined],
        ['POST', undefined, 'ann', undefined],
      ],
    );
    // Not stripped: RFC 9111 s3.5 holds, and public lets it be stored and shared.
    assert.equal(await statusOf(edge, '/kept/x', basic('ann', PASSWORD)), 200);
    assert.equal(origin.requestsFor('/kept/x')[0]?.headers.authorization, basic('ann', PASSWORD));
    assert.equal(await edge.metric('rawslice_middleware_events_total{middleware="users",event="refused"}'), 3);
    assert.ok((await edge.metric('rawslice_middleware_entries{middleware="users"}')) >= 5);
  });
});

test('a file of users is read again when it has changed and stands still; what is wrong in it leaves those before', async () => {
  await withTemporaryDirectory(async (folder) => {
    const file = path.join(folder, 'list');
    const logged: string[] = [];
    await writeFile(file, 'one');
    const parse = (text: string): string => {
      if (text === 'bad') throw new Error('bad');
      return text;
    };
    const watched = new WatchedFile(file, parse, { every: () => undefined, log: (level) => logged.push(level) });
    const replace = async (text: string): Promise<void> => {
      await writeFile(`${file}.new`, text);
      await rename(`${file}.new`, file);
    };
    await replace('two');
    watched.look();
    assert.equal(watched.content, 'one');
    watched.look();
    assert.equal(watched.content, 'two');
    await replace('bad');
    watched.look();
    watched.look();
    watched.look();
    assert.equal(watched.content, 'two');
    assert.deepEqual(logged, ['info', 'error']);
    assert.throws(() => new WatchedFile(path.join(folder, 'none'), parse, { every: () => undefined, log: () => undefined }));
  });
});

test('bearer: tokens by name, from the configuration and from a file', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  await withTemporaryDirectory(async (folder) => {
    const file = path.join(folder, 'tokens');
    await writeFile(file, `ci:plain-token-1\n# c\nops:sha256:${hash('sha256', 'hashed-token')}\n`);
    const yaml = `middlewares: [{ name: t, use: bearer, options: { tokens: { own: own-token-1 }, file: "${file}", nameField: x-who } }]\n`;
    await using edge = await startEdge({ origin, yaml });
    for (const [token, name] of [
      ['own-token-1', 'own'],
      ['plain-token-1', 'ci'],
      ['hashed-token', 'ops'],
    ]) {
      origin.forgetRequests();
      const answer = await edge.get('/x', { authorization: `bearer ${token}`, 'content-length': '0' }, { method: 'POST' });
      assert.equal(answer.status, 200);
      assert.deepEqual([origin.requests[0]?.headers['x-who'], origin.requests[0]?.headers.authorization], [name, undefined]);
    }
    const wrong = await edge.get('/x', { authorization: 'Bearer other-token' });
    assert.deepEqual([wrong.status, wrong.headers['www-authenticate']], [401, 'Bearer realm="restricted", error="invalid_token"']);
    assert.equal((await edge.get('/x')).headers['www-authenticate'], 'Bearer realm="restricted"');
  });
});

const SECRET = 'a secret of thirty-two characters'.replaceAll(' ', '-');

interface TokenParts {
  readonly claims?: Record<string, unknown>;
  readonly expires?: string | number | null;
  readonly algorithm?: string;
  readonly key?: Parameters<SignJWT['sign']>[0];
  readonly kid?: string;
}

async function tokenOf({
  claims = {},
  expires = '1h',
  algorithm = 'HS256',
  key = new TextEncoder().encode(SECRET),
  kid,
}: TokenParts): Promise<string> {
  const jwt = new SignJWT({ iss: 'https://issuer.example', aud: 'edge', sub: 'ann', ...claims }).setProtectedHeader({
    alg: algorithm,
    ...(kid === undefined ? {} : { kid }),
  });
  if (expires !== null) jwt.setExpirationTime(expires);
  return `Bearer ${await jwt.sign(key)}`;
}

test('jwt: signature, algorithm, issuer, audience and times count; claims become fields that nobody else can set', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const yaml = `
middlewares:
  - name: tokens
    use: jwt
    options:
      algorithms: [HS256]
      secret: ${SECRET}
      issuer: https://issuer.example
      audience: [edge, other]
      cookie: session
      claims: { x-user: sub, x-roles: roles, x-odd: odd }
`;
  await using edge = await startEdge({ origin, yaml });
  const nowSeconds = Math.floor(Date.now() / 1000);
  const wrongs: readonly (readonly [string, string])[] = [
    ['garbage', 'Bearer a.b.c'],
    ['none', `Bearer ${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{"sub":"ann"}').toString('base64url')}.`],
    ['another secret', await tokenOf({ key: new TextEncoder().encode('x'.repeat(40)) })],
    ['another algorithm', await tokenOf({ algorithm: 'HS512', key: new TextEncoder().encode(SECRET.repeat(2)) })],
    ['expired', await tokenOf({ expires: nowSeconds - 60 })],
    ['without expiry', await tokenOf({ expires: null })],
    ['not yet', await tokenOf({ claims: { nbf: nowSeconds + 3600 } })],
    ['another issuer', await tokenOf({ claims: { iss: 'https://else.example' } })],
    ['another audience', await tokenOf({ claims: { aud: 'else' } })],
  ];
  for (const [what, token] of wrongs) assert.equal(await statusOf(edge, '/x', token), 401, what);
  assert.equal(await statusOf(edge, '/x'), 401);
  assert.equal(origin.requests.length, 0);
  const spoofed = { 'x-user': 'root', 'x-roles': 'root', 'x-odd': 'root', 'content-length': '0' };
  const token = await tokenOf({ claims: { roles: ['a', 'b'], odd: { x: 1 } }, expires: nowSeconds - 10 });
  assert.equal((await edge.get('/x', { authorization: token, ...spoofed }, { method: 'POST' })).status, 200);
  const { headers = {} } = origin.requests[0] ?? {};
  assert.deepEqual([headers['x-user'], headers['x-roles'], headers['x-odd'], headers.authorization], ['ann', 'a,b', undefined, undefined]);
  origin.forgetRequests();
  const cookie = `a=b; session=${token.slice(7)}; c=d`;
  assert.equal((await edge.get('/x', { cookie, 'content-length': '0' }, { method: 'POST' })).status, 200);
  assert.equal(origin.requests[0]?.headers.cookie, 'a=b; c=d');
  const kept = await edge.get('/y', { authorization: token });
  assert.deepEqual([kept.status, kept.headers['x-cache']], [200, 'MISS']);
  await edge.settle();
  assert.equal((await edge.get('/y', { authorization: await tokenOf({ claims: { sub: 'bob' } }) })).headers['x-cache'], 'HIT');
  assert.equal(await edge.metric('rawslice_middleware_events_total{middleware="tokens",event="expired"}'), 1);
});

test('jwt: keys of a set are fetched, a new one when a token names it, and stay while they cannot be had', async () => {
  await using origin = await Origin.start({ resolve: () => FRESH });
  const pairs = (['RS256', 'ES256', 'EdDSA'] as const).map((algorithm) => {
    const pair =
      algorithm === 'RS256'
        ? generateKeyPairSync('rsa', { modulusLength: 2048 })
        : algorithm === 'ES256'
          ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
          : generateKeyPairSync('ed25519');
    return { algorithm, ...pair };
  });
  const published: object[] = [];
  let fetches = 0;
  let isBroken = false;
  const server = createServer((_request, response) => {
    fetches += 1;
    response.statusCode = isBroken ? 500 : 200;
    response.end(JSON.stringify({ keys: published }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const publish = async (index: number): Promise<void> => {
    const pair = pairs[index];
    if (pair !== undefined) published.push({ ...(await exportJWK(pair.publicKey)), kid: pair.algorithm });
  };
  const sign = async (index: number): Promise<string> => {
    const pair = pairs[index];
    assert.ok(pair !== undefined);
    return tokenOf({ algorithm: pair.algorithm, key: pair.privateKey, kid: pair.algorithm });
  };
  try {
    await publish(0);
    await publish(1);
    const yaml = `middlewares: [{ name: m, use: jwt, options: { algorithms: [RS256, ES256, EdDSA], url: "http://127.0.0.1:${port}/jwks" } }]\n`;
    await using edge = await startEdge({ origin, yaml });
    assert.equal(await statusOf(edge, '/x', await sign(0)), 200);
    assert.equal(await statusOf(edge, '/x', await sign(1)), 200);
    // Within the cool-down nobody is asked, however many tokens name keys that there are not.
    await publish(2);
    for (let turn = 0; turn < 5; turn += 1) assert.equal(await statusOf(edge, '/x', await sign(2)), 401);
    assert.equal(fetches, 1);
    isBroken = true;
    assert.equal(await statusOf(edge, '/x', await sign(0)), 200);
    // A secret of the attacker's choice: the public key as a key of HS256.
    const forged = await tokenOf({ key: new TextEncoder().encode(JSON.stringify(published[0])) });
    assert.equal(await statusOf(edge, '/x', forged), 401);

    isBroken = false;
    await using other = await startEdge({ origin, yaml });
    assert.equal(await statusOf(other, '/x', await sign(2)), 200);
    isBroken = true;
    await using without = await startEdge({ origin, yaml });
    assert.equal(await statusOf(without, '/x', await sign(0)), 503);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
