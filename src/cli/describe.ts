/** Jobs, workers and events as people read them. */
import type { FunctionDepth, ListedEvent } from "../api/requests.ts";
import type { WorkerView } from "../client/workers.ts";
import type { JobEvent, RejectedEvent } from "../job/events.ts";
import type { FunctionView, JobView } from "../job/view.ts";
import { brief, table } from "./table.ts";

/** Of the message of an error, which is what one wants to know. */
const ERROR_WIDTH = 100;

/** A job in a table. What is cut is said to be, and where there is more to be seen. */
export function describeJob(job: JobView): string {
  let isCut = false;
  const short = (value: unknown, width?: number) => {
    const text = brief(value, width);
    isCut ||= text !== brief(value, Number.POSITIVE_INFINITY);
    return text;
  };
  const facts: [string, string | undefined][] = [
    ["job", job.job_id],
    ["name", short(job.name)],
    [
      "state",
      job.waiting_for ? `${job.state} for ${job.waiting_for === "worker" ? "a worker" : "the backoff"}` : job.state,
    ],
    ["created", job.created_at],
    ["starts", job.state === "scheduled" ? job.scheduled_at : undefined],
    ["due", job.due_at],
    ["finished", job.finished_at],
    ["result", job.result === undefined ? undefined : short(job.result)],
    ["error", job.error && `${job.error.code}: ${short(`${job.error.name}: ${job.error.message}`, ERROR_WIDTH)}`],
  ];
  const head = facts.flatMap(([name, value]) => (value === undefined ? [] : [`${name.padEnd(9)} ${value}`]));
  const rows = job.functions.map((fn, index) => [
    `${index === job.current_function && job.finished_at === undefined ? "→" : " "} ${index}`,
    fn.name,
    // Those whose worker went silent use up no retry.
    `${fn.retry_count}/${fn.retry_options?.retry_limit ?? 1}${fn.lost_count ? ` (${fn.lost_count} lost)` : ""}`,
    outcomeOf(fn, short),
  ]);
  const notes: string[] = [];
  if (job.functions.some(({ retry_count }) => retry_count > 1))
    notes.push(`earlier attempts: async events ${job.job_id}`);
  if (isCut) notes.push(`values that end with … are cut; whole: async get ${job.job_id} --json`);
  const tail = notes.length === 0 ? [] : ["", ...notes];
  return [...head, "", table(["  #", "FUNCTION", "RUNS", "OUTCOME"], rows), ...tail].join("\n");
}

function outcomeOf(fn: FunctionView, short: (value: unknown) => string): string {
  if (fn.error) return `failed: ${short(fn.error.message)}`;
  if (fn.finished_at !== undefined) return short(fn.result ?? null);
  return fn.started_at === undefined ? "-" : "running";
}

export function describeJobs(jobs: JobView[]): string {
  const rows = jobs.map((job) => [
    job.job_id,
    brief(job.name, 40),
    job.state,
    positionOf(job),
    job.created_at,
    job.error ? brief(job.error.message, 40) : brief(job.result ?? "", 40),
  ]);
  return table(["JOB", "NAME", "STATE", "FUNCTION", "CREATED", "OUTCOME"], rows);
}

function positionOf(job: JobView): string {
  const fn = job.functions[job.current_function];
  return fn ? `${job.current_function + 1}/${job.functions.length} ${fn.name}` : "-";
}

export function describeWorkers(workers: WorkerView[]): string {
  const rows = workers.map((worker) => [
    worker.ID,
    worker.Name,
    worker.State,
    `${worker.Running ?? "?"}/${worker.MaxParallel ?? "?"}${worker.Abandoned ? ` (${worker.Abandoned} abandoned)` : ""}`,
    worker.Host === null ? "-" : `${worker.Host}:${worker.Pid}`,
    namesOf(worker),
  ]);
  return table(["WORKER", "NAME", "STATE", "RUNNING", "PROCESS", "FUNCTIONS"], rows);
}

/** The functions of a worker; how many there are, where not all can be shown. */
function namesOf({ Capabilities, Omitted = 0 }: WorkerView): string {
  const names = Capabilities.slice(0, 80).join(" ");
  if (names.length <= 80 && Capabilities.length <= 80 && Omitted === 0) return brief(names, 80);
  return brief(`${Capabilities.length + Omitted} functions: ${names}`, 80);
}

export function describeFunctions(functions: FunctionDepth[]): string {
  const rows = functions.map(({ name, waiting, in_flight, oldest_ms, workers, slots }) => [
    brief(name, 60),
    String(waiting),
    oldest_ms === undefined ? "-" : `${(oldest_ms / 1_000).toFixed(1)} s`,
    String(in_flight),
    String(workers),
    String(slots),
  ]);
  return table(["FUNCTION", "WAITING", "OLDEST", "IN FLIGHT", "WORKERS", "SLOTS"], rows);
}

/** One line for one event: time, job, what happened. */
export function describeEvent(event: JobEvent | RejectedEvent): string {
  return `${event.at.slice(11, 23)}  ${event.job_id.padEnd(36)}  ${event.type.padEnd(9)}  ${detailsOf(event)}`.trimEnd();
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
      return `${event.function} (attempt ${event.attempt})`;
    case "progress":
      return `${event.function} (attempt ${event.attempt}): ${brief(event.progress, width)}`;
    case "retrying":
      return `${event.function} (attempt ${event.attempt}): ${brief(event.error.message, width)}; again at ${event.due_at.slice(11, 23)}`;
    case "waiting":
      return `${event.function}: no worker has room`;
    case "retried":
      return `${event.function}: retried by hand`;
    case "completed":
      return `result ${brief(event.result, width)}`;
    case "failed":
      return `${event.function}: ${event.error.code}: ${brief(event.error.message, width)}`;
    case "rejected":
      return `${event.subject}: ${event.reason}`;
    case "cancelled":
      return "";
  }
}
