/** The part of fs-ext that is used here; the package has no types of its own. Both calls throw system errors with `code`. */
declare module 'fs-ext' {
  /** flock(2). `exnb` throws EAGAIN where another open file holds the lock. */
  export function flockSync(fd: number, operation: 'exnb'): void;
  /** lseek(2); returns the new position in bytes. `whence` 2 counts from the end. */
  export function seekSync(fd: number, position: number, whence: 0 | 1 | 2): number;
}
