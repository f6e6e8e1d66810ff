/** Paths of files, as they are written in a configuration. */
import { invalid, type Parsed, parsed } from './parsed.ts';

/** Reads the path of a file. */
export function parseFile(text: string): Parsed<string> {
  return text.trim() === '' || text.includes('\0') ? invalid('must be the path of a file') : parsed(text.trim());
}
