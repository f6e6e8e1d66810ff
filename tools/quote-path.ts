/** Paths in lines that can be copied into a shell. */

/** `path` as one word of a shell. */
export function quotePath(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
