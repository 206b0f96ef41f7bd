/**
 * Draws the order of a job's entries: a line for each, in steps from top to bottom. Each entry follows one of the step before,
 * and what is bracketed together runs in parallel. Pure: a document that is right comes in, text goes out.
 *
 * Example:
 *
 *          id       kind      name      follows
 *     ┌──  reserve  function  reserve   -
 *     ├─┬  charge   function  charge    reserve
 *     │ └  approve  wait      approval  reserve
 *     └──  #3       function  thank     charge, approve
 */
import { Order, stepsOf } from "../job/order.ts";
import { planOf } from "../job/plan.ts";
import type { FunctionSpec, Submission } from "../job/schema.ts";
import { brief, type Column, outputWidth, table } from "./table.ts";

/** Most lines of a drawing: of more, some before its end are left out. */
const MAX_LINES = 100;
const LAST_LINES = 9;
/** So many entries or more that are the same but for their ids are one line. */
const SAME_FROM = 3;
/** Most entries that a line names as followed. */
const MAX_NAMED = 4;
const MAX_TEXT_LENGTH = 60;

/** One entry, or several that are the same. */
interface Line {
  indexes: number[];
  /** What stands before it: its place in the order. */
  tree: string;
  /** Its kind, its name, what it follows, and its options. */
  cells: string[];
}

/** @param width columns; the lines are shortened to fit */
export function drawGraph({ name, functions }: Pick<Submission, "name" | "functions">, width = outputWidth()): string {
  const plan = planOf(functions);
  const order = new Order(plan);
  const label = (index: number) => functions[index]?.id ?? `#${index}`;
  const lineOf = (index: number): Line => {
    const entry = functions[index] ?? {};
    const follows = named(order.followedBy(index).map(label));
    return { indexes: [index], tree: "", cells: [...whatOf(entry), follows, optionsOf(entry)] };
  };
  const steps = stepsOf(plan).map((step) => collapsed(step.map(lineOf)));
  const lines = steps.flatMap((step, number) => {
    return step.map((line, place) => ({ ...line, tree: treeOf(number, steps.length, place, step.length) }));
  });
  const title = `${brief(name)}: ${counted(functions.length, "entry", "entries")} in ${counted(steps.length, "step", "steps")}`;
  return [title, "", ...rowsOf(lines, label, width)].join("\n");
}

function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

// --- lines

/** Those that say the same are one. */
function collapsed(lines: Line[]): Line[] {
  const groups = new Map<string, Line[]>();
  for (const line of lines) {
    const key = JSON.stringify(line.cells);
    const group = groups.get(key);
    if (group) group.push(line);
    else groups.set(key, [line]);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (!first || group.length < SAME_FROM) return group;
    return [{ ...first, indexes: group.flatMap(({ indexes }) => indexes) }];
  });
}

/** The spine leads from step to step, and a bracket to what runs in parallel in one. */
function treeOf(step: number, steps: number, place: number, places: number): string {
  const isLast = step === steps - 1;
  if (place > 0) return `${isLast ? " " : "│"} ${place === places - 1 ? "└" : "├"}`;
  const spine = steps === 1 ? "─" : step === 0 ? "┌" : isLast ? "└" : "├";
  return `${spine}─${places === 1 ? "─" : "┬"}`;
}

function rowsOf(lines: Line[], label: (index: number) => string, width: number): string[] {
  const isCut = lines.length > MAX_LINES;
  const firstLines = isCut ? MAX_LINES - LAST_LINES - 1 : lines.length;
  const last = isCut ? lines.slice(-LAST_LINES) : [];
  const shown = [...lines.slice(0, firstLines), ...last];
  const hasOptions = shown.some(({ cells }) => cells.at(-1) !== "");
  const columns: Column[] = [
    { title: "" },
    { title: "id", shorten: "end" },
    { title: "kind" },
    { title: "name", shorten: "end" },
    { title: "follows", shorten: "end" },
    ...(hasOptions ? [{ title: "options", shorten: "end", leaveOut: 1 } as const] : []),
  ];
  const cellsOf = ({ indexes, tree, cells }: Line) => {
    const [first = 0] = indexes;
    const [kind = "", name = "", ...others] = cells;
    if (indexes.length === 1) return [tree, label(first), kind, name, ...others];
    const ids = `${label(first)} … ${label(indexes.at(-1) ?? first)}`;
    return [tree, ids, `${kind} × ${indexes.length}`, name, ...others];
  };
  const rows = table(columns, shown.map(cellsOf), width).split("\n");
  if (!isCut) return rows;
  const leftOut = lines.slice(firstLines, -LAST_LINES).flatMap(({ indexes }) => indexes);
  // Below the titles of the columns.
  const at = firstLines + 1;
  return [...rows.slice(0, at), `⋮    ${counted(leftOut.length, "more entry", "more entries")}`, ...rows.slice(at)];
}

// --- cells

function whatOf({ name, wait_for, sleep_ms, sleep_until }: FunctionSpec): [kind: string, name: string] {
  if (name !== undefined) return ["function", name];
  if (wait_for !== undefined) return ["wait", wait_for];
  if (sleep_ms !== undefined) return ["sleep", duration(sleep_ms)];
  return ["sleep", `until ${typeof sleep_until === "object" ? short(sleep_until.$) : sleep_until}`];
}

/** In the order of the list, as many as there is room for. */
function named(labels: string[]): string {
  if (labels.length === 0) return "-";
  if (labels.length <= MAX_NAMED) return labels.join(", ");
  const some = labels.slice(0, MAX_NAMED - 1);
  return `${some.join(", ")} and ${labels.length - some.length} more`;
}

function optionsOf({ when, expect, on_error, timeout_ms, retry_options }: FunctionSpec): string {
  const limit = retry_options?.retry_limit;
  const options = [
    when !== undefined && `when ${short(when)}`,
    expect !== undefined && `expects ${short(expect)}`,
    on_error === "continue" && "goes on after an error",
    typeof on_error === "object" && `on error ${on_error.name}`,
    limit !== undefined && limit > 1 && `${limit} tries`,
    timeout_ms !== undefined && `at most ${duration(timeout_ms)}`,
  ];
  return options.filter((one) => one !== false).join("; ");
}

function short(expression: string): string {
  return brief(expression, MAX_TEXT_LENGTH);
}

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
  ["ms", 1],
] as const;

/** e.g. 90000 is "1 min 30 s": the two largest units of it, exact for what people write. */
function duration(ms: number): string {
  const parts: string[] = [];
  let rest = ms;
  for (const [unit, length] of UNITS) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0) parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(" ") || "0 ms";
}
