/** What kind of document a submission is: which of the two machines its job needs, and which format its record. */
import { GRAPH_OPTIONS } from "./function-state.ts";
import type { FunctionSpec, Submission } from "./schema.ts";
import { hasExpressions } from "./templates.ts";

type Document = Pick<Submission, "functions" | "tags" | "keep_ms" | "warn_after_ms" | "on_failure">;

/** Whether its entries do more than follow each other, or the job has a time of its own to watch. */
export function isGraphDocument({ functions, warn_after_ms, on_failure }: Document): boolean {
  return (warn_after_ms ?? on_failure) !== undefined || functions.some(isGraphEntry);
}

function isGraphEntry(spec: FunctionSpec): boolean {
  for (const option of GRAPH_OPTIONS) if (spec[option] !== undefined) return true;
  return spec.args !== undefined && spec.args !== null && hasExpressions(spec.args);
}

/** Whether a chain has something that a record of format 1 cannot have. */
export function needsFormat2({ functions, tags, keep_ms }: Document): boolean {
  return tags !== undefined || keep_ms !== undefined || functions.some(isRetriedForTime);
}

function isRetriedForTime({ retry_options }: FunctionSpec): boolean {
  return retry_options?.retry_for_ms !== undefined;
}

/** The format that the record of its job has. */
export function formatOfDocument(document: Document): 1 | 2 {
  return isGraphDocument(document) || needsFormat2(document) ? 2 : 1;
}
