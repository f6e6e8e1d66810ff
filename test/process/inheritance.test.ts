/** Which inherited sockets are whose: what systemd and a process that hands over say in the environment. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { socketName, socketsOfServices, takeInheritance } from '../../src/app/inherited-sockets.ts';

const IDS = { pid: 100, ppid: 50 };

function take(environment: Record<string, string>): Record<string, unknown> {
  const { sockets, isHandover } = takeInheritance(environment, IDS);
  assert.deepEqual(
    Object.keys(environment).filter((name) => name.startsWith('LISTEN') || name.startsWith('RAWSLICE')),
    [],
    'no child takes the sockets for its own',
  );
  const { byService, byAddress, admin } = sockets;
  return { byService: Object.fromEntries(byService), byAddress: Object.fromEntries(byAddress), admin, isHandover };
}

const NOTHING = { byService: {}, byAddress: {}, admin: undefined, isHandover: false };

test('sockets of systemd, by sd_listen_fds(3)', () => {
  assert.deepEqual(take({}), NOTHING);
  const named = take({ LISTEN_PID: '100', LISTEN_FDS: '3', LISTEN_FDNAMES: 'web:admin:web' });
  assert.deepEqual(named, { ...NOTHING, byService: { web: [3, 5] }, admin: 4 });
  assert.deepEqual(take({ LISTEN_PID: '100', LISTEN_FDS: '2' }), { ...NOTHING, byService: { '': [3, 4] } });
  // Of a parent that did not take them out of the environment.
  assert.deepEqual(take({ LISTEN_PID: '99', LISTEN_FDS: '2' }), NOTHING);
  for (const count of ['-1', 'x', '65', '1.5'])
    assert.throws(() => take({ LISTEN_PID: '100', LISTEN_FDS: count }), { code: 'LISTEN_FAILED' }, count);
});

test('sockets of the process before', () => {
  const names = [socketName('address', '[::1]:80'), socketName('service', 'a:b/c'), socketName('admin', '')];
  const expected = { byService: { 'a:b/c': [5] }, byAddress: { '[::1]:80': 4 }, admin: 6, isHandover: true };
  assert.deepEqual(take({ RAWSLICE_HANDOVER: ['50', '4', ...names].join(':'), LISTEN_PID: '100', LISTEN_FDS: '1' }), expected);
  // Left over in the environment of something else.
  assert.deepEqual(take({ RAWSLICE_HANDOVER: `49:4:${names[0]}` }), NOTHING);
});

test('a socket belongs to the service of its name, or to the only one', () => {
  const sockets = new Map([['web', [3]]]);
  assert.deepEqual([...socketsOfServices(sockets, ['web', 'api'])], [['web', [3]]]);
  assert.deepEqual([...socketsOfServices(sockets, ['default'])], [['default', [3]]]);
  assert.throws(() => socketsOfServices(sockets, ['one', 'two']), { code: 'LISTEN_FAILED', message: /"web".*one, two, admin/ });
});
