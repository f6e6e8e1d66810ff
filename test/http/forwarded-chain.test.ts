/** Who the client is behind trusted proxies: nobody can speak for himself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ForwardedField, forwardedClient } from '../../src/http/forwarded-chain.ts';

const isTrusted = (address: string): boolean => address.startsWith('10.') || address === 'fd00::1';

type Fields = readonly (readonly [string, string])[];

function clientOf(field: ForwardedField, fields: Fields, peer = '10.0.0.1'): string {
  const { address, isSecure } = forwardedClient(fields, { address: peer, isSecure: false }, { isTrusted, field });
  return `${address}${isSecure ? ' secure' : ''}`;
}

type Case = readonly [what: string, fields: Fields, client: string, peer?: string];

const PLAIN_CASES: readonly Case[] = [
  ['nothing is said', [], '10.0.0.1'],
  ['X-Forwarded-For', [['x-forwarded-for', '192.0.2.1']], '192.0.2.1'],
  ['one that is not trusted says it', [['x-forwarded-for', '192.0.2.1']], '203.0.113.9', '203.0.113.9'],
  ['the client lied to the first trusted proxy', [['x-forwarded-for', '198.51.100.1, 192.0.2.1, 10.0.0.2']], '192.0.2.1'],
  ['all are trusted', [['x-forwarded-for', '10.0.0.3, 10.0.0.2']], '10.0.0.3'],
  [
    'two lines',
    [
      ['x-forwarded-for', '192.0.2.1'],
      ['x-forwarded-for', '10.0.0.2'],
    ],
    '192.0.2.1',
  ],
  ['with ports', [['x-forwarded-for', '192.0.2.1:4711']], '192.0.2.1'],
  ['IPv6', [['x-forwarded-for', '2001:DB8::1, [fd00::1]:80']], '2001:db8::1'],
  ['what cannot be read ends the search', [['x-forwarded-for', '192.0.2.1, evil, 10.0.0.2']], '10.0.0.2'],
  ['an empty one too', [['x-forwarded-for', '192.0.2.1,']], '10.0.0.1'],
  [
    'the scheme',
    [
      ['x-forwarded-for', '192.0.2.1'],
      ['x-forwarded-proto', 'HTTPS'],
    ],
    '192.0.2.1 secure',
  ],
  ["Forwarded is anybody's word beside it", [['forwarded', 'for=192.0.2.7;proto=https']], '10.0.0.1'],
  [
    'nor does it count before it',
    [
      ['forwarded', 'for=192.0.2.7;proto=https'],
      ['x-forwarded-for', '192.0.2.1'],
    ],
    '192.0.2.1',
  ],
];

const STANDARD_CASES: readonly Case[] = [
  ['nothing is said in the standard field', [], '10.0.0.1'],
  ['Forwarded', [['forwarded', 'for=192.0.2.1;proto=https;by=10.0.0.1']], '192.0.2.1 secure'],
  [
    'Forwarded counts alone',
    [
      ['forwarded', 'for=192.0.2.1'],
      ['x-forwarded-for', '192.0.2.7'],
    ],
    '192.0.2.1',
  ],
  [
    "X-Forwarded-For is anybody's word beside it",
    [
      ['x-forwarded-for', '192.0.2.7'],
      ['x-forwarded-proto', 'https'],
    ],
    '10.0.0.1',
  ],
  ['Forwarded, a chain with quotes', [['forwarded', 'For="[2001:db8::1]:47011", for="10.0.0.2";by="a,b;c\\"d"']], '2001:db8::1'],
  ['Forwarded hides', [['forwarded', 'for=192.0.2.1, for=_hidden']], '10.0.0.1'],
  ['Forwarded does not know', [['forwarded', 'for=unknown']], '10.0.0.1'],
  ['Forwarded without for', [['forwarded', 'proto=https']], '10.0.0.1'],
];

for (const [field, cases] of [
  ['x-forwarded-for', PLAIN_CASES],
  ['forwarded', STANDARD_CASES],
] as const)
  for (const [what, fields, expected, peer] of cases) test(what, () => assert.equal(clientOf(field, fields, peer), expected));

test('a chain of any length is read as far as 32 hops', () => {
  const chain = Array.from({ length: 10_000 }, () => '10.0.0.2').join();
  assert.equal(clientOf('x-forwarded-for', [['x-forwarded-for', `192.0.2.1,${chain}`]]), '10.0.0.2');
});
