/** Retries by hand: what may be asked for, and how a graph goes on. */
import type { ErrorCode } from "./errors.ts";
import { eventOf, type JobEventBody } from "./events.ts";
import { type FunctionState, kindOf, newEntry } from "./function-state.ts";
import { entriesProblems } from "./graph-check.ts";
import { attemptRefOf, GraphStep, NOT_BEGUN } from "./graph-step.ts";
import { endGraph } from "./graph-undo.ts";
import { forgiven } from "./outcome.ts";
import { followersOf, type Plan, planOf } from "./plan.ts";
import { documentOf, inPhase, specOf } from "./record.ts";
import { onNextToken } from "./rest.ts";
import type { RetryPatch } from "./retry-patch.ts";
import { type EndedJob, functionAt, type Graph, isGraph, type LiveJob } from "./state.ts";
import { hasExpressions } from "./templates.ts";
import type { Transition } from "./transition.ts";
import { isToBeUndone } from "./undoable.ts";

export interface RetryProblem {
  code: Extract<ErrorCode, "job_ended" | "no_entry" | "invalid_request" | "undo_first">;
  message: string;
}

/** Why a job that has ended cannot be retried so; undefined if it can. */
export function retryProblem(state: EndedJob, patch: RetryPatch): RetryProblem | undefined {
  const { job_id: id } = state;
  if (state.functions.length === 0) {
    return { code: "job_ended", message: `job ${id} cannot be retried: it never was a valid job; submit it anew` };
  }
  return isGraph(state) ? graphProblem(state, patch) : chainProblem(state, patch);
}

function chainProblem(state: EndedJob, { from, args, args_by_id }: RetryPatch): RetryProblem | undefined {
  const { job_id: id, functions } = state;
  if (state.state === "completed") {
    return { code: "job_ended", message: `job ${id} cannot be retried: it is completed` };
  }
  if (args_by_id !== undefined) {
    const message = `the functions of job ${id} have no ids: it goes on where it failed, give the args of that as args`;
    return { code: "invalid_request", message };
  }
  if (from !== undefined && from !== state.current_function) {
    const message = `the functions of job ${id} have no ids: it goes on at ${state.current_function} of ${functions.length}, leave out from`;
    return { code: typeof from === "string" ? "no_entry" : "invalid_request", message };
  }
  if (args !== undefined && hasExpressions(args)) {
    const message = `job ${id} was submitted without expressions, so its args cannot get any; submit it anew`;
    return { code: "invalid_request", message };
  }
  return undefined;
}

function graphProblem(state: Graph & EndedJob, patch: RetryPatch): RetryProblem | undefined {
  const { job_id: id } = state;
  const { from, failed, args, args_by_id = {} } = patch;
  if (state.truncated) {
    const message = `job ${id} cannot be retried: it was too large to be kept as it was; submit it anew, with less in it`;
    return { code: "job_ended", message };
  }
  const plan = planOf(state.functions);
  if (from !== undefined && indexOfEntry(plan, from) === undefined) {
    return { code: "no_entry", message: `job ${id} has no entry ${from} to go on from` };
  }
  const { again: runs, reopened } = runAgain(state, patch, plan);
  if (from === undefined && state.state === "completed" && runs.size + reopened.size === 0) {
    const why = failed
      ? "none of its entries has failed"
      : "it is completed; say from which entry on it is to run again";
    return { code: "job_ended", message: `job ${id} cannot be retried: ${why}` };
  }
  const notUndone = patch.force ? undefined : [...runs].find((index) => isNotUndone(functionAt(state, index)));
  if (notUndone !== undefined) {
    const name = plan.ids[notUndone] ?? `entry ${notUndone}`;
    const message = `${name} of job ${id} would be run again, and what it has done is not undone; see to that, then retry with force (--force)`;
    return { code: "undo_first", message };
  }
  for (const name of Object.keys(args_by_id)) {
    const index = plan.indexOf.get(name);
    if (index === undefined)
      return { code: "no_entry", message: `job ${id} has no entry ${name} to be given other args` };
    const fn = functionAt(state, index);
    if (fn.finished_at !== undefined && !runs.has(index)) {
      const message = `entry ${name} of job ${id} has ended and is not run again: say from which entry on, to give it other args`;
      return { code: "invalid_request", message };
    }
    if (kindOf(fn) !== "function") {
      return { code: "invalid_request", message: `entry ${name} of job ${id} takes no args: it is no function` };
    }
  }
  const at = args === undefined ? undefined : goesOnAt(state, patch, plan);
  if (at !== undefined && kindOf(functionAt(state, at)) !== "function") {
    return { code: "invalid_request", message: `entry ${from} of job ${id} takes no args: it is no function` };
  }
  if (args !== undefined && at === undefined) {
    return { code: "invalid_request", message: `it is not clear whose args these are: name the entry in args_by_id` };
  }
  return argsProblem(state, patch, plan);
}

/** What is wrong with the expressions of other args. */
function argsProblem(state: Graph, patch: RetryPatch, plan: Plan): RetryProblem | undefined {
  const { args, args_by_id = {} } = patch;
  if (![args, ...Object.values(args_by_id)].some(hasExpressions)) return undefined;
  const entries = edited(state, patch, plan, new Set()).map(documentOf);
  for (const { path, message } of entriesProblems(entries)) {
    return { code: "invalid_request", message: `the args cannot be used: ${path} ${message}` };
  }
  return undefined;
}

/** What of the patch was changed, as an event; undefined if nothing was. */
export function editsOf(
  { data, by }: RetryPatch,
  args: (string | number)[],
): Extract<JobEventBody, { type: "edited" }> | undefined {
  if (data === undefined && args.length === 0) return undefined;
  return {
    type: "edited",
    ...(by !== undefined && { by }),
    ...(data !== undefined && { data: true }),
    ...(args.length > 0 && { args }),
  };
}

/** How a graph that has ended goes on. To be called where {@link retryProblem} finds none. */
export function retryGraph(
  state: Graph & EndedJob,
  patch: RetryPatch,
  now: number,
  plan: Plan = planOf(state.functions),
): Transition {
  const { again, reopened } = runAgain(state, patch, plan);
  const pending = onNextToken(inPhase(state, { state: "pending" }));
  const {
    late_at: _late,
    parked_at: _parked,
    undo: _undo,
    failing: _failing,
    halted: _halted,
    outcome: _outcome,
    ...rest
  } = pending;
  const functions = undoForgotten(reopen(resetIn(edited(state, patch, plan, again), again, state.live), reopened));
  let lowest = 0;
  while (lowest < plan.length - 1 && functions.at(lowest)?.finished_at !== undefined) lowest += 1;
  const job: LiveJob & Graph = {
    ...rest,
    ...ranked(functions),
    live: state.live.filter(({ index }) => !again.has(index)),
    current_function: lowest,
    retried_at: now,
    retries: (state.retries ?? 0) + 1,
    ...(state.timeout_ms !== undefined && { deadline_at: now + state.timeout_ms }),
    ...(patch.data !== undefined && { data: patch.data }),
  };
  const step = new GraphStep(job, plan, now);
  // Before anything goes on: what becomes ready by that is begun there.
  const ready = readyIn(job, plan);
  goOnWith(step, job);
  step.begin(ready);
  return told(step, job, state, patch, plan, now);
}

/** What was live when the job ended goes on: with all its executions to be had again, and a signal with all its time. */
function goOnWith(step: GraphStep, job: Graph): void {
  for (const { index, attempt, wait } of job.live) {
    const { caught: _caught, handling, ...fn } = forgiven(step.fn(index));
    if (handling) delete fn.last_progress; // it is of the function that ran in its place
    step.setFunction(index, fn);
    const isSleeping = wait === "sleep" && !handling;
    if (isSleeping) continue;
    if (attempt === NOT_BEGUN) step.begin([index]);
    else step.restart(index);
  }
}

/** The entries whose turn has come and that have not begun: what is run again, and what the end of the job was quicker than. */
function readyIn(job: Graph, plan: Plan): number[] {
  const live = new Set(job.live.map(({ index }) => index));
  const hasEnded = (index: number) => functionAt(job, index).finished_at !== undefined;
  const isReady = (index: number) => plan.needsOf(index)?.every(hasEnded) ?? index === job.current_function;
  const indexes = Array.from({ length: plan.length }, (_, index) => index);
  return indexes.filter((index) => !live.has(index) && !hasEnded(index) && isReady(index));
}

/** The entries that have ended are counted anew, in the order in which they did: some of them have not ended any more. */
function ranked(functions: Graph["functions"]): Pick<Graph, "functions" | "ended_count"> {
  const ended = [...functions.map((fn, index) => ({ fn, index }))].filter(({ fn }) => fn.finished_at !== undefined);
  ended.sort((a, b) => (a.fn.rank ?? 0) - (b.fn.rank ?? 0));
  let next = functions;
  for (const [at, { fn, index }] of ended.entries()) {
    if (fn.rank !== at + 1) next = next.with(index, { ...fn, rank: at + 1 });
  }
  return { functions: next, ended_count: ended.length };
}

function told(step: GraphStep, job: LiveJob, state: Graph, patch: RetryPatch, plan: Plan, now: number): Transition {
  const at = goesOnAt(state, patch, plan) ?? job.current_function;
  const { function: name, index, id } = attemptRefOf(step.fn(at), at, 0);
  const edits = editsOf(patch, [
    ...(patch.args === undefined ? [] : [id ?? index]),
    ...Object.keys(patch.args_by_id ?? {}),
  ]);
  const first: JobEventBody = { type: "retried", function: name, index, ...(id !== undefined && { id }) };
  const bodies: JobEventBody[] = edits ? [first, edits] : [first];
  const events = [...bodies.map((body) => eventOf(job, now, body)), ...step.events];
  const error = step.failure;
  const live: LiveJob = inPhase(job, { state: "pending" });
  step.writeInto(live);
  if (error) {
    const end = endGraph(live as LiveJob & Graph, { state: "failed", error }, plan, now, step.failedIndex);
    return { state: end.state, events: [...events, ...end.events] };
  }
  if (step.isComplete) return { state: inPhase(live, { state: "completed", finished_at: now }), events };
  return { state: live, events };
}

/** The entry whose args are meant by `args`: the one from which it is run again, or the first that is live and a function. */
function goesOnAt(state: Graph, { from, failed }: RetryPatch, plan: Plan): number | undefined {
  if (from !== undefined) return indexOfEntry(plan, from);
  if (failed) return undefined;
  return state.live.find(({ index }) => kindOf(functionAt(state, index)) === "function")?.index;
}

/** It has done something that could be undone, and is not. */
function isNotUndone(fn: FunctionState): boolean {
  return fn.undoing?.finished_at === undefined && isToBeUndone(fn);
}

/** By its id, or by its index in the list. */
function indexOfEntry(plan: Plan, from: string | number): number | undefined {
  if (typeof from === "string") return plan.indexOf.get(from);
  return Number.isInteger(from) && from >= 0 && from < plan.length ? from : undefined;
}

/**
 * `again`: the entries that are run again as if they never had been, because of `from`, `failed`, or as they were undone. `reopened`: those of
 * which failed items are done again, and completed ones are not.
 */
function runAgain(
  state: Graph,
  { from, failed }: RetryPatch,
  plan: Plan,
): { again: Set<number>; reopened: Set<number> } {
  const roots = new Set<number>();
  const reopened = new Set<number>();
  const first = from === undefined ? undefined : indexOfEntry(plan, from);
  if (first !== undefined) roots.add(first);
  for (let index = 0; index < plan.length; index++) {
    const { caught, handling, finished_at, items, undoing } = functionAt(state, index);
    if (undoing?.finished_at !== undefined) roots.add(index);
    if (!failed || finished_at === undefined || handling) continue;
    if (items && items.failed > 0) reopened.add(index);
    else if (caught) roots.add(index);
  }
  const again = new Set([...roots].flatMap((root) => [root, ...followersOf(plan, root)]));
  for (const root of reopened) for (const follower of followersOf(plan, root)) again.add(follower);
  for (const index of again) reopened.delete(index);
  return { again, reopened };
}

/** Those entries have not ended any more: their items go on. */
function reopen(functions: Graph["functions"], reopened: ReadonlySet<number>): Graph["functions"] {
  let next = functions;
  for (const index of reopened) {
    const fn = next.at(index);
    if (!fn) continue;
    const { finished_at: _end, result: _result, rank: _rank, caught: _caught, apart: _apart, ...rest } = fn;
    next = next.with(index, rest);
  }
  return next;
}

/** What could not be undone is done, and may be undone again; and what is not known to be done is found out now. */
function undoForgotten(functions: Graph["functions"]): Graph["functions"] {
  let next = functions;
  for (let index = 0; index < functions.length; index++) {
    const fn = functions.at(index);
    if (!fn?.undoing) continue;
    const { undoing, ...rest } = fn;
    // Its child goes on counting its runs, so that the end of an earlier one is not taken for that of the next.
    const isOfChild = undoing.name === "" && !fn.items && fn.finished_at !== undefined;
    if (isOfChild) rest.retry_count = Math.max(rest.retry_count, undoing.retry_count);
    next = next.with(index, rest);
  }
  return next;
}

/** The entries with the args that were changed. They are done anew, so `runs` is counted up, once. */
function edited(
  state: Graph,
  { args, args_by_id = {}, ...patch }: RetryPatch,
  plan: Plan,
  again: ReadonlySet<number>,
): Graph["functions"] {
  const changes = new Map<number, unknown>();
  const at = args === undefined ? undefined : goesOnAt(state, patch, plan);
  if (at !== undefined) changes.set(at, args);
  for (const [id, changed] of Object.entries(args_by_id)) {
    const index = plan.indexOf.get(id);
    if (index !== undefined) changes.set(index, changed);
  }
  let { functions } = state;
  for (const [index, changed] of changes) {
    const { args: _args, ...fn } = functionAt(state, index);
    const next = changed === null ? fn : { ...fn, args: changed };
    // What may have been executed with the others before. Starts are recorded late, so that is all that is live.
    const isBegun = fn.retry_count > 0 || state.live.some((branch) => branch.index === index);
    functions = functions.with(index, isBegun && !again.has(index) ? withRun(next) : next);
  }
  return functions;
}

function resetIn(functions: Graph["functions"], again: ReadonlySet<number>, live: Graph["live"]): Graph["functions"] {
  let next = functions;
  // Starts are recorded late: what is live may have been executed, or has a child already.
  const begun = new Set(live.map(({ index }) => index));
  for (const index of again) {
    const fn = next.at(index);
    if (!fn) continue;
    const { finished_at, retry_count, runs } = fn;
    const fresh: FunctionState = { ...newEntry(specOf(fn)), ...(runs !== undefined && { runs }) };
    const isUntouched = finished_at === undefined && retry_count === 0 && !begun.has(index);
    // Attempts go on being counted: a late answer to one from before must not be taken for one of these. Its child will be another one.
    const isChild = kindOf(fn) === "job" && fn.for_each === undefined;
    next = next.with(index, isUntouched ? fresh : { ...withRun(fresh), retry_count: isChild ? 0 : retry_count });
  }
  return next;
}

function withRun(fn: FunctionState): FunctionState {
  return { ...fn, runs: (fn.runs ?? 0) + 1 };
}
