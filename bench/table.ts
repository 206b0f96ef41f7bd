/** What a scenario has found: rows of plain values, which go to JSON as they are, and how they look as text. */
export type Cell = string | number | null | undefined;

export interface Column {
  /** The member of a row. */
  key: string;
  title: string;
  /** Decimal places of numbers. Default 0. */
  digits?: number;
}

export interface Table {
  title: string;
  columns: Column[];
  rows: Record<string, Cell>[];
  /** What a reader must know to read it rightly. */
  notes?: string[];
}

/** Columns as wide as their widest cell, numbers to the right. A column that no row has a value for is left out. */
export function renderTable({ title, columns, rows, notes = [] }: Table): string {
  const shown = columns.filter(({ key }) => rows.some((row) => !isMissing(row[key])));
  const cells = rows.map((row) => shown.map((column) => textOf(row[column.key], column)));
  const widths = shown.map((column, i) => Math.max(column.title.length, ...cells.map((line) => line[i]?.length ?? 0)));
  const isNumeric = shown.map(({ key }) => rows.every((row) => isMissing(row[key]) || typeof row[key] === "number"));
  const line = (texts: string[]) =>
    texts
      .map((text, i) => (isNumeric[i] ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  const titles = shown.map((column) => column.title);
  return [title, ...[titles, ...cells].map((texts) => `  ${line(texts)}`), ...notes.map((note) => `  ${note}`)].join(
    "\n",
  );
}

function isMissing(cell: Cell): boolean {
  return cell === undefined || cell === null || (typeof cell === "number" && Number.isNaN(cell));
}

function textOf(cell: Cell, { digits = 0 }: Column): string {
  if (isMissing(cell)) return "-";
  if (typeof cell !== "number") return String(cell);
  return cell.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
