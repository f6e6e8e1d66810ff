/** The head of an answer in the hands of middlewares: its fields can be changed, but for those that say how its bytes are framed and which bytes these are. */
import { type FieldList, fieldValue, isFieldValue, isToken, splitList } from '../http/header-fields.ts';
import type { AnswerHead } from './middleware.ts';

/** Fields that are not a middleware's: the connection's, the framing's, and what the cache answers by. */
export const FRAMING_FIELDS: ReadonlySet<string> = new Set([
  'accept-ranges',
  'connection',
  'content-encoding',
  'content-length',
  'content-range',
  'etag',
  'keep-alive',
  'last-modified',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** One answer's head; `fields` is what is sent. */
export class EditableHead implements AnswerHead {
  readonly status: number;
  fields: FieldList;

  constructor({ status, fields }: { readonly status: number; readonly fields: FieldList }) {
    this.status = status;
    this.fields = fields;
  }

  field(name: string): string | undefined {
    return fieldValue(this.fields, name);
  }

  set(name: string, value: string): void {
    const field = checkedField(name, value);
    const at = this.fields.findIndex(([other]) => other === field[0]);
    if (at < 0) this.fields = [...this.fields, field];
    else this.fields = this.fields.flatMap((other, index) => (index === at ? [field] : other[0] === field[0] ? [] : [other]));
  }

  append(name: string, value: string): void {
    this.fields = [...this.fields, checkedField(name, value)];
  }

  appendMember(name: string, member: string): void {
    const members = splitList(this.field(name) ?? '');
    if (!members.some((known) => known.toLowerCase() === member.toLowerCase())) this.set(name, [...members, member].join(', '));
  }

  remove(name: string): void {
    const lower = checkedName(name);
    if (this.fields.some(([other]) => other === lower)) this.fields = this.fields.filter(([other]) => other !== lower);
  }
}

/** @throws TypeError for what is none, or not a middleware's */
export function checkedField(name: string, value: string): readonly [string, string] {
  const lower = checkedName(name);
  if (typeof value !== 'string' || !isFieldValue(value)) throw new TypeError(`${lower} cannot have this value: ${JSON.stringify(value)}`);
  return [lower, value];
}

function checkedName(name: string): string {
  if (typeof name !== 'string' || !isToken(name)) throw new TypeError(`${JSON.stringify(name)} is not the name of a header field`);
  const lower = name.toLowerCase();
  if (FRAMING_FIELDS.has(lower)) throw new TypeError(`${lower} is not for middlewares: it says which bytes are sent`);
  return lower;
}
