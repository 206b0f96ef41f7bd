/** Jobs, workers and events as people read them. */
import type { FunctionDepth, ListedEvent } from "../api/requests.ts";
import type { WorkerView } from "../client/workers.ts";
import type { JobEvent, RejectedEvent } from "../job/events.ts";
import { settingsText } from "../job/settings.ts";
import type { WaitReason } from "../job/state.ts";
import type { FunctionView, JobView } from "../job/view.ts";
import { brief, type Column, cut, outputWidth, table } from "./table.ts";

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
    ["state", stateOf(job)],
    ["created", job.created_at],
    ["starts", job.state === "scheduled" ? job.scheduled_at : undefined],
    ["due", job.due_at],
    ["finished", job.finished_at],
    ["result", job.result_omitted ? OMITTED : job.result === undefined ? undefined : short(job.result)],
    ["error", job.error && short(`${job.error.code}: ${job.error.name}: ${job.error.message}`)],
  ];
  const head = facts.flatMap(([name, value]) => (value === undefined ? [] : [`${name.padEnd(LABEL_WIDTH)}${value}`]));
  const rows = job.functions.map((fn, index) => [
    `${index === job.current_function && job.finished_at === undefined ? "→" : " "} ${index}`,
    nameOf(fn),
    fn.kind === "function" ? runsOf(fn) : "-",
    outcomeOf(fn, job),
  ]);
  const columns = ["  #", ending("FUNCTION"), "RUNS", ending("OUTCOME")];
  const functions = table(columns, rows, width);
  isCut ||= functions.includes("…");
  const notes: string[] = [];
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

function stateOf({ state, waiting_for, warnings }: JobView): string {
  if (waiting_for) return `${state} for ${WAITS[waiting_for]}`;
  return warnings ? `${state}, with ${warnings} warning${warnings === 1 ? "" : "s"}` : state;
}

/** Those whose worker went silent, or had to stop, use up no retry. There may be more than the limit: what a retry by hand adds. */
function runsOf({ retry_count, retry_options, lost_count, interrupted_count }: FunctionView): string {
  const limit = retry_options?.retry_limit ?? (retry_options?.retry_for_ms === undefined ? 1 : "∞");
  const lost = lost_count ? ` (${lost_count} lost)` : "";
  const interrupted = interrupted_count ? ` (${interrupted_count} interrupted)` : "";
  return `${retry_count}/${limit}${lost}${interrupted}`;
}

/** What an entry does, and its id. */
function nameOf({ id, kind, name, wait_for, sleep_ms, sleep_until }: FunctionView): string {
  const what = {
    function: () => name ?? "",
    wait: () => `wait for ${wait_for}`,
    job: () => "job",
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

function outcomeOf(fn: FunctionView, job: JobView): string {
  if (fn.skipped) return "skipped";
  const failed = fn.error && whole(fn.error.message);
  if (fn.finished_at !== undefined) {
    const result = fn.result_omitted ? OMITTED : whole(fn.result ?? null);
    if (failed === undefined) return result;
    return typeof fn.on_error === "object" ? `${result} (in place of: ${failed})` : `passed over: ${failed}`;
  }
  if (failed !== undefined) return job.finished_at === undefined ? `last failed: ${failed}` : `failed: ${failed}`;
  if (fn.started_at === undefined) return "-";
  return job.state === "cancelled" ? "cancelled" : "running";
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

/** One line for one event: time, job, what happened. */
export function describeEvent(event: JobEvent | RejectedEvent, width = outputWidth()): string {
  const { at, job_id, type } = event;
  const head = `${at.slice(11, 23)}  ${job_id.padEnd(21)}  ${type.padEnd(9)}  `;
  return cut(`${head}${detailsOf(event)}`.trimEnd(), Math.max(width, head.length + 10));
}

/** One line for an event of a job that is known: when, what happened; errors in full. */
export function describeOwnEvent(event: ListedEvent): string {
  const cut = event.truncated ? " (cut)" : "";
  return `${event.at}  ${event.type.padEnd(9)}  ${detailsOf(event, OWN_WIDTH)}${cut}`.trimEnd();
}

/** Of messages and values of events, where there is one job only. */
const OWN_WIDTH = 500;

function detailsOf(event: JobEvent | RejectedEvent, width = 60): string {
  switch (event.type) {
    case "accepted":
      return brief(event.job_name);
    case "started":
    case "succeeded":
      return `${entryOf(event)} (attempt ${event.attempt})`;
    case "progress":
      return `${entryOf(event)} (attempt ${event.attempt}): ${brief(event.progress, width)}`;
    case "retrying":
      return `${entryOf(event)} (attempt ${event.attempt}): ${brief(event.error.message, width)}; again at ${event.due_at.slice(11, 23)}`;
    case "waiting":
      return `${entryOf(event)}: no worker has room`;
    case "retried":
      return `${entryOf(event)}: retried by hand`;
    case "skipped":
      return `${entryOf(event)}: its condition is not met`;
    case "signalled":
      return `${entryOf(event)}: signal ${brief(event.name)}, number ${event.number}`;
    case "item_failed":
      return `${entryOf({ function: null, ...event })}, item ${event.item}: ${brief(event.error.message, width)}`;
    case "undoing":
      return event.error
        ? `because of ${event.error.code}: ${brief(event.error.message, width)}`
        : `as it is ${event.because}`;
    case "undone":
      return entryOf(event);
    case "undo_failed":
      return `${entryOf(event)}: ${brief(event.error.message, width)}`;
    case "edited":
      return editsIn(event);
    case "late":
      return `it has not ended within ${event.warn_after_ms} ms`;
    case "completed":
      return `result ${brief(event.result, width)}`;
    case "failed":
      // A submission that is no job has no function that failed.
      return `${event.function === "" ? "" : `${entryOf(event)}: `}${event.error.code}: ${brief(event.error.message, width)}`;
    case "rejected":
      return `${event.subject}: ${event.reason}`;
    case "cancelled":
      return "";
  }
}

/** An entry by the name of its function and by its id, or else by its place. */
function entryOf({ function: name, index, id }: { function?: string | null; index: number; id?: string }): string {
  const words = [...(name ? [name] : []), ...(id === undefined ? [] : [`[${id}]`])];
  return words.length === 0 ? `entry ${index}` : whole(words.join(" "));
}

function editsIn({ by, data, args }: Extract<JobEvent, { type: "edited" }>): string {
  const edits = [...(data ? ["data"] : []), ...(args ? [`args of ${brief(args, OWN_WIDTH)}`] : [])];
  return `${edits.join(" and ") || "nothing"} changed by hand${by === undefined ? "" : `, by ${brief(by)}`}`;
}
