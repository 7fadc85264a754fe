/**
 * Rows as aligned text.
 *
 * @module
 */

/** Columns as wide as their widest cell; cells that look like numbers stand on the right. */
export function tableText(rows: string[][]): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, cell.length));
  }
  const numeric = widths.map((_, i) =>
    rows.slice(1).every((row) => /^[-\d.,]*$/.test(row[i] ?? ""))
  );
  return rows.map((row) =>
    row.map((cell, i) => numeric[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))
      .join("  ").trimEnd()
  ).join("\n");
}
