/**
 * From a request, an object and a misbehaviour to a response: status, fields and which bytes, decided as RFC 9110 says (sections 13.2.2
 * and 14) except where the misbehaviour says otherwise. No sockets; called by `origin.ts` once for each request.
 */
import { gzipSync } from 'node:zlib';
import { type BodyIdentity, bodyBytes, fillBody } from './body.ts';
import { fieldPairs, type Misbehaviour, type ObjectDefinition, type OriginRequest, type StoredObject } from './origin-script.ts';

/** Where body bytes come from; `fill` may be asked for bytes past the end (for misbehaviour) and gives some. */
export interface BodySource {
  readonly lengthBytes: number;
  fill(target: Uint8Array, offset: number): void;
}

/** A response ready to be played. */
export interface Answer {
  readonly status: number;
  readonly httpVersion: '1.0' | '1.1';
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly source: BodySource;
  /** First byte of the source to send. */
  readonly startBytes: number;
  /** Bytes of the source to send; 0 for HEAD, 304 and the like. */
  readonly lengthBytes: number;
  readonly framing: 'length' | 'chunked' | 'close';
}

type Field = readonly [string, string];
type Selection =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part'; readonly start: number; readonly end: number }
  | { readonly kind: 'unsatisfiable' };

const GZIP_LIMIT_BYTES = 16 * 1024 * 1024;
const EMPTY: BodySource = { lengthBytes: 0, fill: (target) => void target.fill(0) };
/** 2020-01-01T00:00:00Z: the Last-Modified of version 0; each version is a second later. */
const FIRST_MODIFIED_MS = 1577836800000;

/** The bytes of an object, or of its gzip form. */
export function objectSource(object: StoredObject, isGzip = false): BodySource {
  const { body } = object.definition;
  if (isGzip) return bufferSource(gzipSync(body ?? plainBytes(object)));
  if (body !== undefined) return bufferSource(body);
  return { lengthBytes: objectLengthBytes(object.definition), fill: (target, offset) => fillBody(target, object.identity, offset) };
}

/** Name of the body that a request with these fields selects, of an object that varies. */
export function variantName(path: string, headers: Readonly<Record<string, string>>, varyOn: readonly string[]): string {
  return [path, ...varyOn.map((name) => headers[name] ?? '-')].join('|');
}

/** The object that a request with these fields selects. */
export function selectVariant(object: StoredObject, headers: Readonly<Record<string, string>>): StoredObject {
  const { definition, identity } = object;
  const { varyOn } = definition;
  if (varyOn === undefined) return object;
  const fields = [...fieldPairs(definition.headers), ['Vary', varyOn.join(', ')] as const];
  return { definition: { ...definition, headers: fields }, identity: { ...identity, name: variantName(identity.name, headers, varyOn) } };
}

/** The object's length in bytes. */
export function objectLengthBytes(definition: ObjectDefinition): number {
  return definition.body?.length ?? definition.lengthBytes ?? 0;
}

/** The tag of an object as an honest server sends it, or undefined. */
export function objectEtag(object: StoredObject, isGzip = false): string | undefined {
  const kind = object.definition.etag ?? 'strong';
  if (kind === 'none') return undefined;
  return `${kind === 'weak' ? 'W/' : ''}"${tagText(object.identity)}${isGzip ? '-gzip' : ''}"`;
}

/** The Last-Modified of an object, or undefined. */
export function objectLastModified(object: StoredObject): string | undefined {
  const { lastModified } = object.definition;
  if (lastModified === 'none') return undefined;
  return lastModified ?? new Date(FIRST_MODIFIED_MS + object.identity.version * 1000).toUTCString();
}

/**
 * Decides the response.
 *
 * @param object undefined answers 404
 * @param sequence number of this request, for tags that change each time
 */
export function answerRequest(
  request: OriginRequest,
  object: StoredObject | undefined,
  options: { readonly misbehaviour: Misbehaviour; readonly sequence: number; readonly wallMs: number },
): Answer {
  const { misbehaviour } = options;
  const plain = plainAnswer(request, object, options);
  const headers = plain.headers.filter(([name]) => misbehaviour.dropHeaders?.some((dropped) => sameName(dropped, name)) !== true);
  headers.push(...fieldPairs(misbehaviour.headers));
  for (const [name, value] of Object.entries(misbehaviour.replaceHeaders ?? {})) replaceField(headers, name, value);
  padHead(headers, misbehaviour.headBytes ?? 0);
  const isBodyless = request.method === 'HEAD' || plain.status === 304 || plain.status === 204;
  return { ...plain, headers, lengthBytes: isBodyless ? 0 : plain.lengthBytes };
}

function plainAnswer(
  request: OriginRequest,
  object: StoredObject | undefined,
  options: { readonly misbehaviour: Misbehaviour; readonly sequence: number; readonly wallMs: number },
): Answer {
  const { misbehaviour } = options;
  const date: Field = ['Date', new Date(options.wallMs).toUTCString()];
  if (misbehaviour.redirectTo !== undefined)
    return textAnswer(misbehaviour.status ?? 302, misbehaviour, [date, ['Location', misbehaviour.redirectTo]]);
  if (misbehaviour.status !== undefined) return textAnswer(misbehaviour.status, misbehaviour, [date]);
  if (object === undefined) return textAnswer(404, misbehaviour, [date]);
  if (request.method !== 'GET' && request.method !== 'HEAD') return textAnswer(200, misbehaviour, [date]);
  return objectAnswer(request, object, { ...options, date });
}

function objectAnswer(
  request: OriginRequest,
  object: StoredObject,
  options: { readonly misbehaviour: Misbehaviour; readonly sequence: number; readonly date: Field },
): Answer {
  const { misbehaviour } = options;
  const acceptsGzip = /\bgzip\b/i.test(request.headers['accept-encoding'] ?? '');
  const isGzip = misbehaviour.gzip === 'always' || (misbehaviour.gzip === 'if-accepted' && acceptsGzip);
  const validators = objectValidators(object, misbehaviour, isGzip, options.sequence);
  const common: Field[] = [options.date, ...validatorFields(validators), ...freshnessFields(object.definition)];
  if (misbehaviour.gzip === 'if-accepted') common.push(['Vary', 'Accept-Encoding']);
  const verdict = misbehaviour.ignoreConditions === true ? 'proceed' : evaluateConditions(request, validators);
  if (verdict !== 'proceed')
    return framed({ status: verdict, headers: common, source: EMPTY, misbehaviour: {}, omitLength: verdict === 304 });

  const source = objectSource(object, isGzip);
  const representation: Field[] = [['Content-Type', object.definition.contentType ?? 'application/octet-stream']];
  if (isGzip) representation.push(['Content-Encoding', 'gzip']);
  const asked = selectRange(request, source.lengthBytes, validators, misbehaviour);
  const { interval: scripted } = misbehaviour;
  const interval = typeof scripted === 'function' ? scripted(asked.kind === 'part' ? asked : undefined) : scripted;
  const selection: Selection = interval === undefined ? asked : { kind: 'part', ...interval };
  if (selection.kind === 'unsatisfiable') {
    return framed({
      status: 416,
      headers: [...common, ['Content-Range', `bytes */${source.lengthBytes}`]],
      source: EMPTY,
      misbehaviour: {},
    });
  }
  if (misbehaviour.ignoreRange !== true) common.push(['Accept-Ranges', 'bytes']);
  if (selection.kind === 'whole') return framed({ status: 200, headers: [...common, ...representation], source, misbehaviour });
  return partAnswer({ ...selection, source, common, representation, misbehaviour });
}

function partAnswer(part: {
  readonly start: number;
  readonly end: number;
  readonly source: BodySource;
  readonly common: readonly Field[];
  readonly representation: readonly Field[];
  readonly misbehaviour: Misbehaviour;
}): Answer {
  const { start, end, source, misbehaviour } = part;
  const contentRange = contentRangeText(start, end, source.lengthBytes, misbehaviour.contentRange);
  if (misbehaviour.multipart === true) {
    const type = part.representation.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    const bytes = new Uint8Array(end - start);
    source.fill(bytes, start);
    const head = `\r\n--origin-part\r\n${type}Content-Range: ${contentRange ?? ''}\r\n\r\n`;
    const body = bufferSource(Buffer.concat([Buffer.from(head), bytes, Buffer.from('\r\n--origin-part--\r\n')]));
    const headers: Field[] = [...part.common, ['Content-Type', 'multipart/byteranges; boundary=origin-part']];
    return framed({ status: 206, headers, source: body, misbehaviour });
  }
  const headers: Field[] = [...part.common, ...part.representation];
  if (contentRange !== undefined) headers.push(['Content-Range', contentRange]);
  const lengthBytes = Math.max(0, end - start + (misbehaviour.partLengthDeltaBytes ?? 0));
  return framed({ status: 206, headers, source, start, lengthBytes, misbehaviour });
}

function framed(response: {
  readonly status: number;
  readonly headers: readonly Field[];
  readonly source: BodySource;
  readonly start?: number;
  readonly lengthBytes?: number;
  readonly misbehaviour: Misbehaviour;
  readonly omitLength?: boolean;
}): Answer {
  const { status, source, misbehaviour } = response;
  const lengthBytes = response.lengthBytes ?? source.lengthBytes;
  const headers = [...response.headers];
  const chunked = misbehaviour.chunked !== undefined && misbehaviour.chunked !== false;
  const framing = misbehaviour.closeDelimited === true ? 'close' : chunked ? 'chunked' : 'length';
  if (framing === 'chunked') headers.push(['Transfer-Encoding', 'chunked']);
  if (framing === 'length' && response.omitLength !== true) headers.push(['Content-Length', String(lengthBytes)]);
  if (misbehaviour.connectionClose === true) headers.push(['Connection', 'close']);
  return {
    status,
    httpVersion: framing === 'close' ? '1.0' : '1.1',
    headers,
    source,
    startBytes: response.start ?? 0,
    lengthBytes,
    framing,
  };
}

function textAnswer(status: number, misbehaviour: Misbehaviour, fields: readonly Field[]): Answer {
  const source = bufferSource(Buffer.from(misbehaviour.statusBody ?? `${status}\n`));
  const isBodyless = status === 204 || status === 304;
  const headers: Field[] = isBodyless ? [...fields] : [...fields, ['Content-Type', 'text/plain']];
  return framed({ status, headers, source, misbehaviour, omitLength: isBodyless });
}

interface Validators {
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

function objectValidators(object: StoredObject, misbehaviour: Misbehaviour, isGzip: boolean, sequence: number): Validators {
  if (misbehaviour.validators === 'none') return { etag: undefined, lastModified: undefined };
  if (misbehaviour.validators === 'weak') return { etag: `W/"${tagText(object.identity)}"`, lastModified: undefined };
  if (misbehaviour.validators === 'changing') return { etag: `"${tagText(object.identity)}-${sequence}"`, lastModified: undefined };
  return { etag: objectEtag(object, isGzip), lastModified: objectLastModified(object) };
}

function validatorFields({ etag, lastModified }: Validators): Field[] {
  const fields: Field[] = [];
  if (etag !== undefined) fields.push(['ETag', etag]);
  if (lastModified !== undefined) fields.push(['Last-Modified', lastModified]);
  return fields;
}

function freshnessFields(definition: ObjectDefinition): Field[] {
  const fields: Field[] = [];
  if (definition.cacheControl !== undefined) fields.push(['Cache-Control', definition.cacheControl]);
  if (definition.expires !== undefined) fields.push(['Expires', definition.expires]);
  return [...fields, ...fieldPairs(definition.headers)];
}

/** RFC 9110 13.2.2, steps 1 to 4. */
function evaluateConditions(request: OriginRequest, { etag, lastModified }: Validators): 'proceed' | 304 | 412 {
  const ifMatch = request.headers['if-match'];
  const ifUnmodifiedSince = request.headers['if-unmodified-since'];
  if (ifMatch !== undefined) {
    const isStrong = etag !== undefined && !etag.startsWith('W/');
    if (ifMatch.trim() !== '*' && !(isStrong && listedTags(ifMatch).includes(etag))) return 412;
  } else if (ifUnmodifiedSince !== undefined && lastModified !== undefined && Date.parse(lastModified) > Date.parse(ifUnmodifiedSince)) {
    return 412;
  }
  const ifNoneMatch = request.headers['if-none-match'];
  const ifModifiedSince = request.headers['if-modified-since'];
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() === '*') return 304;
    return etag !== undefined && listedTags(ifNoneMatch).some((tag) => opaque(tag) === opaque(etag)) ? 304 : 'proceed';
  }
  if (ifModifiedSince !== undefined && lastModified !== undefined && Date.parse(lastModified) <= Date.parse(ifModifiedSince)) return 304;
  return 'proceed';
}

/** RFC 9110 14.1.2; several ranges, other units and malformed ones are ignored, as the RFC allows. */
function selectRange(request: OriginRequest, lengthBytes: number, validators: Validators, misbehaviour: Misbehaviour): Selection {
  const ifRange = request.headers['if-range'];
  const holds =
    ifRange === undefined ||
    misbehaviour.ignoreConditions === true ||
    (ifRange.startsWith('"') ? ifRange === validators.etag : ifRange === validators.lastModified);
  const match = /^bytes=(\d*)-(\d*)$/i.exec(request.headers.range?.trim() ?? '');
  if (request.method !== 'GET' || misbehaviour.ignoreRange === true || !holds || match === null) return { kind: 'whole' };
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return { kind: 'whole' };
  if (first === '') {
    const suffix = Number(last);
    if (suffix === 0 || lengthBytes === 0) return { kind: 'unsatisfiable' };
    return { kind: 'part', start: Math.max(0, lengthBytes - suffix), end: lengthBytes };
  }
  const start = Number(first);
  const end = last === '' ? lengthBytes : Math.min(lengthBytes, Number(last) + 1);
  if (last !== '' && Number(last) < start) return { kind: 'whole' };
  return start >= lengthBytes ? { kind: 'unsatisfiable' } : { kind: 'part', start, end };
}

function contentRangeText(start: number, end: number, total: number, fault: Misbehaviour['contentRange']): string | undefined {
  if (fault === 'missing') return undefined;
  if (fault === 'garbage') return 'bytes twelve';
  const first = fault === 'wrong-start' ? start + 1 : start;
  const last = fault === 'wrong-end' ? end : end - 1;
  return `bytes ${first}-${last}/${fault === 'unknown-total' ? '*' : fault === 'wrong-total' ? total + 1 : total}`;
}

function padHead(headers: Field[], headBytes: number): void {
  let sizeBytes = headers.reduce((sum, [name, value]) => sum + name.length + value.length + 4, 40);
  for (let count = 0; sizeBytes < headBytes; count += 1) {
    const field: Field = [`X-Padding-${count}`, 'x'.repeat(1000)];
    headers.push(field);
    sizeBytes += field[0].length + field[1].length + 4;
  }
}

function replaceField(headers: Field[], name: string, value: string): void {
  const at = headers.findIndex(([other]) => sameName(other, name));
  if (at === -1) headers.push([name, value]);
  else headers[at] = [name, value];
}

function sameName(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}

function tagText(identity: BodyIdentity): string {
  return `${bodyBytes(identity, 0, 6).toString('hex')}-${identity.version}`;
}

function opaque(tag: string): string {
  return tag.replace(/^W\//, '');
}

function listedTags(field: string): string[] {
  return field.match(/(?:W\/)?"[^"]*"/g) ?? [];
}

function plainBytes(object: StoredObject): Buffer {
  const lengthBytes = objectLengthBytes(object.definition);
  if (lengthBytes > GZIP_LIMIT_BYTES) throw new RangeError(`The scripted origin gzips objects of up to ${GZIP_LIMIT_BYTES} bytes`);
  return bodyBytes(object.identity, 0, lengthBytes);
}

function bufferSource(bytes: Uint8Array): BodySource {
  return {
    lengthBytes: bytes.length,
    fill: (target, offset) => {
      const part = bytes.subarray(Math.min(offset, bytes.length), offset + target.length);
      target.set(part);
      target.fill(0, part.length);
    },
  };
}
