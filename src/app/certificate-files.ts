/**
 * Reads the certificates of services from their files, and again when these change, so that a renewed certificate is used without a reload. What
 * cannot be read leaves the old one in use, and the log says so. Used by proxy-assembly.ts.
 */
import { readFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { EdgeError, systemErrorCode, toEdgeError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { ConfigCertificate } from '../config/edge-config.ts';
import { type CertificatePem, CertificateSet, type TlsVersion } from '../proxy/certificates.ts';
import { FileWatcher } from './file-watcher.ts';

/** What reading needs. */
export interface CertificateFilesOptions {
  readonly certificates: readonly ConfigCertificate[];
  readonly minVersion: TlsVersion;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told whether the last change could be taken. */
  readonly onReplaced: (isTaken: boolean) => void;
}

/** How often files are looked at. */
const INTERVAL_MS = 10_000;

/** Certificates in use, and the watch over their files. */
export class CertificateFiles {
  readonly set: CertificateSet;
  readonly #options: CertificateFilesOptions;
  readonly #watchers: readonly FileWatcher[];

  /** @throws EdgeError CONFIG_INVALID */
  constructor(options: CertificateFilesOptions) {
    this.#options = options;
    const { clock, certificates } = options;
    const files = new Set(certificates.flatMap(({ certFile, keyFile }) => [certFile, keyFile]));
    this.#watchers = Array.from(files, (file) => new FileWatcher({ clock, file, onChange: () => this.#replace() }));
    this.set = new CertificateSet(options.certificates.map(readPem), options.minVersion);
  }

  /** Looks at the files from now on, until stop(). */
  watch(intervalMs = INTERVAL_MS): void {
    for (const watcher of this.#watchers) watcher.every(intervalMs);
  }

  stop(): void {
    for (const watcher of this.#watchers) watcher.stop();
  }

  #replace(): void {
    const { certificates, logger, onReplaced } = this.#options;
    try {
      this.set.replace(certificates.map(readPem));
      logger.info({ files: certificates.map(({ certFile }) => certFile) }, 'certificates were read again');
      onReplaced(true);
    } catch (cause) {
      // Between a new certificate and its new key they do not belong together; the key's own change comes next.
      logger.error({ err: toEdgeError(cause) }, 'A changed certificate cannot be used; the one before it stays');
      onReplaced(false);
    }
  }
}

function readPem({ certFile, keyFile }: ConfigCertificate): CertificatePem {
  return { file: certFile, cert: readText(certFile), key: readText(keyFile) };
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const why = systemErrorCode(cause) === 'ENOENT' ? 'it does not exist' : (systemErrorCode(cause) ?? 'unknown');
    throw new EdgeError('CONFIG_INVALID', `The file ${file} of a certificate cannot be read: ${why}`, { cause });
  }
}
