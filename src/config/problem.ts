/**
 * What is wrong with a configuration, and how it is shown: where (file, line, column, or the variable or flag), which key, what would be
 * right, the line itself with a caret, and *did you mean*. All problems are collected before anything is reported.
 */

/** A stretch of one line of a file. Line and column count from 1; `lengthColumns` >= 1. */
export interface SourcePlace {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly lengthColumns: number;
  readonly lineText: string;
}

/** One problem. */
export interface ConfigProblem {
  /** Where it comes from when there is no place in a file: a file's name, `environment RAWSLICE_LISTEN`, a flag, `default`. */
  readonly source: string;
  readonly place?: SourcePlace | undefined;
  /** Dotted key, such as `upstream.url` or `rules.0.match`; undefined for a fault of the file as a whole. */
  readonly key?: string | undefined;
  /** A clause that follows the key: what would be right and what was received. */
  readonly message: string;
  /** A known name that was perhaps meant. */
  readonly suggestion?: string | undefined;
}

/** Columns of a line that are shown; a longer one is cut around the caret. */
const EXCERPT_COLUMNS = 120;

/**
 * One problem as text: a line `file:line:column: key: message`, and for a place in a file the line with a caret under it.
 *
 * @returns lines joined with `\n`, no line break at the end
 */
export function formatProblem(problem: ConfigProblem): string {
  const { place } = problem;
  const where = place === undefined ? problem.source : `${place.file}:${place.line}:${place.column}`;
  const key = problem.key === undefined ? '' : `${problem.key}: `;
  const hint = problem.suggestion === undefined ? '' : `; did you mean ${problem.suggestion}?`;
  const head = `${where}: ${key}${problem.message}${hint}`;
  return place === undefined ? head : `${head}\n${formatExcerpt(place)}`;
}

function formatExcerpt(place: SourcePlace): string {
  const before = place.column - 1;
  const cut = place.lineText.length > EXCERPT_COLUMNS ? Math.max(0, before - EXCERPT_COLUMNS / 2) : 0;
  const shown = place.lineText.slice(cut, cut + EXCERPT_COLUMNS);
  const caretColumns = Math.max(1, Math.min(place.lengthColumns, shown.length - (before - cut)));
  const number = String(place.line).padStart(5);
  // A tab stays a tab under the caret too, so that both lines are cut alike by the terminal.
  const indent = shown.slice(0, before - cut).replace(/[^\t]/g, ' ');
  return `${number} | ${replaceControls(shown)}\n      | ${indent.padEnd(before - cut)}${'^'.repeat(caretColumns)}`;
}

/** A file must not be able to send the terminal commands. */
function replaceControls(text: string): string {
  return text.replace(/[^\P{Cc}\t]/gu, '?');
}
