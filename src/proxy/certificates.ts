/**
 * The certificates of a service, found by the name that a client asks for (SNI, RFC 6066 s3; wildcards as in RFC 9525 s6.3). What is behind a
 * certificate may be replaced while connections go on with what they began with. Used by client-door.ts; app reads the files.
 */
import { X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import { EdgeError } from '../base/errors.ts';

/** Lowest version of TLS that is spoken. */
export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** PEM texts: the certificate with its chain, and its private key. */
export interface CertificatePem {
  /** For messages: where it came from. */
  readonly file: string;
  readonly cert: string;
  readonly key: string;
}

interface Entry {
  readonly names: readonly string[];
  readonly context: SecureContext;
  readonly validToMs: number;
}

/** Certificates of one service. */
export class CertificateSet {
  #entries: readonly Entry[];
  readonly #minVersion: TlsVersion;

  /** @throws EdgeError CONFIG_INVALID naming the file that is wrong */
  constructor(pems: readonly CertificatePem[], minVersion: TlsVersion) {
    this.#minVersion = minVersion;
    this.#entries = pems.map((pem) => readEntry(pem, minVersion));
  }

  /** Takes others for connections that come from now on. @throws EdgeError CONFIG_INVALID; then nothing has changed */
  replace(pems: readonly CertificatePem[]): void {
    this.#entries = pems.map((pem) => readEntry(pem, this.#minVersion));
  }

  /** Until when the one that ends first is valid, in wall-clock milliseconds. */
  get validToMs(): number {
    return Math.min(...this.#entries.map(({ validToMs }) => validToMs));
  }

  /** The certificate for a name; the first one for a client that names none, or one that there is no certificate for. */
  find(serverName: string | undefined): SecureContext {
    const name = serverName?.toLowerCase().replace(/\.$/, '') ?? '';
    const parent = name.includes('.') ? `*${name.slice(name.indexOf('.'))}` : undefined;
    const entry =
      this.#entries.find(({ names }) => names.includes(name)) ??
      this.#entries.find(({ names }) => parent !== undefined && names.includes(parent)) ??
      this.#entries[0];
    if (entry === undefined) throw new EdgeError('INTERNAL', 'a service with TLS has a certificate');
    return entry.context;
  }
}

function readEntry({ file, cert, key }: CertificatePem, minVersion: TlsVersion): Entry {
  try {
    const parsed = new X509Certificate(cert);
    // A key that does not belong to it is refused here.
    const context = createSecureContext({ cert, key, minVersion });
    return { names: namesOf(parsed), context, validToMs: Date.parse(parsed.validTo) };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new EdgeError('CONFIG_INVALID', `The certificate ${file} cannot be used: ${why}`, { cause });
  }
}

/** DNS names and addresses; the common name only where there are none, as old tools make them. */
function namesOf(certificate: X509Certificate): readonly string[] {
  const alternatives = (certificate.subjectAltName ?? '')
    .split(', ')
    .map((text) => /^(?:DNS|IP Address):"?([^"]+)"?$/.exec(text)?.[1]?.toLowerCase())
    .filter((name) => name !== undefined);
  const common = /^CN=(.+)$/m.exec(certificate.subject)?.[1]?.toLowerCase();
  return alternatives.length > 0 || common === undefined ? alternatives : [common];
}
