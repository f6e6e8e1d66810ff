/** Names and values in two columns. */

/** A line of the table. */
export type TableRow = readonly [name: string, value: string];

/** The rows with their values below each other. */
export function formatTable(rows: readonly TableRow[]): readonly string[] {
  const nameColumns = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(nameColumns)}  ${value}`);
}
