/** Jobs and workers as people read them. */
import type { FunctionDepth } from "../api/requests.ts";
import type { WorkerView } from "../client/workers.ts";
import type { Failure } from "../job/failure.ts";
import type { UndoView } from "../job/record.ts";
import { settingsText } from "../job/settings.ts";
import type { UndoSummary, WaitReason } from "../job/state.ts";
import type { FunctionView, JobView } from "../job/view.ts";
import { brief, type Column, outputWidth, table } from "./table.ts";

const LABEL_WIDTH = 10;

/** A job in a table. What is cut is said to be, and where there is more to be seen. */
export function describeJob(job: JobView, width = outputWidth()): string {
  let isCut = false;
  const short = (value: unknown) => {
    const text = brief(value, Math.max(20, width - LABEL_WIDTH));
    isCut ||= text !== whole(value);
    return text;
  };
  const facts: [string, string | undefined][] = [
    ["job", job.job_id],
    ["name", short(job.name)],
    ["tags", job.tags && short(tagsOf(job.tags))],
    ["parent", job.parent && parentOf(job.parent)],
    ["state", stateOf(job)],
    ["created", job.created_at],
    ["starts", job.state === "scheduled" ? job.scheduled_at : undefined],
    ["due", job.due_at],
    ["finished", job.finished_at],
    ["result", job.result_omitted ? OMITTED : job.result === undefined ? undefined : short(job.result)],
    ["error", job.error && short(errorOf(job.error))],
    ["because", job.undoing?.error && short(errorOf(job.undoing.error))],
    ["undo", job.undo && short(describeUndo(job.undo))],
    ["at end", job.on_failure_run && short(runOfUndo(job.on_failure_run))],
  ];
  const head = facts.flatMap(([name, value]) => (value === undefined ? [] : [`${name.padEnd(LABEL_WIDTH)}${value}`]));
  const rows = job.functions.map((fn, index) => [
    `${index === job.current_function && job.finished_at === undefined ? "→" : " "} ${index}`,
    nameOf(fn),
    runsOf(fn),
    outcomeOf(fn, job),
  ]);
  const columns = ["  #", ending("FUNCTION"), "RUNS", ending("OUTCOME")];
  const functions = table(columns, rows, width);
  isCut ||= functions.includes("…");
  const notes: string[] = [];
  if (job.functions.some(({ items }) => items)) notes.push(`items: async items ${job.job_id} <entry>`);
  const [child, another] = job.functions.flatMap((fn) => fn.child ?? []);
  if (another !== undefined || hasChildrenOfItems(job)) notes.push(`children: async list --parent ${job.job_id}`);
  else if (child !== undefined) notes.push(`child: async get ${child}`);
  if (job.functions.some(({ retry_count }) => retry_count > 1))
    notes.push(`earlier attempts: async events ${job.job_id}`);
  if (isCut) notes.push(`cut at …; whole: async get ${job.job_id} --json`);
  const tail = notes.length === 0 ? [] : ["", ...notes];
  return [...head, "", functions, ...tail].join("\n");
}

const WAITS: Record<WaitReason, string> = {
  worker: "a worker",
  backoff: "the backoff",
  sleep: "the end of a sleep",
  signal: "a signal",
  child: "a child job",
};

function stateOf({ state, waiting_for, warnings, undoing }: JobView): string {
  if (undoing) return `${state}${undoing.skip ? ", nothing more" : ""}; then it is ${undoing.because}`;
  if (waiting_for) return `${state} for ${WAITS[waiting_for]}`;
  return warnings ? `${state}, with ${warnings} warning${warnings === 1 ? "" : "s"}` : state;
}

function errorOf({ code, name, message }: Failure): string {
  return `${code}: ${name}: ${message}`;
}

/** As `async get` takes it, and where in it. */
function parentOf({ job_id, index, item }: NonNullable<JobView["parent"]>): string {
  return `${job_id}, entry ${index}${item === undefined ? "" : `, item ${item}`}`;
}

function hasChildrenOfItems({ functions }: JobView): boolean {
  return functions.some(({ kind, items }) => kind === "job" && items !== undefined);
}

/** Counts that are 0 say nothing. */
function describeUndo({ state, undone, failed, not_undone, error }: UndoSummary): string {
  const counts = [
    ...(undone > 0 ? [`${undone} undone`] : []),
    ...(failed > 0 ? [`${failed} could not be`] : []),
    ...(not_undone > 0 ? [`${not_undone} left as they are`] : []),
  ];
  const why = error ? `; ${errorOf(error)}` : "";
  return `${state}${counts.length > 0 ? `: ${counts.join(", ")}` : ""}${why}`;
}

/** How an undo goes, or what is called once the job has failed: the name of the function, and what has come of it. */
function runOfUndo({ state, name, retry_count, error }: UndoView): string {
  const tried = retry_count > 1 ? `, ${retry_count} attempts` : "";
  return `${name === undefined ? "" : `${name}: `}${state}${tried}${error && state !== "done" ? `: ${error.message}` : ""}`;
}

/** Those whose worker went silent, or had to stop, use up no retry. There may be more than the limit: what a retry by hand adds. */
function runsOf({ kind, items, retry_count, retry_options, lost_count, interrupted_count }: FunctionView): string {
  if (items) return `${items.done}/${items.count ?? `${items.listed ?? 0}+`} items`;
  if (kind !== "function") return "-";
  const limit = retry_options?.retry_limit ?? (retry_options?.retry_for_ms === undefined ? 1 : "∞");
  const lost = lost_count ? ` (${lost_count} lost)` : "";
  const interrupted = interrupted_count ? ` (${interrupted_count} interrupted)` : "";
  return `${retry_count}/${limit}${lost}${interrupted}`;
}

/** What an entry does, and its id. */
function nameOf({ id, kind, name, wait_for, sleep_ms, sleep_until, child }: FunctionView): string {
  const what = {
    function: () => name ?? "",
    wait: () => `wait for ${wait_for}`,
    job: () => (child === undefined ? "job" : `job ${child}`),
    sleep: () => (sleep_ms === undefined ? `sleep until ${brief(sleep_until)}` : `sleep ${sleep_ms} ms`),
  }[kind]();
  return id === undefined ? what : `${id}: ${what}`;
}

/** As they are asked for in lists. */
function tagsOf(tags: Readonly<Record<string, string>>): string {
  return Object.entries(tags)
    .map(([name, value]) => `${name}:${value}`)
    .join(" ");
}

/** It is too large to stand here. */
const OMITTED = "(large: async result <id> [entry])";

/** A column of text that may be shortened. */
const ending = (title: string): Column => ({ title, shorten: "end" });

/** On one line; how much of it is shown is for the table to say. */
const whole = (value: unknown) => brief(value, Number.POSITIVE_INFINITY);

/** What has come of an entry, and of its undo. */
function outcomeOf(fn: FunctionView, job: JobView): string {
  const { undo_run, uncertain, items } = fn;
  const failedItems = items && items.failed > 0 ? [`${items.failed} items failed`] : [];
  const maybe = uncertain ? ["it may have been done"] : [];
  const undo = undo_run ? [UNDO_WORDS[undo_run.state](whole(undo_run.error?.message ?? ""))] : [];
  return [ownOutcomeOf(fn, job), ...failedItems, ...maybe, ...undo].join("; ");
}

const UNDO_WORDS: Record<UndoView["state"], (error: string) => string> = {
  running: (error) => `is being undone${error === "" ? "" : `, last failed: ${error}`}`,
  done: () => "undone",
  failed: (error) => `could not be undone: ${error}`,
  skipped: () => "not undone",
};

function ownOutcomeOf(fn: FunctionView, job: JobView): string {
  if (fn.skipped) return "skipped";
  const failed = fn.error && whole(fn.error.message);
  if (fn.finished_at !== undefined) {
    const result = fn.result_omitted ? OMITTED : whole(fn.result ?? null);
    if (failed === undefined) return result;
    return typeof fn.on_error === "object" ? `${result} (in place of: ${failed})` : `passed over: ${failed}`;
  }
  const isOver = job.finished_at !== undefined || job.undoing !== undefined;
  if (failed !== undefined) return isOver ? `failed: ${failed}` : `last failed: ${failed}`;
  if (fn.started_at === undefined && !fn.items) return "-";
  if (!isOver) return "running";
  return (job.undoing?.because ?? job.state) === "cancelled" ? "cancelled" : "stopped";
}

export function describeJobs(jobs: JobView[], width = outputWidth()): string {
  const rows = jobs.map((job) => [
    job.job_id,
    whole(job.name),
    job.state,
    positionOf(job),
    Number.isFinite(width) ? shortTime(job.created_at) : job.created_at,
    whole(job.error ? job.error.message : job.result_omitted ? OMITTED : (job.result ?? "")),
  ]);
  const name: Column = { ...ending("NAME"), leaveOut: 1 };
  const created: Column = { title: "CREATED", leaveOut: 2 };
  const columns = ["JOB", name, "STATE", ending("FUNCTION"), created, ending("OUTCOME")];
  return table(columns, rows, width);
}

/** Month to second, in UTC as everywhere. */
function shortTime(time: string): string {
  return time.slice(5, 19).replace("T", " ");
}

function positionOf(job: JobView): string {
  const fn = job.functions[job.current_function];
  return fn ? `${job.current_function + 1}/${job.functions.length} ${nameOf(fn)}` : "-";
}

export function describeWorkers(workers: WorkerView[], width = outputWidth()): string {
  const rows = workers.map((worker) => [
    worker.ID,
    worker.Name,
    worker.State,
    `${worker.Running ?? "?"}/${worker.MaxParallel ?? "?"}${worker.Abandoned ? ` (${worker.Abandoned} abandoned)` : ""}`,
    worker.Host === null ? "-" : `${worker.Host}:${worker.Pid}`,
    namesOf(worker),
  ]);
  const host: Column = { title: "PROCESS", shorten: "start" }; // its number is at the end
  const columns = ["WORKER", ending("NAME"), "STATE", "RUNNING", host, ending("FUNCTIONS")];
  return table(columns, rows, width);
}

/** The functions of a worker; how many there are, where not all can be shown. */
function namesOf({ Capabilities, Omitted = 0 }: WorkerView): string {
  const names = Capabilities.slice(0, 80).join(" ");
  if (names.length <= 80 && Capabilities.length <= 80 && Omitted === 0) return whole(names);
  return whole(`${Capabilities.length + Omitted} functions: ${names}`);
}

export function describeFunctions(functions: FunctionDepth[], width = outputWidth()): string {
  const isSet = functions.some(({ settings }) => settings !== undefined);
  const rows = functions.map(({ name, waiting, in_flight, oldest_ms, workers, slots, settings }) => [
    whole(name),
    String(waiting),
    oldest_ms === undefined ? "-" : `${(oldest_ms / 1_000).toFixed(1)} s`,
    String(in_flight),
    String(workers),
    String(slots),
    ...(isSet ? [settings ? settingsText(settings) : "-"] : []),
  ]);
  const columns = [ending("FUNCTION"), "WAITING", "OLDEST", "IN FLIGHT", "WORKERS", "SLOTS"];
  if (isSet) columns.push(ending("SET"));
  return table(columns, rows, width);
}
