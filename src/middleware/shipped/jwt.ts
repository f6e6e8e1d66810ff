/**
 * `jwt`: signed tokens (RFC 7519) of an issuer, checked by jose: algorithm from the list, signature, issuer, audience, times. Claims become fields of the
 * request, and nobody else can set these.
 */
import type { JSONWebKeySet, JWTPayload, JWTVerifyOptions } from 'jose';
import type { OptionFault, OptionValues } from '../../base/module-options.ts';
import { isFieldValue } from '../../http/header-fields.ts';
import type { AnswerHead, EarlyAnswer, Exchange, Middleware, MiddlewareModule, MiddlewareServices } from '../middleware.ts';
import { COOKIE_NAME, cookieOf, removeCookie } from './cookies.ts';
import { CREDENTIAL_OPTIONS, challenge, credentialsOf, makePrivate } from './credentials.ts';
import { fileKeys, type KeySource, secretKeys, UrlKeys } from './jwt-keys.ts';

const OPTIONS = {
  algorithms: {
    kind: 'texts',
    isRequired: true,
    meaning: 'Algorithms that are accepted, such as `RS256`, `ES256`, `EdDSA`; `HS256` and its kin with `secret` only',
  },
  secret: { kind: 'secret', meaning: 'The key of HS256, HS384, HS512' },
  keys: { kind: 'file', meaning: 'File with a set of public keys (JWKS), read again when it changes' },
  url: { kind: 'text', meaning: 'URL of such a set' },
  refresh: {
    kind: 'duration',
    default: '10m',
    min: '10s',
    max: '1d',
    meaning: 'How often `url` is fetched; also when a token names a key that is not known, every 30 s at most',
  },
  issuer: { kind: 'texts', meaning: 'Issuers (`iss`), one of which a token must name' },
  audience: { kind: 'texts', meaning: 'Audiences (`aud`), one of which a token must name' },
  tolerance: { kind: 'duration', default: '30s', max: '10m', meaning: 'How far clocks may differ' },
  requireExpiry: { kind: 'boolean', default: 'true', meaning: 'Whether a token must say when it expires (`exp`)' },
  cookie: { kind: 'text', meaning: 'Cookie that may carry the token instead of Authorization' },
  claims: {
    kind: 'fields',
    meaning:
      'Fields that tell the origin claims, where a request is passed on, such as `{ x-user: sub }`; what clients send there is removed',
  },
  ...CREDENTIAL_OPTIONS,
} as const;

type Options = OptionValues<typeof OPTIONS>;
type Event = 'absent' | 'invalid' | 'expired' | 'no-keys' | 'fetched' | 'fetch-failed';
type Jose = typeof import('jose');

const SYMMETRIC = new Set(['HS256', 'HS384', 'HS512']);
const ASYMMETRIC = new Set(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']);

/** The module. */
export const JWT: MiddlewareModule<typeof OPTIONS, Event> = {
  interfaceVersion: 1,
  options: OPTIONS,
  events: ['absent', 'invalid', 'expired', 'no-keys', 'fetched', 'fetch-failed'],
  check: findFaults,
  create: (options, services) => new Jwt(options, services),
};

class Jwt implements Middleware {
  readonly #options: Options;
  readonly #services: MiddlewareServices<Event>;
  readonly #source: KeySource;
  /** Loaded with the first token: who has none need not pay for it. */
  #jose: Promise<Jose> | undefined;

  constructor(options: Options, services: MiddlewareServices<Event>) {
    this.#options = options;
    this.#services = services;
    this.#source = sourceOf(options, services);
  }

  async onRequest(exchange: Exchange): Promise<EarlyAnswer | undefined> {
    const { claims = [], realm, strip } = this.#options;
    for (const [field] of claims) exchange.removeField(field);
    const token = this.#tokenOf(exchange);
    if (token === undefined) {
      this.#services.count('absent');
      return challenge('Bearer', realm);
    }
    this.#jose ??= import('jose');
    const verdict = await this.#verify(token, await this.#jose);
    if ('status' in verdict) return verdict;
    if (strip) this.#strip(exchange);
    for (const [field, claim] of claims) {
      const value = textOf(verdict.payload[claim]);
      if (value !== undefined) exchange.setField(field, value);
    }
    return undefined;
  }

  onResponse(_exchange: Exchange, head: AnswerHead): void {
    if (this.#options.private) makePrivate(head);
  }

  async #verify(token: string, jose: Jose): Promise<{ readonly payload: JWTPayload } | EarlyAnswer> {
    const { realm } = this.#options;
    for (let turn = 0; ; turn += 1) {
      const { keys } = this.#source;
      if (keys === undefined && turn === 0 && (await this.#source.refresh())) continue;
      if (keys === undefined) {
        this.#services.count('no-keys');
        return { status: 503, fields: [['retry-after', '5']], text: 'The keys that tokens are checked with are not known\n' };
      }
      try {
        return { payload: await this.#payloadOf(token, keys, jose) };
      } catch (error) {
        if (error instanceof jose.errors.JWKSNoMatchingKey && turn === 0 && (await this.#source.refresh())) continue;
        if (!(error instanceof jose.errors.JOSEError)) throw error;
        this.#services.count(error instanceof jose.errors.JWTExpired ? 'expired' : 'invalid');
        return challenge('Bearer', realm, ', error="invalid_token"');
      }
    }
  }

  async #payloadOf(token: string, keys: Uint8Array | JSONWebKeySet, jose: Jose): Promise<JWTPayload> {
    const { algorithms, issuer, audience, tolerance, requireExpiry } = this.#options;
    const options: JWTVerifyOptions = {
      algorithms: [...algorithms],
      clockTolerance: tolerance / 1000,
      currentDate: new Date(this.#services.wallMs()),
      requiredClaims: requireExpiry ? ['exp'] : [],
      ...(issuer === undefined ? {} : { issuer: [...issuer] }),
      ...(audience === undefined ? {} : { audience: [...audience] }),
    };
    if (keys instanceof Uint8Array) return (await jose.jwtVerify(token, keys, options)).payload;
    try {
      return (await jose.jwtVerify(token, jose.createLocalJWKSet(keys), options)).payload;
    } catch (error) {
      // A token without the name of its key fits several.
      if (!(error instanceof jose.errors.JWKSMultipleMatchingKeys)) throw error;
      for await (const key of error) {
        const verified = await jose.jwtVerify(token, key, options).catch((cause: unknown) => {
          if (cause instanceof jose.errors.JWSSignatureVerificationFailed) return undefined;
          throw cause;
        });
        if (verified !== undefined) return verified.payload;
      }
      throw new jose.errors.JWSSignatureVerificationFailed();
    }
  }

  #tokenOf(exchange: Exchange): string | undefined {
    const { cookie } = this.#options;
    return credentialsOf(exchange, 'bearer') ?? (cookie === undefined ? undefined : cookieOf(exchange, cookie));
  }

  #strip(exchange: Exchange): void {
    const { cookie } = this.#options;
    exchange.removeField('authorization');
    if (cookie !== undefined) removeCookie(exchange, cookie);
  }
}

function sourceOf({ secret, keys, url = '', refresh }: Options, services: MiddlewareServices<Event>): KeySource {
  if (secret !== undefined) return secretKeys(secret);
  return keys === undefined ? new UrlKeys(url, refresh, services) : fileKeys(keys, services);
}

/** A claim as a field's value; undefined where it cannot be one. */
function textOf(claim: unknown): string | undefined {
  const text = Array.isArray(claim)
    ? claim.map(String).join(',')
    : typeof claim === 'object' || claim === undefined
      ? undefined
      : String(claim);
  return text !== undefined && isFieldValue(text) && text.trim() === text ? text : undefined;
}

function findFaults({ algorithms, secret, keys, url, cookie }: Options): readonly OptionFault[] {
  const faults: OptionFault[] = [];
  const sources = [secret, keys, url].filter((source) => source !== undefined).length;
  if (sources !== 1) faults.push({ message: 'need one of secret, keys and url' });
  for (const algorithm of algorithms) {
    const known = secret === undefined ? ASYMMETRIC : SYMMETRIC;
    if (sources === 1 && !known.has(algorithm))
      faults.push({ option: 'algorithms', message: `must be of ${[...known].join(', ')}, not ${JSON.stringify(algorithm)}` });
  }
  if (url !== undefined && !/^https?:\/\//.test(url)) faults.push({ option: 'url', message: 'must be a URL of http or https' });
  if (cookie !== undefined && !COOKIE_NAME.test(cookie)) faults.push({ option: 'cookie', message: 'must be the name of a cookie' });
  return faults;
}
