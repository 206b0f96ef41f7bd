/**
 * Draws the order of a job's entries: a line for each, in steps from top to bottom. Each entry follows one of the step before,
 * and what is bracketed together runs in parallel. A child job stands below its entry, indented. Pure: a document that is right comes in,
 * text goes out.
 *
 * Example:
 *
 *              id       kind      name              follows      options
 *     ┌──      reserve  function  reserve           -            ⟲ release
 *     ├─┬      pick     function  pick ×data.items  reserve
 *     │ └      invoice  job       -                 reserve
 *     │   ───  #0       function  make-invoice      -
 *     └──      #3       function  thank             pick, invoice
 */
import { inlineJob } from "../job/document.ts";
import { namedCall } from "../job/function-state.ts";
import { Order, stepsOf } from "../job/order.ts";
import { planOf } from "../job/plan.ts";
import type { FunctionSpec, Submission } from "../job/schema.ts";
import { expressionOf } from "../job/templates.ts";
import { brief, type Column, cut, outputWidth, table } from "./table.ts";

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
  /** The first and the last id, or one alone. */
  ids: string[];
  /** How many entries it stands for. */
  count: number;
  /** What stands before it: its place in the order. */
  tree: string;
  /** Its kind, its name, what it follows, and its options. */
  cells: [kind: string, name: string, follows: string, options: string];
  /** Of the entry's child job. */
  inner: Line[];
}

/** @param width columns; the lines are shortened to fit */
export function drawGraph(
  { name, functions, on_failure }: Pick<Submission, "name" | "functions" | "on_failure">,
  width = outputWidth(),
): string {
  const { lines, steps } = linesOf(functions);
  const title = `${brief(name)}: ${counted(functions.length, "entry", "entries")} in ${counted(steps, "step", "steps")}`;
  const atEnd = on_failure === undefined ? [] : ["", cut(`on failure: ${callText(on_failure)}`, width)];
  return [title, "", ...rowsOf(lines, width), ...atEnd].join("\n");
}

function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

// --- lines

/** All lines of a document from top to bottom, those of child jobs below the lines of their entries. */
function linesOf(functions: readonly FunctionSpec[]): { lines: Line[]; steps: number } {
  const plan = planOf(functions);
  const order = new Order(plan);
  const label = (index: number) => functions[index]?.id ?? `#${index}`;
  const lineOf = (index: number): Line => {
    const entry = functions[index] ?? {};
    const follows = named(order.followedBy(index).map(label));
    const child = inlineJob(entry);
    const inner = child ? linesOf(child.functions).lines : [];
    const [kind, name] = whatOf(entry);
    return { ids: [label(index)], count: 1, tree: "", cells: [kind, name, follows, optionsOf(entry)], inner };
  };
  const steps = stepsOf(plan).map((step) => collapsed(step.map(lineOf)));
  const lines = steps.flatMap((step, number) => {
    return step.flatMap((line, place) => {
      const tree = treeOf(number, steps.length, place, step.length);
      const below = belowOf(number, steps.length, place, step.length);
      return [{ ...line, tree }, ...line.inner.map((one) => ({ ...one, tree: below + one.tree }))];
    });
  });
  return { lines, steps: steps.length };
}

/** Those that say the same are one. */
function collapsed(lines: Line[]): Line[] {
  const groups = new Map<string, Line[]>();
  for (const line of lines) {
    const key = JSON.stringify([line.cells, line.inner]);
    const group = groups.get(key);
    if (group) group.push(line);
    else groups.set(key, [line]);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (!first || group.length < SAME_FROM) return group;
    return [{ ...first, ids: group.flatMap(({ ids }) => ids), count: group.length }];
  });
}

/** The spine leads from step to step, and a bracket to what runs in parallel in one. */
function treeOf(step: number, steps: number, place: number, places: number): string {
  const isLast = step === steps - 1;
  if (place > 0) return `${isLast ? " " : "│"} ${place === places - 1 ? "└" : "├"}`;
  const spine = steps === 1 ? "─" : step === 0 ? "┌" : isLast ? "└" : "├";
  return `${spine}─${places === 1 ? "─" : "┬"}`;
}

/** What leads past the lines of a child job, to those that come after its entry. */
function belowOf(step: number, steps: number, place: number, places: number): string {
  return `${step === steps - 1 ? " " : "│"} ${place === places - 1 ? " " : "│"} `;
}

function rowsOf(lines: Line[], width: number): string[] {
  const isCut = lines.length > MAX_LINES;
  const firstLines = isCut ? MAX_LINES - LAST_LINES - 1 : lines.length;
  const last = isCut ? lines.slice(-LAST_LINES) : [];
  const shown = [...lines.slice(0, firstLines), ...last];
  const hasOptions = shown.some(({ cells: [, , , options] }) => options !== "");
  const columns: Column[] = [
    { title: "" },
    { title: "id", shorten: "end" },
    { title: "kind" },
    { title: "name", shorten: "end" },
    { title: "follows", shorten: "end" },
    ...(hasOptions ? [{ title: "options", shorten: "end", leaveOut: 1 } as const] : []),
  ];
  const cellsOf = ({ ids, count, tree, cells: [kind, name, ...others] }: Line) => {
    const [first = "", last = first] = [ids[0], ids.at(-1)];
    return [tree, ...(count === 1 ? [first, kind] : [`${first} … ${last}`, `${kind} × ${count}`]), name, ...others];
  };
  const rows = table(columns, shown.map(cellsOf), width).split("\n");
  if (!isCut) return rows;
  const leftOut = lines.slice(firstLines, -LAST_LINES).reduce((sum, { count }) => sum + count, 0);
  // Below the titles of the columns.
  const at = firstLines + 1;
  return [...rows.slice(0, at), `⋮    ${counted(leftOut, "more entry", "more entries")}`, ...rows.slice(at)];
}

// --- cells

function whatOf(entry: FunctionSpec): [kind: string, name: string] {
  const { name, wait_for, sleep_ms, sleep_until, job, for_each } = entry;
  const items = for_each === undefined ? "" : ` ×${itemsText(for_each)}`;
  if (name !== undefined) return ["function", name + items];
  if (job !== undefined) return ["job", `${jobText(entry)}${items}`];
  if (wait_for !== undefined) return ["wait", wait_for];
  if (sleep_ms !== undefined) return ["sleep", duration(sleep_ms)];
  return ["sleep", `until ${typeof sleep_until === "object" ? short(sleep_until.$) : sleep_until}`];
}

function itemsText(forEach: NonNullable<FunctionSpec["for_each"]>): string {
  if (typeof forEach === "number") return forEach.toLocaleString("en");
  return typeof forEach === "string" ? short(forEach) : `${forEach.name}()`;
}

/** Its name, if it has one; or the expression that gives the job. */
function jobText(entry: FunctionSpec): string {
  const child = inlineJob(entry);
  return child ? brief(child.name ?? "-") : `from ${short(expressionOf(entry.job) ?? "")}`;
}

/** In the order of the list, as many as there is room for. */
function named(labels: string[]): string {
  if (labels.length === 0) return "-";
  if (labels.length <= MAX_NAMED) return labels.join(", ");
  const some = labels.slice(0, MAX_NAMED - 1);
  return `${some.join(", ")} and ${labels.length - some.length} more`;
}

function optionsOf(entry: FunctionSpec): string {
  const { when, expect, on_error, timeout_ms, retry_options, undo } = entry;
  const child = inlineJob(entry);
  const most = timeout_ms ?? child?.timeout_ms;
  const options = [
    when !== undefined && `when ${short(when)}`,
    ...itemOptions(entry),
    expect !== undefined && `expects ${short(expect)}`,
    on_error === "continue" && "goes on after an error",
    typeof on_error === "object" && `on error ${on_error.name}`,
    child?.on_failure !== undefined && `on failure ${callText(child.on_failure)}`,
    ...timesOf(retry_options),
    most !== undefined && `at most ${duration(most)}`,
    undo !== undefined && `⟲ ${callText(undo)}`,
  ];
  return options.filter((one) => one !== false).join("; ");
}

function itemOptions({ concurrency, tolerate, slice, results, context }: FunctionSpec): (string | false)[] {
  return [
    slice !== undefined && `${slice} to a list`,
    concurrency !== undefined && `${concurrency} at a time`,
    tolerate !== undefined && tolerate !== 0 && `${tolerate} may fail`,
    results === "none" && "keeps no results",
    context === true && "with the job's data and results",
  ];
}

function timesOf(options: FunctionSpec["retry_options"]): string[] {
  const { retry_limit: limit = 1, retry_for_ms: time } = options ?? {};
  return [...(limit > 1 ? [`${limit} tries`] : []), ...(time === undefined ? [] : [`tries for ${duration(time)}`])];
}

function callText(call: NonNullable<Submission["on_failure"]>): string {
  const { name, retry_options } = namedCall(call);
  const times = timesOf(retry_options).join(", ");
  return times === "" ? name : `${name} (${times})`;
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
