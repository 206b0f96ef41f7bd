/** Tables, as wide as the terminal. What is written elsewhere than to a terminal is whole. */

/** Columns of the terminal that standard output is, or infinitely many where it is none. */
export function outputWidth(): number {
  const { isTTY, columns } = process.stdout;
  return isTTY ? columns || 80 : Number.POSITIVE_INFINITY;
}

export interface Column {
  title: string;
  /**
   * What may be done where the table is too wide. `whole` (default): nothing, for what is copied, such as ids. `end` and
   * `start`: that end of its cells is left out. The widest of these columns are shortened first.
   */
  shorten?: "whole" | "end" | "start";
  /** What goes first where shortening does not do, the highest number first. */
  leaveOut?: number;
}

/** Narrower than this a column says nothing. */
const MIN_WIDTH = 10;
const GAP = "  ";

/** Lines of a table with left-aligned columns as wide as their widest cell, if that fits into `width`. */
export function table(header: (string | Column)[], rows: string[][], width = outputWidth()): string {
  const columns = header.map((one): Column => (typeof one === "string" ? { title: one } : one));
  const widths = columns.map(({ title }, index) =>
    Math.max(textWidth(title), ...rows.map((row) => textWidth(row[index] ?? ""))),
  );
  const shown = new Set(columns.keys());
  const total = () => [...shown].reduce((sum, index) => sum + (widths[index] ?? 0) + GAP.length, -GAP.length);
  const least = () => [...shown].reduce((sum, index) => sum + leastWidth(columns[index], widths[index]), 0);
  const optional = [...columns.entries()].filter(([, { leaveOut }]) => leaveOut !== undefined);
  optional.sort(([, a], [, b]) => (b.leaveOut ?? 0) - (a.leaveOut ?? 0));
  for (const [index] of optional) if (least() + GAP.length * (shown.size - 1) > width) shown.delete(index);
  for (let over = total() - width; over > 0; over = total() - width) {
    const widest = [...shown]
      .filter((index) => (widths[index] ?? 0) > leastWidth(columns[index], widths[index]))
      .sort((a, b) => (widths[b] ?? 0) - (widths[a] ?? 0));
    const [first, second] = widest;
    if (first === undefined) break; // what is left is not to be shortened
    const own = widths[first] ?? 0;
    const next = second === undefined ? 0 : (widths[second] ?? 0);
    // Down to the second widest, so that both are shortened from there on.
    widths[first] = Math.max(own - over, Math.min(next, own - 1), MIN_WIDTH);
  }
  const line = (cells: string[]) =>
    [...shown]
      .map((index) => {
        const most = widths[index] ?? 0;
        const cell = cut(cells[index] ?? "", most, columns[index]?.shorten === "start");
        return cell + " ".repeat(most - textWidth(cell));
      })
      .join(GAP)
      .trimEnd();
  return [columns.map(({ title }) => title), ...rows].map(line).join("\n");
}

function leastWidth(column: Column | undefined, width = 0): number {
  return (column?.shorten ?? "whole") === "whole" ? width : Math.min(width, MIN_WIDTH);
}

/** The value in at most `width` columns, on one line and without control characters. */
export function brief(value: unknown, width = 60): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return cut(text.replaceAll(/[\s\p{Cc}]+/gu, " "), width);
}

/** The text in at most `most` columns: without its end, or its start. */
export function cut(text: string, most: number, start = false): string {
  if (text.length <= most / 2 || textWidth(text) <= most) return text;
  const characters = start ? [...text].reverse() : text;
  let kept = "";
  let width = 1; // of the mark
  for (const character of characters) {
    width += textWidth(character);
    if (width > most) break;
    kept = start ? character + kept : kept + character;
  }
  return start ? `…${kept}` : `${kept}…`;
}

const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/gu;
const NARROW = /^[\x20-\x7e\u00a0-\u02ff]*$/;

/** Columns that the text takes in a terminal: two for most characters of East Asia and emoji, none for what combines. */
export function textWidth(text: string): number {
  if (NARROW.test(text)) return text.length;
  const wide = text.match(WIDE)?.length ?? 0;
  return [...text.replaceAll(/[\p{Mn}\p{Me}\p{Cf}]/gu, "")].length + wide;
}
