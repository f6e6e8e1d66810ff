/** What the middlewares that ask for credentials have in common: their options, what a client is told, and what others may do with an answer. */
import { splitList } from '../../http/header-fields.ts';
import type { AnswerHead, EarlyAnswer, Exchange } from '../middleware.ts';

/** Options of each of them. */
export const CREDENTIAL_OPTIONS = {
  realm: { kind: 'text', default: 'restricted', meaning: 'What clients are told they need credentials for' },
  strip: {
    kind: 'boolean',
    default: 'true',
    meaning:
      'Whether neither cache nor origin sees the credentials, so that what is stored is for all who have some; `false`: they are passed on, and RFC 9111 s3.5 decides what may be stored',
  },
  private: {
    kind: 'boolean',
    default: 'true',
    meaning: 'Whether answers say `Cache-Control: private`, so that no cache in front of this one gives them to who has no credentials',
  },
} as const;

/** 401 with a challenge (RFC 9110 s11.6.1). @param more parameters behind the realm */
export function challenge(scheme: 'Basic' | 'Bearer', realm: string, more = ''): EarlyAnswer {
  const quoted = realm.replace(/["\\]/g, '\\$&');
  return { status: 401, fields: [['www-authenticate', `${scheme} realm="${quoted}"${more}`]], text: 'Credentials are needed here\n' };
}

/** What is behind the scheme in Authorization; undefined for another scheme, or none. */
export function credentialsOf(exchange: Exchange, scheme: 'basic' | 'bearer'): string | undefined {
  const text = exchange.field('authorization');
  if (text === undefined || text.slice(0, scheme.length + 1).toLowerCase() !== `${scheme} `) return undefined;
  return text.slice(scheme.length + 1).trim();
}

/** Makes an answer one for its client alone. What is for caches in front only goes, too. */
export function makePrivate(head: AnswerHead): void {
  const kept = splitList(head.field('cache-control') ?? '').filter(
    (word) => !/^(?:public|private|s-maxage|proxy-revalidate)(?:=|$)/i.test(word),
  );
  head.set('cache-control', [...kept, 'private'].join(', '));
  head.remove('cdn-cache-control');
  head.remove('surrogate-control');
}
