import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PooledTransport, type PoolKey, TransportPool } from '../../src/upstream/transport-pool.ts';

class FakeTransport implements PooledTransport {
  readonly key: PoolKey;
  readonly waitingRequests = 0;
  isIdle = true;
  isClosed = false;

  constructor(key: PoolKey) {
    this.key = key;
  }

  start(): never {
    throw new Error('nothing is sent');
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }
}

function makePool() {
  const made: FakeTransport[] = [];
  const pool = new TransportPool((key) => {
    const transport = new FakeTransport(key);
    made.push(transport);
    return transport;
  });
  return { made, pool };
}

test('an origin has one transport, and another one where special addresses are refused', () => {
  const { made, pool } = makePool();
  const key = { origin: 'https://cdn.example', isGuarded: true };
  assert.equal(pool.get(key), pool.get({ ...key }));
  assert.notEqual(pool.get(key), pool.get({ ...key, isGuarded: false }));
  assert.deepEqual(
    made.map((transport) => transport.key.isGuarded),
    [true, false],
  );
});

test('32 at a time: the one unused for longest makes room, and none does while all are in use', async () => {
  const { made, pool } = makePool();
  const get = (number: number): unknown => pool.get({ origin: `https://cdn${number}.example`, isGuarded: true });
  for (let number = 0; number < 32; number += 1) get(number);
  get(0);
  get(32);
  assert.deepEqual(
    made.filter((transport) => transport.isClosed).map((transport) => transport.key.origin),
    ['https://cdn1.example'],
  );
  for (const transport of made) transport.isIdle = false;
  assert.equal(get(33), undefined);
  assert.notEqual(get(32), undefined);
  await pool.close();
  assert.ok(made.every((transport) => transport.isClosed));
});
