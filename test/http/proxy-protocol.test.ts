/** The PROXY protocol: both versions, split at every byte, and what is malformed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PROXY_HEADER_BYTES_MAX, parseProxyHeader } from '../../src/http/proxy-protocol.ts';

const SIGNATURE = '0d0a0d0a000d0a515549540a';

function binary(rest: string): Buffer {
  return Buffer.from(SIGNATURE + rest.replaceAll(' ', ''), 'hex');
}

const VALID: readonly (readonly [Buffer, { source?: string; destination?: string; lengthBytes: number }])[] = [
  [
    Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET'),
    { source: '192.0.2.1 56324', destination: '198.51.100.7 443', lengthBytes: 45 },
  ],
  [Buffer.from('PROXY TCP6 2001:db8::1 ::1 0 65535\r\n'), { source: '2001:db8::1 0', destination: '::1 65535', lengthBytes: 36 }],
  [Buffer.from('PROXY UNKNOWN\r\n'), { lengthBytes: 15 }],
  [Buffer.from('PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\nx'), { lengthBytes: 59 }],
  [binary('21 11 000c c0000201 c6336407 dc04 01bb ff'), { source: '192.0.2.1 56324', destination: '198.51.100.7 443', lengthBytes: 28 }],
  [
    binary('21 21 0027 20010db8000000000000000000000001 00000000000000000000000000000001 0050 01bb 040000'),
    { source: '2001:db8::1 80', destination: '::1 443', lengthBytes: 55 },
  ],
  // LOCAL: a health check; its addresses are not the client's.
  [binary('20 11 000c c0000201 c6336407 dc04 01bb'), { lengthBytes: 28 }],
  [binary('20 00 0000'), { lengthBytes: 16 }],
  [binary('21 00 0000'), { lengthBytes: 16 }],
];

test('both versions, whole and byte by byte', () => {
  for (const [bytes, expected] of VALID) {
    const header = parseProxyHeader(bytes);
    assert.ok(header.kind === 'header', bytes.toString('latin1'));
    const text = (end: typeof header.source): string | undefined => (end === undefined ? undefined : `${end.address} ${end.port}`);
    assert.deepEqual(
      { source: text(header.source), destination: text(header.destination), lengthBytes: header.lengthBytes },
      { source: undefined, destination: undefined, ...expected },
    );
    for (let count = 0; count < header.lengthBytes; count += 1)
      assert.deepEqual(parseProxyHeader(bytes.subarray(0, count)), { kind: 'incomplete' }, `${count} of ${bytes.toString('latin1')}`);
  }
});

test('what is malformed is refused, and nothing is awaited for ever', () => {
  const cases: readonly Buffer[] = [
    Buffer.from('GET / HTTP/1.1\r\n'),
    Buffer.from('PROXY\tTCP4'),
    Buffer.from('PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n'),
    Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n'),
    Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n'),
    Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n'),
    Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n'),
    Buffer.from('PROXY TCP4 2001:db8::1 ::1 1 2\r\n'),
    Buffer.from('PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n'),
    Buffer.from('PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n'),
    Buffer.from(`PROXY UNKNOWN ${'x'.repeat(100)}`),
    binary('11 11 000c'),
    binary('22 11 000c'),
    binary('21 41 000c 000000000000000000000000'),
    binary('21 13 000c 000000000000000000000000'),
    binary('21 11 000b c0000201 c6336407 dc04 01'),
    binary('21 11 ffff'),
  ];
  for (const bytes of cases) assert.equal(parseProxyHeader(bytes).kind, 'invalid', bytes.toString('latin1'));
});

test('any bytes get a verdict; from the longest header on it is never to wait', () => {
  const start = fc.constantFrom(Buffer.alloc(0), Buffer.from('PROXY TCP4 '), binary('21'), binary('2111'));
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 200 }), (head, rest) => {
      const bytes = Buffer.concat([head, rest]);
      const verdict = parseProxyHeader(bytes);
      if (verdict.kind === 'header') assert.ok(verdict.lengthBytes <= bytes.length);
      const long = parseProxyHeader(Buffer.concat([bytes, Buffer.alloc(PROXY_HEADER_BYTES_MAX)]));
      assert.notEqual(long.kind, 'incomplete');
    }),
  );
});
