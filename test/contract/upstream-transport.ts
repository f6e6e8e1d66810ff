/**
 * What every transport to an origin must do (src/upstream/upstream-transport.ts), whatever it is made of: a sink with rooms of odd sizes gets
 * exactly the body, a full sink stops the reading, every ending is told once and by its right name, and nothing is heard after an abort.
 * Each transport's own test calls runUpstreamTransportContract with a factory.
 */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import type { EdgeError } from '../../src/base/errors.ts';
import { KIB, MIB } from '../../src/base/units.ts';
import type { FieldList } from '../../src/http/header-fields.ts';
import type { BodySink, ResponseReceiver, Transfer, UpstreamHead, UpstreamTransport } from '../../src/upstream/upstream-transport.ts';
import { type BodyIdentity, bodyBytes } from '../helpers/body.ts';
import type { Certificate } from '../helpers/certificate.ts';
import { CutOrigin } from '../helpers/cut-origin.ts';
import { eventually } from '../helpers/eventually.ts';
import { Origin } from '../helpers/origin.ts';
import type { Misbehaviour } from '../helpers/origin-script.ts';

/** Time limits for the transport under test. */
export interface TransportLimits {
  readonly headTimeoutMs: number;
  readonly bodyTimeoutMs: number;
}

/** Makes the transport under test for one origin. */
export type TransportFactory = (origin: string, limits: TransportLimits) => UpstreamTransport;

/** A receiver that keeps everything and checks the order of calls. */
class Recorder implements ResponseReceiver, BodySink {
  readonly calls: string[] = [];
  readonly #sizes: readonly number[];
  #turn = 0;
  #lent: Uint8Array | undefined;
  readonly #pieces: Uint8Array[] = [];
  head: UpstreamHead | undefined;
  readonly interim: number[] = [];
  trailers: FieldList = [];
  error: EdgeError | undefined;
  /** Rooms left to lend; Infinity lends for ever. */
  rooms: number;
  onPiece: (() => void) | undefined;

  constructor(sizes: readonly number[] = [64 * KIB], rooms = Number.POSITIVE_INFINITY) {
    this.#sizes = sizes;
    this.rooms = rooms;
  }

  get body(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  get end(): string | undefined {
    return this.calls.find((call) => call === 'end' || call === 'error' || call === 'failure');
  }

  onInterim({ status }: UpstreamHead): void {
    assert.equal(this.head, undefined, 'interim responses come before the final one');
    this.interim.push(status);
  }

  onHead(head: UpstreamHead): BodySink {
    assert.equal(this.calls.length, 0, 'the head is told once, first');
    this.calls.push('head');
    this.head = head;
    return this;
  }

  onFailure(error: EdgeError): void {
    assert.equal(this.calls.length, 0, 'a failure is told instead of a head');
    this.calls.push('failure');
    this.error = error;
  }

  room(): Uint8Array | undefined {
    assert.equal(this.end, undefined, 'no room is asked for after the end');
    if (this.rooms <= 0) return undefined;
    this.#lent = new Uint8Array(this.#sizes[this.#turn % this.#sizes.length] ?? 1);
    return this.#lent;
  }

  onBytes(count: number): void {
    assert.equal(this.end, undefined, 'no byte comes after the end');
    assert.ok(this.#lent !== undefined && count > 0 && count <= this.#lent.length, 'the bytes fit the room');
    this.#pieces.push(this.#lent.subarray(0, count));
    this.#turn += 1;
    this.rooms -= 1;
    this.onPiece?.();
  }

  onEnd(trailers: FieldList): void {
    this.trailers = trailers;
    this.#finish('end');
  }

  onError(error: EdgeError): void {
    this.error = error;
    this.#finish('error');
  }

  #finish(call: string): void {
    assert.equal(this.end, undefined, 'the end is told once');
    assert.ok(this.head !== undefined, 'an end comes after the head');
    this.calls.push(call);
  }
}

interface Play {
  readonly origin: Origin;
  readonly transport: UpstreamTransport;
  readonly body: BodyIdentity;
  get(recorder: Recorder, more?: { method?: string; body?: Readable; path?: string }): Transfer;
}

/**
 * Runs all cases against the transport that the factory makes.
 *
 * @param about.tls what the origin speaks https with; http when undefined
 */
export function runUpstreamTransportContract(
  name: string,
  factory: TransportFactory,
  { keepsConnections = true, tls }: { readonly keepsConnections?: boolean; readonly tls?: Certificate } = {},
): void {
  const scenario = (
    what: string,
    options: { lengthBytes?: number; misbehaviour?: Misbehaviour; times?: number; limits?: Partial<TransportLimits> },
    run: (play: Play) => Promise<void>,
  ): void => {
    // Node tells nobody whether a TLS connection was ended by its peer or cut off below it.
    if (tls !== undefined && options.misbehaviour?.resetAfterBytes !== undefined && options.misbehaviour.closeDelimited === true) return;
    test(`${name}: ${what}`, async () => {
      await using origin = await Origin.start({ tls });
      const body = origin.setObject('/a', { lengthBytes: options.lengthBytes ?? 10_000 });
      if (options.misbehaviour !== undefined) origin.misbehave('/a', options.misbehaviour, options.times);
      const transport = factory(origin.url, { headTimeoutMs: 5000, bodyTimeoutMs: 5000, ...options.limits });
      const get: Play['get'] = (recorder, more = {}) =>
        transport.start(
          { method: more.method ?? 'GET', path: more.path ?? '/a', fields: [['host', 'origin.test']], body: more.body },
          recorder,
        );
      try {
        await run({ origin, transport, body, get });
      } finally {
        await transport.close();
      }
    });
  };
  const ended = (recorder: Recorder): Promise<string> => eventually(() => recorder.end, { what: 'an end' });

  for (const misbehaviour of [{}, { chunked: 777 }, { closeDelimited: true }]) {
    for (const sizes of [[1], [1, 2, 3, 5, 7, 1000], [4096], [MIB]]) {
      scenario(`the body in rooms of ${sizes.join()} bytes (${JSON.stringify(misbehaviour)})`, { misbehaviour }, async ({ get, body }) => {
        const recorder = new Recorder(sizes);
        get(recorder);
        assert.equal(await ended(recorder), 'end');
        assert.equal(recorder.head?.status, 200);
        assert.ok(recorder.body.equals(bodyBytes(body, 0, 10_000)));
      });
    }

    scenario(
      `a pause at every byte, resumed from outside (${JSON.stringify(misbehaviour)})`,
      { misbehaviour, lengthBytes: 300 },
      async ({ get, body }) => {
        const recorder = new Recorder([1], 0);
        const transfer = get(recorder);
        await eventually(() => recorder.head !== undefined);
        for (let count = 1; count <= 300; count += 1) {
          assert.equal(recorder.end, undefined, 'the end waits for room');
          recorder.rooms = 1;
          transfer.resume();
          await eventually(() => recorder.body.length === count, { what: `byte ${count}` });
        }
        recorder.rooms = 1;
        transfer.resume();
        assert.equal(await ended(recorder), 'end');
        assert.ok(recorder.body.equals(bodyBytes(body, 0, 300)));
      },
    );

    scenario(`room that comes from within onBytes (${JSON.stringify(misbehaviour)})`, { misbehaviour }, async ({ get, body }) => {
      const recorder = new Recorder([100], 1);
      const transfer = get(recorder);
      recorder.onPiece = () => {
        recorder.rooms = 1;
        transfer.resume();
      };
      assert.equal(await ended(recorder), 'end');
      assert.ok(recorder.body.equals(bodyBytes(body, 0, 10_000)));
    });
  }

  scenario('a full sink stops the reading', { lengthBytes: 64 * MIB }, async ({ get, origin }) => {
    const recorder = new Recorder([64 * KIB], 3);
    const transfer = get(recorder);
    await eventually(() => recorder.rooms === 0);
    let last = -1;
    let turns = 0;
    await eventually(() => {
      turns = origin.bytesSent() === last ? turns + 1 : 0;
      last = origin.bytesSent();
      return turns > 100;
    });
    assert.ok(last < 16 * MIB, `the origin sent ${last} bytes`);
    transfer.abort();
    await eventually(() => origin.connections.open === 0, { what: 'the end of the connection' });
  });

  scenario('HEAD, 204 and an empty body end without bytes', { lengthBytes: 0 }, async ({ get }) => {
    for (const method of ['HEAD', 'GET']) {
      const recorder = new Recorder([100], method === 'HEAD' ? 1 : 1);
      get(recorder, { method });
      assert.equal(await ended(recorder), 'end');
      assert.equal(recorder.body.length, 0);
    }
  });

  scenario('1xx heads are shown as what they are', { misbehaviour: { interim: [102, 103, 103] } }, async ({ get }) => {
    const recorder = new Recorder();
    get(recorder);
    assert.equal(await ended(recorder), 'end');
    assert.deepEqual([recorder.head?.status, recorder.calls, recorder.interim], [200, ['head', 'end'], [102, 103, 103]]);
  });

  scenario('1xx heads without end', { misbehaviour: { interim: Array.from({ length: 1000 }, () => 103) } }, async ({ get }) => {
    const recorder = new Recorder();
    get(recorder);
    assert.deepEqual([await ended(recorder), recorder.error?.code, recorder.interim.length], ['failure', 'UPSTREAM_INVALID', 32]);
  });

  scenario('trailers stand beside the body', { misbehaviour: { chunked: 999, trailers: { 'X-Sum': '42' } } }, async ({ get }) => {
    const recorder = new Recorder();
    get(recorder);
    assert.equal(await ended(recorder), 'end');
    assert.deepEqual(recorder.trailers, [['x-sum', '42']]);
    assert.equal(
      recorder.head?.fields.some(([name]) => name === 'x-sum'),
      false,
    );
  });

  scenario('a request with content is streamed', {}, async ({ get, origin }) => {
    const recorder = new Recorder();
    get(recorder, { method: 'PUT', body: Readable.from([Buffer.alloc(100_000), Buffer.alloc(100_000)]) });
    assert.equal(await ended(recorder), 'end');
    assert.equal(origin.requests[0]?.requestBodyBytes, 200_000);
  });

  for (const [what, misbehaviour, isTold] of [
    ['a body cut by a close', { closeAfterBytes: 5000 }, 'error'],
    ['a body cut by a reset', { resetAfterBytes: 5000 }, 'error'],
    ['a chunked body cut by a close', { closeAfterBytes: 5000, chunked: 1000 }, 'error'],
    ['a chunked body cut by a close that was announced', { closeAfterBytes: 5000, chunked: 1000, connectionClose: true }, 'error'],
    ['a body without its last byte, announced close', { closeAfterBytes: 9999, connectionClose: true }, 'error'],
    ['a body without length cut by a reset', { resetAfterBytes: 5000, closeDelimited: true }, 'error'],
    ['a chunked body cut by a reset after an announced close', { resetAfterBytes: 5000, chunked: 1000, connectionClose: true }, 'error'],
    ['a close before the head', { raw: '' }, 'failure'],
    ['a reset before the head', { raw: '', rawThen: 'reset' }, 'failure'],
  ] as const) {
    scenario(`UPSTREAM_BROKEN after ${what}`, { misbehaviour }, async ({ get }) => {
      const recorder = new Recorder();
      get(recorder);
      assert.deepEqual([await ended(recorder), recorder.error?.code], [isTold, 'UPSTREAM_BROKEN'], JSON.stringify(recorder.error?.context));
      assert.ok(recorder.body.length < 10_000);
    });
  }

  scenario(
    'a reset beside a full sink is no end',
    { misbehaviour: { resetAfterBytes: 5000, closeDelimited: true } },
    async ({ get, origin }) => {
      const recorder = new Recorder([100], 0);
      const transfer = get(recorder);
      await eventually(() => origin.connections.accepted === 1 && origin.connections.open === 0, { what: 'the reset' });
      recorder.rooms = Number.POSITIVE_INFINITY;
      transfer.resume();
      assert.deepEqual([await ended(recorder), recorder.error?.code], ['error', 'UPSTREAM_BROKEN']);
    },
  );

  for (const [what, misbehaviour] of [
    ['no HTTP', { raw: 'SSH-2.0-OpenSSH\r\n' }],
    ['a malformed head', { raw: 'HTTP/1.1 200 OK\r\nno colon\r\n\r\n' }],
    ['a head of 200 KiB', { headBytes: 200 * KIB }],
  ] as const) {
    scenario(`UPSTREAM_INVALID after ${what}`, { misbehaviour }, async ({ get }) => {
      const recorder = new Recorder();
      get(recorder);
      assert.deepEqual([await ended(recorder), recorder.error?.code], ['failure', 'UPSTREAM_INVALID']);
    });
  }

  scenario('UPSTREAM_UNREACHABLE when nobody listens', {}, async ({ get, origin }) => {
    await origin.stop();
    const recorder = new Recorder();
    get(recorder);
    assert.deepEqual([await ended(recorder), recorder.error?.code], ['failure', 'UPSTREAM_UNREACHABLE']);
  });

  scenario('UPSTREAM_TIMEOUT without a head', { misbehaviour: { holdHead: true }, limits: { headTimeoutMs: 50 } }, async ({ get }) => {
    const recorder = new Recorder();
    get(recorder);
    assert.deepEqual([await ended(recorder), recorder.error?.code], ['failure', 'UPSTREAM_TIMEOUT']);
  });

  scenario('UPSTREAM_TIMEOUT in the body', { misbehaviour: { pauseAfterBytes: 100 }, limits: { bodyTimeoutMs: 50 } }, async ({ get }) => {
    const recorder = new Recorder();
    get(recorder);
    assert.deepEqual([await ended(recorder), recorder.error?.code], ['error', 'UPSTREAM_TIMEOUT']);
  });

  scenario(
    'a refusal after Content-Length beside Transfer-Encoding, by either name',
    {
      misbehaviour: { raw: 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' },
    },
    async ({ get }) => {
      const recorder = new Recorder();
      get(recorder);
      assert.equal(await ended(recorder), 'failure');
      assert.match(recorder.error?.code ?? '', /^UPSTREAM_(INVALID|BROKEN)$/);
    },
  );

  scenario('abort at once, before the head, at the head, in the body, and after the end: silence', {}, async ({ get, origin }) => {
    const atOnce = new Recorder();
    get(atOnce).abort();

    origin.misbehave('/a', { holdHead: true }, 1);
    const before = new Recorder();
    const sent = origin.requests.length;
    const held = get(before);
    await origin.waitForHeld('/a');
    held.abort();
    await eventually(() => origin.requests.slice(sent).some(({ state }) => state === 'aborted'), { what: 'the end of the request' });

    const inBody = new Recorder([100]);
    const running = get(inBody);
    inBody.onPiece = () => running.abort();
    await eventually(() => inBody.body.length > 0);

    const after = new Recorder();
    const done = get(after);
    assert.equal(await ended(after), 'end');
    done.abort();
    done.resume();
    for (const recorder of [atOnce, before]) assert.deepEqual(recorder.calls, []);
    assert.deepEqual([inBody.calls, inBody.body.length], [['head'], 100]);
    assert.deepEqual(after.calls, ['head', 'end']);
    // An abort after the end does not take the connection away from the next request.
    const next = new Recorder();
    get(next);
    assert.equal(await ended(next), 'end');
  });

  scenario(
    'a kept connection that the origin has closed: the request is sent once more',
    { misbehaviour: { dropAfterResponse: true }, times: 1 },
    async ({ get }) => {
      for (const _ of [1, 2, 3]) {
        const recorder = new Recorder();
        get(recorder);
        assert.equal(await ended(recorder), 'end');
      }
    },
  );

  scenario('a request with content is never sent twice', { misbehaviour: { raw: '' } }, async ({ get, origin }) => {
    const recorder = new Recorder();
    get(recorder, { body: Readable.from([Buffer.alloc(10)]) });
    assert.deepEqual([await ended(recorder), origin.requests.length], ['failure', 1]);
  });

  scenario(
    "one byte more than announced is nobody's, and ends the connection",
    { misbehaviour: { extraBytes: 1 } },
    async ({ get, body }) => {
      for (const _ of [1, 2, 3]) {
        const recorder = new Recorder();
        get(recorder);
        assert.match(await ended(recorder), /^(end|error)$/);
        assert.equal(recorder.head?.status, 200);
        if (recorder.end === 'end') assert.ok(recorder.body.equals(bodyBytes(body, 0, 10_000)));
      }
    },
  );

  scenario('a body in foreign memory, read while many others are', { lengthBytes: 3 * MIB }, async ({ get, body }) => {
    const expected = bodyBytes(body, 0, 3 * MIB);
    const recorders = Array.from({ length: 12 }, (_, index) => new Recorder([64 * KIB + index, 4096 * (index + 1)]));
    for (const recorder of recorders) get(recorder);
    for (const recorder of recorders) {
      assert.equal(await ended(recorder), 'end');
      assert.ok(recorder.body.equals(expected));
    }
  });

  scenario(`a connection is ${keepsConnections ? '' : 'not '}used again`, {}, async ({ get, origin }) => {
    for (const _ of [1, 2, 3, 4, 5]) {
      const recorder = new Recorder();
      get(recorder);
      assert.equal(await ended(recorder), 'end');
    }
    // A request that comes in the very moment in which another ends may open one of its own.
    const { accepted } = origin.connections;
    assert.ok(keepsConnections ? accepted <= 2 : accepted === 5, `${accepted} connections`);
  });

  for (const [what, response, expected] of CUT_RESPONSES) {
    test(`${name}: ${what}, cut at every byte, and byte by byte`, async () => {
      await using origin = await CutOrigin.start(response, tls);
      const transport = factory(origin.url, { headTimeoutMs: 5000, bodyTimeoutMs: 5000 });
      try {
        for (const path of ['/each', ...Array.from(response, (_, cut) => `/${cut}`)]) {
          const recorder = new Recorder();
          transport.start({ method: 'GET', path, fields: [['host', 'origin.test']] }, recorder);
          assert.equal(await ended(recorder), 'end', path);
          assert.deepEqual([recorder.head?.status, recorder.body.toString(), recorder.trailers], [200, 'hello', expected], path);
        }
        if (keepsConnections) assert.ok(origin.accepted <= 2, `${origin.accepted} connections`);
      } finally {
        await transport.close();
      }
    });

    test(`${name}: ${what}, ended too early at every byte`, async () => {
      await using origin = await CutOrigin.start(response, tls);
      const transport = factory(origin.url, { headTimeoutMs: 5000, bodyTimeoutMs: 5000 });
      try {
        for (let cut = 0; cut < response.length; cut += 1) {
          const recorder = new Recorder();
          transport.start({ method: 'GET', path: `/${cut}/close`, fields: [['host', 'origin.test']] }, recorder);
          assert.match(await ended(recorder), /^(failure|error)$/, `${cut} bytes`);
          assert.ok('hello'.startsWith(recorder.body.toString()), `${cut} bytes`);
        }
      } finally {
        await transport.close();
      }
    });
  }
}

/** What each brings is `hello`, and the trailers. */
const CUT_RESPONSES: readonly [what: string, response: string, trailers: FieldList][] = [
  ['Content-Length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello', []],
  [
    'chunks with an extension and a trailer',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n02\r\nlo\r\n0\r\nX-Sum: 42\r\n\r\n',
    [['x-sum', '42']],
  ],
  ['an interim response before it', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', []],
];
