/**
 * Connections for the duel of the two lanes: some requests each, most of them plain, many odd, some malformed, cut into pieces anywhere. The same
 * seed makes the same connection. Nothing in them changes what is stored, but for renewals, which both sides make alike.
 */
import type { SeededRandom } from '../../src/base/random.ts';

/** The bytes of one connection, as they are written. */
export interface LaneScript {
  readonly pieces: readonly Buffer[];
  readonly requests: number;
  /** Whether it ends with a request that ends the connection, as far as the script knows. */
  readonly isEnded: boolean;
}

/** Paths that both sides have, or have not; see lane-duel.ts. */
export const DUEL_PATHS = [
  '/small',
  '/empty',
  '/one',
  '/slice',
  '/slice-and-one',
  '/large',
  '/weak',
  '/dateless',
  '/untagged',
  '/missing',
  '/moved',
  '/varied',
  '/private',
  '/stale',
  '/absent',
] as const;

/** What most requests are for; large bodies cost time. */
const USUAL_PATHS: readonly (typeof DUEL_PATHS)[number][] = [
  ...Array<'/small'>(12).fill('/small'),
  ...DUEL_PATHS.slice(0, 3),
  ...DUEL_PATHS.slice(0, 9),
  ...DUEL_PATHS.slice(6, 9),
];

const METHODS = ['HEAD', 'HEAD', 'OPTIONS', 'POST', 'PROPFIND', 'BREW', 'get', 'GETT', 'GE', 'HEA', 'TRACE', 'CONNECT', ''];
const TARGETS = [
  '/%73mall',
  '/./small',
  '/x/../small',
  '//small',
  '/small/',
  '/small?',
  '/small?a=1&b=%2f',
  '/small?a?b',
  '/small%',
  '/small%zz',
  '/small#x',
  '/sm"all',
  '/sm|all',
  '/small;x=1',
  "/s+~:@!$&'()*,=",
  '/sm\\all',
  '/sm{all}',
  '/sm\u00e4ll',
  'http://x/small',
  'HTTP://y:80/small?q',
  '*',
  'small',
  '',
  '/s mall',
  '/s\tmall',
  `/${'a'.repeat(8300)}`,
];
const VERSIONS = ['HTTP/1.0', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/1.1 ', 'HTTP/1.1x', ' HTTP/1.1', 'HTTP/1', ''];
const HOSTS = [
  'Host: y:80',
  'host:x',
  'HOST:  x  ',
  'Host:\tx',
  'Host: [::1]:8080',
  'Host: ',
  'Host: a b',
  'Host: a/b',
  'Host: x\u00e4',
  'Host : x',
];
const PLAIN_FIELDS = [
  'User-Agent: duel/1.0 (seeded)',
  'Accept: */*',
  'Accept-Encoding: gzip, deflate, br, zstd',
  'Accept-Language: en;q=0.9',
  'Referer: http://x/page?a=b',
  'Connection: keep-alive',
  'Keep-Alive: timeout=5',
  'Sec-Fetch-Mode: cors',
  'DNT: 1',
  'Via: 1.1 other',
  'X-Forwarded-For: 192.0.2.1',
  'Priority: u=1',
  'CDN-Loop: other; x="y"',
];
const READ_FIELDS = [
  'Range: bytes=0-0',
  'Range: bytes=1-',
  'Range: bytes=-1',
  'Range: bytes=0-65535',
  'Range: bytes=65535-65536',
  'Range: bytes=65536-',
  'Range: bytes=100-99',
  'Range: bytes=99999999-',
  'Range: bytes=-0',
  'Range: bytes=-99999999',
  'Range:bytes=0-99999999999999999999',
  'Range: BYTES=2-5',
  'Range: bytes= 2-5 ,',
  'Range: bytes=',
  'Range: items=0-1',
  'Range: bytes=0-1,3-4',
  'If-None-Match: *',
  'If-None-Match: "nope"',
  'If-None-Match: W/"nope", "other"',
  'If-None-Match: TAG',
  'If-None-Match: "nope", W/TAG',
  'If-None-Match: TAG, x"',
  'If-None-Match:',
  'Cache-Control: max-age=3600',
  'Cache-Control: min-fresh=10, max-stale',
  'Cache-Control: only-if-cached',
  'Cache-Control: no-transform, x=" , no-store"',
  'Cache-Control:',
  'Pragma: other',
];
const ODD_FIELDS = [
  'Cache-Control: no-store',
  'Cache-Control: no-cache',
  'Cache-Control: max-age=0',
  'Cache-Control: min-fresh=99999999',
  'Pragma: no-cache',
  'Connection: close, x',
  'Connection: Close',
  'Connection: KEEP-ALIVE',
  'Connection: upgrade',
  'Proxy-Connection: close',
  'If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT',
  'If-Unmodified-Since: Fri, 01 Jan 2100 00:00:00 GMT',
  'If-Match: TAG',
  'If-Match: "nope"',
  'If-Range: TAG',
  'Authorization: Basic eDp5',
  'Cookie: a=b',
  'X-Unknown: 1',
  'Upgrade: h2c',
  'Upgrade: websocket',
  'Expect: 100-continue',
  'Expect: tea',
  'TE: trailers',
  'Trailer: x',
  'Content-Length: 0',
  'Content-Length: -1',
  'Content-Length: 0, 0',
  'Transfer-Encoding: identity',
  'Max-Forwards: 0',
  'Origin: http://y',
  'CDN-Loop: LOOP',
  'CDN-Loop: other, LOOP; a=b',
  'Early-Data: 1',
];
const BAD_FIELDS = [
  'X Y: 1',
  ': empty',
  'NoColon',
  'User-Agent : x',
  ' Folded: x',
  '\tfolded',
  'User-Agent: \u00e9\u00ff',
  'Accept: a\0b',
  'Accept: a\x7fb',
  'Accept: a\rb',
  'Accept: a\nb',
  'Ac(cept: x',
  'Accept\0: x',
  `Accept: ${'x'.repeat(9000)}`,
  `User-Agent: ${'x'.repeat(20_000)}`,
];

/** What the tags and this process are called, which the script does not know. */
export interface ScriptWords {
  readonly tagOf: (path: string) => string;
  readonly loopId: string;
  /** Most requests have the fields of the one before, byte by byte or but for one byte, as those of most clients. */
  readonly repeats: boolean;
}

/** A connection. @param prefix of the paths, of this duellist alone */
export function makeScript(random: SeededRandom, prefix: string, words: ScriptWords): LaneScript {
  const pick = <Item>(items: readonly Item[]): Item => items[random.integerBelow(items.length)] as Item;
  const chance = (percent: number): boolean => random.integerBelow(100) < percent;
  // Past 64 ahead of a response node:http is done with a client (PIPELINED_MAX); the express lane reads no further until it has answered.
  const count = 1 + random.integerBelow(pick([4, 16, 60]));
  // Most connections have no more than one thing that is wrong, late in them, so that much is answered before it.
  const wildness = pick([0, 0, 5, 20, 60]);
  const texts = Array.from({ length: count }, () => makeRequest({ pick, chance, random, wildness, prefix, words }));
  if (words.repeats) repeatFields(texts, { chance, random });
  const isEnded = random.integerBelow(200) > 0;
  if (isEnded) texts.push(`GET ${prefix}/small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  else if (chance(50)) texts.push('GET /cut HTTP/1.1\r\nHost: x\r\nAcce'.slice(0, 1 + random.integerBelow(30)));
  let bytes: Buffer = Buffer.from(texts.join(''), 'latin1');
  if (wildness >= 20 && chance(20)) bytes = mutate(bytes, random);
  return { pieces: cut(bytes, random), requests: texts.length, isEnded };
}

function repeatFields(texts: string[], { chance, random }: Pick<Maker, 'chance' | 'random'>): void {
  for (let index = 1; index < texts.length; index += 1) {
    if (chance(20)) continue;
    const lineOf = (text: string | undefined): string => /^[^\n]*\n/.exec(text ?? '')?.[0] ?? '';
    const fields = (texts[index - 1] ?? '').slice(lineOf(texts[index - 1]).length);
    const isChanged = chance(5);
    const changed = isChanged ? mutate(Buffer.from(fields, 'latin1'), random).toString('latin1') : fields;
    texts[index] = lineOf(texts[index]) + changed;
  }
}

interface Maker {
  readonly pick: <Item>(items: readonly Item[]) => Item;
  readonly chance: (percent: number) => boolean;
  readonly random: SeededRandom;
  readonly wildness: number;
  readonly prefix: string;
  readonly words: ScriptWords;
}

function makeRequest({ pick, chance, random, wildness, prefix, words }: Maker): string {
  const isWild = (percent: number): boolean => chance(wildness) && chance(percent);
  const path = `${prefix}${isWild(30) ? pick(DUEL_PATHS) : pick(USUAL_PATHS)}`;
  let method = chance(15) ? 'HEAD' : 'GET';
  let target = chance(10) ? `${path}?` : path;
  if (isWild(15)) method = pick(METHODS);
  if (isWild(15)) target = pick(TARGETS).replaceAll('/small', `${prefix}/small`);
  // Content may invalidate what both have at different moments, so other methods are for a place of their own.
  if (!/^(GET|HEAD)$/.test(method)) target = target.replace(prefix, '/elsewhere');
  const version = isWild(10) ? pick(VERSIONS) : 'HTTP/1.1';
  const fields: string[] = [];
  if (!isWild(5)) fields.push(isWild(20) ? pick(HOSTS) : 'Host: x');
  if (isWild(4)) fields.push('Host: x');
  for (let index = random.integerBelow(5); index > 0; index -= 1) fields.push(pick(PLAIN_FIELDS));
  if (chance(45)) fields.push(pick(READ_FIELDS));
  if (isWild(40)) fields.push(pick(ODD_FIELDS));
  if (isWild(12)) fields.push(pick(BAD_FIELDS));
  if (isWild(2)) for (let index = 0; index < pick([63, 64, 65, 260]); index += 1) fields.push(`Accept: ${index}`);
  let content = '';
  if (isWild(6)) {
    content = pick(['', 'x', 'GET / HTTP/1.1\r\n\r\n']);
    if (chance(50)) fields.push(`Content-Length: ${content.length}`);
    else {
      fields.push('Transfer-Encoding: chunked');
      content = content === '' ? '0\r\n\r\n' : `${content.length.toString(16)}\r\n${content}\r\n0\r\n\r\n`;
    }
  }
  if (chance(20)) fields.reverse();
  const end = isWild(4) ? pick(['\n', '\r', '\r\r\n']) : '\r\n';
  const head = [`${method} ${target} ${version}`, ...fields.map((field) => respell(field, { pick, chance, path, words }))].join(end);
  return `${isWild(3) ? pick(['\r\n', '\n', ' ']) : ''}${head}${end}${end}${content}`;
}

function respell(
  field: string,
  { pick, chance, path, words }: Pick<Maker, 'pick' | 'chance' | 'words'> & { readonly path: string },
): string {
  const text = field.replace('TAG', words.tagOf(path)).replace('LOOP', words.loopId);
  if (!chance(10)) return text;
  const colon = text.indexOf(':');
  const name = text.slice(0, colon);
  return pick([name.toLowerCase(), name.toUpperCase()]) + text.slice(colon);
}

function mutate(bytes: Buffer, random: SeededRandom): Buffer {
  const at = random.integerBelow(Math.max(1, bytes.length));
  const byte = Buffer.from([random.integerBelow(256)]);
  const kept = random.integerBelow(3) === 0 ? at : at + 1;
  return Buffer.concat([bytes.subarray(0, at), random.integerBelow(3) === 0 ? Buffer.alloc(0) : byte, bytes.subarray(kept)]);
}

function cut(bytes: Buffer, random: SeededRandom): Buffer[] {
  const kind = random.integerBelow(100);
  if (kind < 60) return [bytes];
  // Every byte alone is dear, so it is rare; where a cut may matter is found by random ones as well.
  if (kind < 62 && bytes.length < 600) return Array.from(bytes, (_byte, index) => bytes.subarray(index, index + 1));
  const cuts = Array.from({ length: 1 + random.integerBelow(4) }, () => random.integerBelow(bytes.length + 1)).sort(
    (one, other) => one - other,
  );
  return [0, ...cuts].map((start, index) => bytes.subarray(start, cuts[index] ?? bytes.length)).filter((piece) => piece.length > 0);
}
