/**
 * Stage *purge*: a request with the method PURGE is an order to this cache and never reaches the origin. The target names a URL; the field
 * X-Purge-Method makes it the beginning of URLs, the site of its host, or everything; a field that carries tags in responses names tags. It reaches
 * what the service has that was asked, whose `access` the asker has to pass; the admin port reaches all.
 * Soft-Purge: 1 (Fastly-Soft-Purge too) makes stale instead of forgetting.
 */
import { isUtf8 } from 'node:buffer';
import { EdgeError, toEdgeError } from '../base/errors.ts';
import { TAG_FIELDS } from '../cache/cache-tags.ts';
import { type NamedPurge, PURGE_SCOPES } from '../cache/named-purge.ts';
import { type FieldList, fieldLines, fieldValue } from '../http/header-fields.ts';
import { parseRequestTarget } from '../http/request-target.ts';
import { purgeRefusal } from './middlewares.ts';
import type { PurgeRefusal } from './purge-gate.ts';
import type { RequestContext } from './request-context.ts';
import type { ProxyServices } from './services.ts';
import { siteDirectory } from './site-directory.ts';
import { NEXT, type StageOutcome } from './stage.ts';

/** Tags of one request: each is a record in the journal of every device. */
const TAGS_MAX = 256;
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
  const refusal = purgeGate.refuse(context.clientAddress, fieldValue(fields, 'authorization'));
  if (refusal !== undefined) {
    metrics.add('purgesRefused', 1, refusal);
    return { kind: 'fail', error: new EdgeError('PURGE_FORBIDDEN', REFUSALS[refusal]) };
  }
  const refused = purgeRefusal(context, services);
  if (refused !== undefined) {
    metrics.add('purgesRefused', 1, 'middleware');
    return refused;
  }
  try {
    const named = namedBy(request.url ?? '', fields);
    // What this service has: whoever may ask it may not purge through it what others have (DECISIONS 67).
    const reports = await purger.purgeAll(
      named,
      isSoft(fields),
      siteDirectory(() => [services.service.router]),
    );
    const text = `${JSON.stringify(reports.length === 1 ? reports[0] : { purges: reports })}\n`;
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
function namedBy(target: string, fields: FieldList): readonly NamedPurge[] {
  const tags = namedTags(fields);
  // An empty list of tags must not become a purge of the target.
  const word = fieldValue(fields, 'x-purge-method')?.toLowerCase() ?? (tags === undefined ? 'url' : 'tag');
  const scope = PURGE_SCOPES.find((known) => known === word);
  if (scope === undefined) throw invalid(`X-Purge-Method is one of ${PURGE_SCOPES.join(', ')}`);
  if (scope !== 'tag' && tags !== undefined) throw invalid('Purge by tags, or by something else, in one request');
  if (scope !== 'tag') return [namedByTarget(scope, target, fieldValue(fields, 'host'))];
  if (tags === undefined || tags.length === 0) throw invalid(`Name tags in ${TAG_FIELDS.join(', ')}`);
  return tags.map((tag) => ({ kind: 'tag', tag }));
}

/** @returns undefined when no field is there that names tags */
function namedTags(fields: FieldList): readonly string[] | undefined {
  const lines = TAG_FIELDS.flatMap((name) => fieldLines(fields, name)).map(tagText);
  if (lines.length === 0) return undefined;
  const tags = [...new Set(lines.flatMap((line) => line.split(/[\s,]+/)).filter((tag) => tag !== ''))];
  if (tags.length > TAGS_MAX) throw invalid(`Name at most ${TAGS_MAX} tags in one request`);
  return tags;
}

function namedByTarget(scope: Exclude<NamedPurge['kind'], 'tag'>, target: string, host: string | undefined): NamedPurge {
  switch (scope) {
    case 'url':
      return { kind: scope, url: target, host };
    case 'prefix':
      return { kind: scope, prefix: target, host };
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
