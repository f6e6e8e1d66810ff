/**
 * Stage *purge*: a request with the method PURGE is an order to this cache and never reaches the origin. The target names a URL; the field
 * X-Purge-Method makes it the beginning of URLs, the site of its host, or everything; a field that carries a tag in responses names a tag.
 * Soft-Purge: 1 (Fastly-Soft-Purge too) makes stale instead of forgetting.
 */
import { isUtf8 } from 'node:buffer';
import { EdgeError, toEdgeError } from '../base/errors.ts';
import { TAG_FIELDS } from '../cache/cache-tags.ts';
import { type NamedPurge, PURGE_SCOPES } from '../cache/named-purge.ts';
import { type FieldList, fieldLines, fieldValue } from '../http/header-fields.ts';
import { parseRequestTarget } from '../http/request-target.ts';
import type { PurgeRefusal } from './purge-gate.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { NEXT, type StageOutcome } from './stage.ts';

const SOFT_FIELDS = ['soft-purge', 'fastly-soft-purge'] as const;

const REFUSALS: Readonly<Record<PurgeRefusal, string>> = {
  off: 'Nobody may purge through this port; set purge.allow or purge.token, or use the admin port',
  address: 'Your address is not in purge.allow',
  token: 'Send purge.token as a Bearer token in Authorization',
};

export async function purge(context: RequestContext, services: ProxyServices): Promise<StageOutcome> {
  if (context.method !== 'PURGE') return NEXT;
  const { metrics, purger, purgeGate } = services;
  const { request, fields } = context;
  const refusal = purgeGate.refuse(request.socket.remoteAddress, fieldValue(fields, 'authorization'));
  if (refusal !== undefined) {
    metrics.add('purgesRefused', 1, refusal);
    return { kind: 'fail', error: new EdgeError('PURGE_FORBIDDEN', REFUSALS[refusal]) };
  }
  try {
    const report = await purger.purge(namedBy(request.url ?? '', fields), isSoft(fields));
    const text = `${JSON.stringify(report)}\n`;
    const described = [
      ['content-type', 'application/json; charset=utf-8'],
      ['content-length', String(Buffer.byteLength(text))],
      ['cache-control', 'no-store'],
    ] as const;
    return { kind: 'reply', reply: { status: 200, fields: described, text } };
  } catch (cause) {
    const error = toEdgeError(cause);
    metrics.add('purgesRefused', 1, error.code === 'REQUEST_INVALID' ? 'invalid' : 'failed');
    return { kind: 'fail', error };
  }
}

/** A purge of something else than was meant would be reported as done, so what is ambiguous is refused. @throws EdgeError REQUEST_INVALID */
function namedBy(target: string, fields: FieldList): NamedPurge {
  const tags = TAG_FIELDS.flatMap((name) => fieldLines(fields, name)).map(tagText);
  const word = fieldValue(fields, 'x-purge-method')?.toLowerCase() ?? (tags.length > 0 ? 'tag' : 'url');
  const host = fieldValue(fields, 'host');
  const scope = PURGE_SCOPES.find((known) => known === word);
  if (scope === undefined) throw invalid(`X-Purge-Method is one of ${PURGE_SCOPES.join(', ')}`);
  if ((scope === 'tag') !== tags.length > 0 || tags.length > 1)
    throw invalid(`Name one tag, in ${TAG_FIELDS.join(', ')}, and purge by nothing else with it`);
  switch (scope) {
    case 'url':
      return { kind: scope, url: target, host };
    case 'prefix':
      return { kind: scope, prefix: target, host };
    case 'tag':
      return { kind: scope, tag: tags[0] ?? '' };
    case 'host': {
      const parsed = parseRequestTarget(target, host);
      return { kind: scope, host: parsed.kind === 'ok' ? (parsed.host ?? '') : '' };
    }
    case 'everything':
      return { kind: scope };
  }
}

function isSoft(fields: FieldList): boolean {
  const words = SOFT_FIELDS.flatMap((name) => fieldLines(fields, name)).map((line) => line.trim());
  if (words.some((word) => word !== '0' && word !== '1')) throw invalid('Soft-Purge is 1 or 0');
  return words.includes('1');
}

/** Fields come as one character a byte; what names a tag is text, as on the admin port. */
function tagText(field: string): string {
  const bytes = Buffer.from(field.trim(), 'latin1');
  if (!isUtf8(bytes)) throw invalid('A tag that is not UTF-8 cannot be purged by');
  return bytes.toString('utf8');
}

function invalid(message: string): EdgeError {
  return new EdgeError('REQUEST_INVALID', message);
}
