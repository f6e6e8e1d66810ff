/**
 * Where the lines of requests go: into the program's log, or into a file of their own, as JSON or in the combined format. The file is opened again by each
 * reload, so that whoever has moved it away (logrotate) sends SIGHUP. Used by proxy-assembly.ts.
 */
import { closeSync, openSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { EdgeError, systemErrorCode, toEdgeError } from '../base/errors.ts';
import { createLogger, type Logger } from '../base/log.ts';
import { LogBuffer } from '../base/log-buffer.ts';
import type { EdgeConfig } from '../config/edge-config.ts';
import { type AccessOutput, type AccessRecord, writeAccessLine } from '../proxy/access-log.ts';
import { formatCombined } from '../proxy/combined-line.ts';

type AccessConfig = Pick<EdgeConfig['log'], 'accessFile' | 'accessFormat'>;

/** Whoever has requests in progress keeps it: a reload changes where it leads. */
export class AccessOutputs implements AccessOutput {
  readonly #logger: Logger;
  readonly #clock: Clock;
  #file: LogBuffer | undefined;
  #write: (record: AccessRecord) => void;

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
    this.#write = (record) => writeAccessLine(record, logger);
  }

  write(record: AccessRecord): void {
    this.#write(record);
  }

  /** Whether the lines can go there. @throws EdgeError CONFIG_INVALID */
  check({ accessFile }: AccessConfig): void {
    if (accessFile !== undefined) closeSync(openLog(accessFile));
  }

  /** From now on the lines go there. A file that has become impossible since it was checked is an error in the log, which gets the lines then. */
  use({ accessFile, accessFormat }: AccessConfig): void {
    const before = this.#file;
    this.#file = undefined;
    this.#write = (record) => writeAccessLine(record, this.#logger);
    try {
      if (accessFile !== undefined) this.#open(openLog(accessFile), accessFormat);
    } catch (error) {
      this.#logger.error({ err: toEdgeError(error) }, 'could not open the file of the access log');
    }
    void before?.close();
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }

  #open(fd: number, format: AccessConfig['accessFormat']): void {
    const file = new LogBuffer(fd, this.#clock);
    this.#file = file;
    const logger = createLogger({ level: 'info', stream: file });
    this.#write =
      format === 'combined'
        ? (record) => file.write(formatCombined(record, this.#clock.wallMs()))
        : (record) => writeAccessLine(record, logger);
  }
}

function openLog(path: string): number {
  try {
    return openSync(path, 'a', 0o640);
  } catch (cause) {
    const errno = systemErrorCode(cause) ?? 'unknown';
    throw new EdgeError('CONFIG_INVALID', `log.accessFile ${path} cannot be written to (${errno}); make its folder, or choose another`, {
      cause,
    });
  }
}
