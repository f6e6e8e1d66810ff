/** Which inherited sockets are whose: what systemd and a process that hands over say in the environment. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { socketsOfServices, takeInheritance } from '../../src/app/inherited-sockets.ts';

const IDS = { pid: 100, ppid: 50 };

function take(environment: Record<string, string>): [Record<string, readonly number[]>, boolean] {
  const { sockets, isHandover } = takeInheritance(environment, IDS);
  assert.deepEqual(
    Object.keys(environment).filter((name) => name.startsWith('LISTEN') || name.startsWith('RAWSLICE')),
    [],
    'no child takes the sockets for its own',
  );
  return [Object.fromEntries(sockets), isHandover];
}

test('sockets of systemd, by sd_listen_fds(3)', () => {
  assert.deepEqual(take({}), [{}, false]);
  assert.deepEqual(take({ LISTEN_PID: '100', LISTEN_FDS: '3', LISTEN_FDNAMES: 'web:admin:web' }), [{ web: [3, 5], admin: [4] }, false]);
  assert.deepEqual(take({ LISTEN_PID: '100', LISTEN_FDS: '2' }), [{ '': [3, 4] }, false]);
  // Of a parent that did not take them out of the environment.
  assert.deepEqual(take({ LISTEN_PID: '99', LISTEN_FDS: '2' }), [{}, false]);
  for (const count of ['-1', 'x', '65', '1.5'])
    assert.throws(() => take({ LISTEN_PID: '100', LISTEN_FDS: count }), { code: 'LISTEN_FAILED' }, count);
});

test('sockets of the process before', () => {
  assert.deepEqual(take({ RAWSLICE_HANDOVER: '50:4:web:admin', LISTEN_PID: '100', LISTEN_FDS: '1' }), [{ web: [4], admin: [5] }, true]);
  // Left over in the environment of something else.
  assert.deepEqual(take({ RAWSLICE_HANDOVER: '49:4:web:admin' }), [{}, false]);
});

test('a socket belongs to the service of its name, or to the only one', () => {
  const sockets = new Map([
    ['web', [3]],
    ['admin', [4]],
  ]);
  assert.deepEqual([...socketsOfServices(sockets, ['web', 'api'])], [['web', [3]]]);
  assert.deepEqual([...socketsOfServices(sockets, ['default'])], [['default', [3]]]);
  assert.throws(() => socketsOfServices(sockets, ['one', 'two']), { code: 'LISTEN_FAILED', message: /"web".*one, two, admin/ });
});
