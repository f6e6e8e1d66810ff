/**
 * Reads a multipart/byteranges body, strictly: exact delimiters, every part with one Content-Range, its length as that says, nothing before
 * the first delimiter but an empty line and nothing after the last. Independent of `src/http`, whose work it checks.
 */

/** One part of a body. */
export interface ParsedPart {
  /** Lower-case names; a repeated field is an error. */
  readonly headers: Readonly<Record<string, string>>;
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Complete length as the part tells it. */
  readonly total: number;
  readonly bytes: Buffer;
}

/** @throws Error that says what is wrong, and where */
export function parseMultipart(contentType: string | undefined, body: Buffer): ParsedPart[] {
  const boundary = /^multipart\/byteranges; boundary=([0-9A-Za-z'()+_,\-./:=?]{1,70})$/.exec(contentType ?? '')?.[1];
  if (boundary === undefined) throw new Error(`Not a multipart/byteranges type: ${contentType}`);
  const parts: ParsedPart[] = [];
  const delimiter = `--${boundary}`;
  let at = body.subarray(0, 2).toString('latin1') === '\r\n' ? 2 : 0;
  for (;;) {
    expectText(body, at, delimiter);
    at += delimiter.length;
    if (body.subarray(at, at + 2).toString('latin1') === '--') break;
    expectText(body, at, '\r\n');
    at += 2;
    const headEnd = body.indexOf('\r\n\r\n', at - 2);
    if (headEnd < 0) throw new Error(`Part ${parts.length} has no end of head`);
    const headers = parseHead(body.subarray(at, headEnd).toString('latin1'));
    const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers['content-range'] ?? '');
    if (match === null) throw new Error(`Part ${parts.length} has the Content-Range ${headers['content-range']}`);
    const [start = 0, last = 0, total = 0] = match.slice(1).map(Number);
    const from = headEnd + 4;
    const to = from + last + 1 - start;
    parts.push({ headers, start, end: last + 1, total, bytes: body.subarray(from, to) });
    expectText(body, to, '\r\n');
    at = to + 2;
  }
  if (body.subarray(at).toString('latin1') !== '--\r\n') throw new Error(`The body goes on after its last delimiter, at ${at}`);
  return parts;
}

function parseHead(text: string): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const line of text === '' ? [] : text.split('\r\n')) {
    const match = /^([^\s:]+): (.*)$/.exec(line);
    const name = match?.[1]?.toLowerCase();
    if (name === undefined || Object.hasOwn(headers, name)) throw new Error(`A part has the field line ${JSON.stringify(line)}`);
    headers[name] = match?.[2] ?? '';
  }
  return headers;
}

function expectText(body: Buffer, at: number, text: string): void {
  const found = body.subarray(at, at + text.length).toString('latin1');
  if (found !== text) throw new Error(`At byte ${at} of ${body.length} stands ${JSON.stringify(found)} instead of ${JSON.stringify(text)}`);
}
