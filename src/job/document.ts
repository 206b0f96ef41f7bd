/** What kind of document a submission is: which of the two machines its job needs, and which format its record. */
import { GRAPH_OPTIONS } from "./function-state.ts";
import { isRecord } from "./plain.ts";
import { type ChildDocument, type FunctionSpec, MAX_DEPTH, type Submission } from "./schema.ts";
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

/** The document of the child job of an entry; undefined where there is none, or an expression gives it. */
export function inlineJob({ job }: Pick<FunctionSpec, "job">): ChildDocument | undefined {
  if (!isRecord(job) || isMeantAsExpression(job)) return undefined;
  return job as object as ChildDocument;
}

/** Whether what stands for a child job is an expression that gives it, or was meant to be one. */
function isMeantAsExpression(job: object): boolean {
  return "$" in job && !("functions" in job);
}

/** Of a document, in the jobs in it as well: more do not fit into a message. It is only there for who builds them of shared parts. */
export const MAX_ENTRIES = 100_000;

/** A document, one that stands in it as the job of an entry, or what stands there instead. */
export interface Nested {
  /** JSON pointer from the outermost document. */
  path: string;
  /** In how many others it is. */
  depth: number;
  kind: "submission" | "child" | "expression";
  /** Of any shape. */
  value: unknown;
}

/**
 * The document itself and all that are in it, as far as jobs may be nested: each comes after the one in which it stands.
 *
 * @returns undefined if they have more entries than MAX_ENTRIES in all
 */
export function nestedIn(document: unknown): Nested[] | undefined {
  const all: Nested[] = [{ path: "", depth: 0, kind: "submission", value: document }];
  let entries = 0;
  for (const { path, depth, kind, value } of all) {
    const functions = isRecord(value) && kind !== "expression" ? value.functions : undefined;
    if (!Array.isArray(functions)) continue;
    entries += functions.length;
    if (entries > MAX_ENTRIES) return undefined;
    if (depth === MAX_DEPTH) continue;
    for (let index = 0; index < functions.length; index++) {
      const job: unknown = isRecord(functions[index]) ? functions[index].job : undefined;
      if (!isRecord(job)) continue;
      const place = { path: `${path}/functions/${index}/job`, depth: depth + 1 };
      all.push({ ...place, kind: isMeantAsExpression(job) ? "expression" : "child", value: job });
    }
  }
  return all;
}
