/** What an answer to a fill tells of the place that it comes from: ranges, the end of objects, connections, tags. Called with each head. */
import { validatorsOf } from '../cache/validators.ts';
import { contentCodingOf } from '../http/content-coding.ts';
import { type FieldList, fieldValue, splitList } from '../http/header-fields.ts';
import type { UpstreamHead } from '../upstream/upstream-transport.ts';
import type { FillContext, FillTarget } from './fill-context.ts';
import { type Asked, contentLengthOf } from './response-check.ts';

/** Learns from the head of an answer to what was asked without If-Range. */
export function learnFromAnswer(context: FillContext, { place }: FillTarget, asked: Asked, head: UpstreamHead): void {
  const { abilities } = context;
  learnConnection(context, place, head);
  // What is encoded on the way has no ranges; that says nothing of what is not.
  if (asked.kind === 'whole' || contentCodingOf(head.fields) !== 'identity') return;
  if (head.status === 206) abilities.noteRange(place, true);
  if (head.status === 416) abilities.notePastEnd(place, 416);
  const lengthBytes = contentLengthOf(head);
  if (head.status !== 200 || typeof lengthBytes !== 'number') return;
  if (asked.kind === 'range' && asked.start >= lengthBytes) abilities.notePastEnd(place, 200);
  // A range that takes in everything may as well be answered with everything.
  else if (!isEverything(asked, lengthBytes)) abilities.noteRange(place, false);
}

/** Learns whether the connection stays open (RFC 9112 s9.3). */
export function learnConnection(context: FillContext, place: string, { fields }: UpstreamHead): void {
  const connection = splitList((fieldValue(fields, 'connection') ?? '').toLowerCase());
  context.abilities.noteAnswer(place, !connection.includes('close'));
}

/** Whether two answers differ in their strong tags only: one object, given tags by different nodes. */
export function isTagFlap(
  one: { readonly fields: FieldList; readonly lengthBytes: number | undefined },
  other: { readonly fields: FieldList; readonly lengthBytes: number | undefined },
): boolean {
  const first = validatorsOf(one.fields);
  const second = validatorsOf(other.fields);
  const isSameOtherwise =
    first.lastModified !== undefined && first.lastModified.ms === second.lastModified?.ms && one.lengthBytes === other.lengthBytes;
  return isSameOtherwise && first.isStrongTag && second.isStrongTag && first.entityTag !== second.entityTag;
}

function isEverything(asked: Exclude<Asked, { kind: 'whole' }>, lengthBytes: number): boolean {
  if (asked.kind === 'suffix') return asked.suffixBytes >= lengthBytes;
  return asked.start === 0 && (asked.end ?? lengthBytes) >= lengthBytes;
}
