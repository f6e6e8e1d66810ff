/**
 * The program's log: pino, JSON, one line an event, told in the past tense. Loggers are handed down from the composition root; no module
 * holds one of its own.
 */
import { type DestinationStream, destination, type Logger as PinoLogger, pino, stdTimeFunctions } from 'pino';

/** What every module logs to. */
export type Logger = PinoLogger;

/** Levels that the configuration accepts. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
/** One of LOG_LEVELS. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * Makes the root logger.
 *
 * @param options.level lowest level written
 * @param options.stream where to; standard error when undefined, so that standard output stays free for a command's own answer
 */
export function createLogger(options: { level: LogLevel; stream?: DestinationStream | undefined }): Logger {
  const stream = options.stream ?? destination({ dest: 2, sync: true });
  return pino({ level: options.level, base: null, timestamp: stdTimeFunctions.isoTime }, stream);
}

/** A logger that writes nothing; for tests and for tools that print. */
export function createSilentLogger(): Logger {
  return pino({ level: 'silent' });
}
