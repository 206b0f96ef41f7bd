/** What expressions of an entry find under their names. */
import { LostValue } from "./expression-error.ts";
import type { Values } from "./expressions.ts";
import type { Failure } from "./failure.ts";
import type { Functions } from "./functions.ts";
import type { Plan } from "./plan.ts";
import type { JobState } from "./state.ts";
import { iso } from "./time.ts";

/** As much of a job as expressions may see. */
export type Visible = Pick<JobState, "job_id" | "name" | "data" | "created_at"> & { functions: Functions };

/** What some expressions find besides. */
export interface More {
  result?: unknown;
  error?: Failure;
  item?: unknown;
  item_index?: number;
}

/** A result that is stored besides its job is asked for and has not been read: whoever can reads it, and asks again. */
export class MissingValue extends Error {
  readonly index: number;
  /** The entries as they are where it is asked for: the state that has them may not be stored yet. */
  readonly functions: Functions;

  constructor(index: number, functions: Functions) {
    super(`the result of entry ${index} has not been read`);
    this.name = "MissingValue";
    this.index = index;
    this.functions = functions;
  }
}

/** The result of an entry that has ended; null of one that has not. @throws MissingValue, LostValue */
export function resultAt({ functions }: Pick<Visible, "functions">, index: number, plan: Plan): unknown {
  const fn = functions.at(index);
  if (fn?.apart === undefined) return fn?.result ?? null;
  if (!plan.loaded.has(index)) throw new MissingValue(index, functions);
  const value = plan.loaded.get(index);
  if (value instanceof LostValue) throw value;
  return value;
}

const WORD = /[A-Za-z_][A-Za-z0-9_]*/g;

/**
 * The values for one text. Of the entries, those are looked up that it names: a job may have a thousand.
 *
 * @param more `result`, `error`, `item` and `item_index`, where there are such
 * @throws MissingValue
 */
export function valuesFor(text: string, job: Visible, plan: Plan, more: More = {}): Values {
  const results: Record<string, unknown> = Object.create(null);
  const errors: Record<string, unknown> = Object.create(null);
  const skipped: Record<string, boolean> = Object.create(null);
  for (const word of new Set(text.match(WORD))) {
    const index = plan.indexOf.get(word);
    const fn = index === undefined ? undefined : job.functions.at(index);
    if (fn?.finished_at === undefined) continue;
    results[word] = resultAt(job, index as number, plan);
    if (fn.caught) errors[word] = withoutStack(fn.caught);
    if (fn.skipped) skipped[word] = true;
  }
  const about = { id: job.job_id, name: job.name, created_at: iso(job.created_at), scheduled_for: null };
  const { error } = more;
  return {
    data: job.data,
    results,
    errors,
    skipped,
    job: about,
    ...more,
    ...(error && { error: withoutStack(error) }),
  };
}

/** Where something stands in a program is nothing to decide by. */
function withoutStack({ code, name, message }: Failure): object {
  return { code, name, message };
}
