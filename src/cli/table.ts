/** Lines of a table with left-aligned columns as wide as their widest cell. */
export function table(header: string[], rows: string[][]): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: string[]) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return [header, ...rows].map(line).join("\n");
}

/** The value in at most `width` characters, on one line and without control characters. */
export function brief(value: unknown, width = 60): string {
  const text = (typeof value === "string" ? value : (JSON.stringify(value) ?? "")).replaceAll(/[\s\p{Cc}]+/gu, " ");
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}
