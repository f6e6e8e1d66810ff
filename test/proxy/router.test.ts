/** The router finds the first route, in the order in which they are written, that matches in all it names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matchesPath, type PathMatch, type RouteMatch, Router, withoutPrefix } from '../../src/proxy/router.ts';

interface Named {
  readonly name: string;
  readonly match: RouteMatch;
}

function route(name: string, match: Partial<RouteMatch>): Named {
  return { name, match: { hosts: [], path: { kind: 'any' }, methods: undefined, ...match } };
}

const prefix = (path: string): PathMatch => ({ kind: 'prefix', path });

test('hosts are exact, wildcards of any depth, or any; the order decides, not how narrow they are', () => {
  const router = new Router([
    route('deep', { hosts: ['*.cdn.example'], path: prefix('/deep') }),
    route('exact', { hosts: ['a.cdn.example', 'b.example'] }),
    route('wild', { hosts: ['*.example'] }),
    route('any', { path: prefix('/any') }),
  ]);
  const ask = (host: string | undefined, path = '/'): string => {
    const verdict = router.find({ host, path, method: 'GET' });
    return verdict.kind === 'route' ? verdict.route.name : verdict.why;
  };
  assert.deepEqual([ask('a.cdn.example'), ask('a.cdn.example:8080'), ask('a.cdn.example.')], ['exact', 'exact', 'exact']);
  assert.notEqual(ask('.example'), 'wild', 'a wildcard stands for a label');
  assert.deepEqual(
    [ask('a.cdn.example', '/deep/x'), ask('z.cdn.example', '/deep'), ask('z.cdn.example', '/deeper')],
    ['deep', 'deep', 'wild'],
  );
  assert.deepEqual([ask('x.y.example'), ask('example'), ask('example', '/any')], ['wild', 'path', 'any']);
  assert.deepEqual([ask(undefined), ask(undefined, '/any/x'), ask('[::1]:8080', '/any')], ['path', 'any', 'any']);
});

test('a host that no route has is told from a path and from a method', () => {
  const router = new Router([
    route('read', { hosts: ['a.example'], path: prefix('/x'), methods: ['GET'] }),
    route('write', { hosts: ['a.example'], path: prefix('/x'), methods: ['PUT', 'GET'] }),
  ]);
  const ask = (host: string, path: string, method: string): unknown => {
    const verdict = router.find({ host, path, method });
    return verdict.kind === 'route' ? verdict.route.name : verdict;
  };
  assert.equal(ask('a.example', '/x', 'HEAD'), 'read');
  assert.equal(ask('a.example', '/x', 'PUT'), 'write');
  assert.deepEqual(ask('b.example', '/x', 'GET'), { kind: 'absent', why: 'host' });
  assert.deepEqual(ask('a.example', '/y', 'GET'), { kind: 'absent', why: 'path' });
  assert.deepEqual(ask('a.example', '/x', 'POST'), { kind: 'absent', why: 'method', methods: ['GET', 'PUT'] });
});

test('prefixes count whole segments, and so does what is taken off', () => {
  const cases: readonly (readonly [prefix: string, path: string, isBelow: boolean])[] = [
    ['/api', '/api', true],
    ['/api', '/api/', true],
    ['/api', '/api/x', true],
    ['/api', '/apix', false],
    ['/api/', '/api', false],
    ['/api/', '/api/x', true],
    ['/', '/x', true],
  ];
  for (const [text, path, isBelow] of cases) assert.equal(matchesPath(prefix(text), path), isBelow, `${text} ${path}`);
  assert.deepEqual(
    ['/api', '/api/', '/api/x', '/apix'].map((path) => withoutPrefix(path, '/api')),
    ['/', '/', '/x', '/apix'],
  );
  assert.equal(withoutPrefix('/api', ''), '/api');
  assert.equal(matchesPath({ kind: 'exact', path: '/a' }, '/a/'), false);
  assert.equal(matchesPath({ kind: 'pattern', pattern: /\.deb$/u }, '/pool/a.deb'), true);
});

test('look-ups agree with going through the routes one by one', () => {
  const hostName = fc.constantFrom('a.b.c', 'b.c', 'c', 'x.c', 'x.b.c', 'y.x.b.c', 'd');
  const pattern = fc.oneof(
    hostName,
    hostName.map((host) => `*.${host}`),
  );
  const path = fc.constantFrom('/', '/a', '/a/b', '/ab');
  const match = fc.record({
    hosts: fc.array(pattern, { maxLength: 2 }),
    path: fc.oneof(
      fc.constant<PathMatch>({ kind: 'any' }),
      path.map(prefix),
      path.map((text): PathMatch => ({ kind: 'exact', path: text })),
    ),
    methods: fc.option(fc.subarray(['GET', 'PUT'], { minLength: 1 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(match, { maxLength: 8 }), hostName, path, fc.constantFrom('GET', 'PUT'), (matches, host, target, method) => {
      const routes = matches.map((own, index) => route(String(index), own));
      const isFor = (own: RouteMatch): boolean =>
        (own.hosts.length === 0 || own.hosts.some((text) => (text.startsWith('*.') ? host.endsWith(text.slice(1)) : text === host))) &&
        matchesPath(own.path, target) &&
        (own.methods === undefined || own.methods.includes(method));
      const verdict = new Router(routes).find({ host, path: target, method });
      assert.equal(
        verdict.kind === 'route' ? verdict.route : undefined,
        routes.find((own) => isFor(own.match)),
      );
    }),
  );
});
