/** Waits until a stream takes more, or is gone. Used by what sends contents to origins. */
import type { EventEmitter } from 'node:events';

/** Resolves at the next `drain` or `close`; leaves no listener behind, since a long content waits thousands of times. */
export function drained(stream: EventEmitter): Promise<void> {
  return new Promise((resolve) => {
    const onEither = (): void => {
      stream.off('drain', onEither);
      stream.off('close', onEither);
      resolve();
    };
    stream.on('drain', onEither);
    stream.on('close', onEither);
  });
}
