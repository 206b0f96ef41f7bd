/** Events as people read them, one line each. */
import type { ListedEvent } from "../api/requests.ts";
import type { AttemptRef, JobEvent, RejectedEvent } from "../job/events.ts";
import { brief, cut, outputWidth } from "./table.ts";

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
      return `${entryOf(event)} (${attemptOf(event)})`;
    case "progress":
      return `${entryOf(event)} (${attemptOf(event)}): ${brief(event.progress, width)}`;
    case "retrying":
      return `${entryOf(event)} (${attemptOf(event)}): ${brief(event.error.message, width)}; again at ${event.due_at.slice(11, 23)}`;
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

/** The how many-th it is, and of what. */
function attemptOf({ attempt, item, undo }: AttemptRef): string {
  const of = item === undefined ? "" : ` of item ${item}`;
  return `${undo ? "undo, " : ""}attempt ${attempt}${of}`;
}

/** An entry by the name of its function and by its id, or else by its place. */
function entryOf({ function: name, index, id }: { function?: string | null; index: number; id?: string }): string {
  const words = [...(name ? [name] : []), ...(id === undefined ? [] : [`[${id}]`])];
  return words.length === 0 ? `entry ${index}` : brief(words.join(" "), Number.POSITIVE_INFINITY);
}

function editsIn({ by, data, args }: Extract<JobEvent, { type: "edited" }>): string {
  const edits = [...(data ? ["data"] : []), ...(args ? [`args of ${brief(args, OWN_WIDTH)}`] : [])];
  return `${edits.join(" and ") || "nothing"} changed by hand${by === undefined ? "" : `, by ${brief(by)}`}`;
}
