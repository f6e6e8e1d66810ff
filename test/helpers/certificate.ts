/** Certificates, made anew each time by openssl: one for 127.0.0.1 that this process trusts from then on, made anew each time by openssl. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';

/** PEM texts. */
export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

/** @returns undefined when openssl is not installed */
export function trustedCertificate(): Certificate | undefined {
  const directory = mkdtempSync(path.join(tmpdir(), 'rawslice-tls-'));
  const [keyFile, certFile] = [path.join(directory, 'key.pem'), path.join(directory, 'cert.pem')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-days', '2'];
  try {
    const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    execFileSync('openssl', ['req', ...kind, ...subject, '-keyout', keyFile, '-out', certFile], { stdio: 'ignore' });
    const cert = readFileSync(certFile, 'utf8');
    tls.setDefaultCACertificates([...tls.getCACertificates('default'), cert]);
    return { key: readFileSync(keyFile, 'utf8'), cert };
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Writes a certificate for the names and its key into a folder. @returns their files; undefined when openssl is not installed */
export function certificateFiles(directory: string, name: string, names: readonly string[]): { cert: string; key: string } | undefined {
  const [key, cert] = [path.join(directory, `${name}.key.pem`), path.join(directory, `${name}.pem`)];
  const alternatives = names.map((alternative) => `DNS:${alternative}`).join(',');
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  try {
    const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${alternatives}`];
    execFileSync('openssl', ['req', ...kind, ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    return { cert, key };
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
