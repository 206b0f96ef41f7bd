/**
 * How a graph that has failed, or is cancelled, undoes what it has done. Nothing of it is on the way of a job that has nothing to undo:
 * that ends at once.
 *
 * Stages, each a commit of its own:
 * 1. What runs is told to stop. Whether an attempt with an `undo` has done something is known when it has answered, or after
 *    `STOP_MS`; children are cancelled, and end when their own undo is through.
 * 2. One entry after the other is undone: first what may have been done, then what was, the last first.
 * 3. `on_failure` is called, if the job has failed.
 * 4. It ends as it would have at once (`outcome`), and says what has become of the undo.
 *
 * Example: `[{a, undo}, {b, undo}, c]`, and c fails. The commit of that makes the job `undoing`, with the undo of b as its branch. Its
 * reply makes that of a the branch; the reply of that the end of the job.
 *
 * UNDO-1  The undo of an entry is committed as begun once, and not before all that was told to stop has answered, or could not.
 * UNDO-2  It begins in reverse order of completion, one at a time. What may have been done (`uncertain`) comes before all that was.
 * UNDO-3  A job ends after its children.
 * UNDO-4  What went wrong with one undo keeps no other from being done, nor the job from its end.
 */
import { branchIn } from "./branches.ts";
import type { Failure } from "./failure.ts";
import { type FunctionState, kindOf, namedCall, newFunction } from "./function-state.ts";
import { attemptRefOf, GraphStep, withoutTrials } from "./graph-step.ts";
import { afterFailure, afterLoss, begun, type Outcome as TrialOutcome } from "./outcome.ts";
import type { Plan } from "./plan.ts";
import { copyOf, inPhase } from "./record.ts";
import { dueWhileUndoing, ON_FAILURE_MS, onFailureUntil, ROOM_RETRY_MS } from "./rest.ts";
import type { ChildDocument, FunctionSpec } from "./schema.ts";
import {
  type AttemptAddress,
  type Branch,
  type EndedJob,
  functionAt,
  type Graph,
  type JobState,
  type LiveJob,
  type Outcome,
  trialOf,
  type UndoSummary,
  unreachable,
} from "./state.ts";
import { iso } from "./time.ts";
import type { Event, EventOfEntries, Transition } from "./transition.ts";

/** So long it is waited for the answer of an attempt that was told to stop. */
export const STOP_MS = 10_000;
/** How often an undo is executed at most, if its document does not say. */
const UNDO_RETRY_LIMIT = 10;

type LiveGraph = Graph & LiveJob;
type Ending = Pick<Outcome, "state" | "error" | "skip">;

/** The job as it ends; or as it begins to undo, if there is something to wait for, to undo, or to be called. */
export function endGraph(job: LiveGraph, ending: Ending, plan: Plan, now: number): Transition {
  const outcome: Outcome = { ...ending, at: now };
  const stopping = job.live
    .filter((branch) => mustBeHeard(job, branch, outcome))
    .map((branch) => stopped(job, branch, now));
  const callsAtEnd = outcome.state === "failed" && job.on_failure !== undefined;
  if (stopping.length === 0 && !callsAtEnd && nextToUndo(job, outcome) === undefined)
    return { state: ended(job, outcome, now), events: [] };
  const next: LiveGraph = { ...inPhase(job, { state: "undoing" }), outcome, halted: job.live, live: stopping };
  delete next.deadline_at;
  const step = new GraphStep(next, plan, now);
  const { error } = outcome;
  step.tell({ type: "undoing", because: outcome.state, ...(error && { error }) });
  return advanced(next, step, now);
}

/** Whether it has to be waited for what that branch comes to. */
function mustBeHeard(job: Graph, { index, wait }: Branch, { skip }: Outcome): boolean {
  const fn = functionAt(job, index);
  if (wait === "child") return true;
  if (fn.items && !fn.handling) return kindOf(fn) === "job" || (fn.undo !== undefined && !skip && wait === "items");
  return wait === "none" && fn.undo !== undefined && !skip;
}

/** The branch as it is told to stop. A child, or items, say themselves when they have. */
function stopped(job: Graph, { index, attempt, wait }: Branch, now: number): Branch {
  const fn = functionAt(job, index);
  const byItself = wait === "child" || (fn.items !== undefined && !fn.handling);
  return { index, attempt, wait: "stopping", since: now, ...(!byItself && { due_at: now + STOP_MS }) };
}

/** What `reduce` does with an event of a job that undoes. */
export function reduceUndoing(state: LiveGraph, event: EventOfEntries, now: number, plan: Plan): Transition {
  const step = new GraphStep(state, plan, now);
  switch (event.type) {
    case "resumed":
      return resumed(state, step, now);
    case "due":
      return due(state, step, now);
    case "started":
      if (trialOf(state, event).retry_count === event.attempt) return { state, events: [] };
      setTrial(state, step, event, begun(trialOf(state, event), event.attempt, now));
      return advanced(state, step, now);
    case "succeeded":
      if (isStopping(state, event)) completed(step, event, event.result, now);
      else done(state, step, event, event.result, now);
      return advanced(state, step, now);
    case "failed":
      if (isStopping(state, event)) {
        const { fn } = afterFailure(step.fn(event.index), event, now);
        step.setFunction(event.index, isUnanswered(event.error) ? mayBeDone(fn) : fn);
        step.dropBranch(event.index);
      } else settle(state, step, event, afterFailure(trialOf(state, event), event, now), now);
      return advanced(state, step, now);
    case "lost":
      if (isStopping(state, event)) {
        step.setFunction(
          event.index,
          mayBeDone(afterLoss(step.fn(event.index), event.attempt, event.progress, now).fn),
        );
        step.dropBranch(event.index);
      } else settle(state, step, event, afterLoss(trialOf(state, event), event.attempt, event.progress, now), now);
      return advanced(state, step, now);
    case "unsent":
      if (!isStopping(state, event)) return { state, events: [] };
      step.dropBranch(event.index);
      return advanced(state, step, now);
    case "no_room": {
      const before = step.branch(event.index);
      if (!before || before.wait === "stopping") return { state, events: [] };
      step.setBranch({ ...before, wait: "worker", due_at: now + ROOM_RETRY_MS });
      return advanced(state, step, now);
    }
    case "child_ended":
      childEnded(state, step, event, now);
      return advanced(state, step, now);
    case "items":
      items(state, step, event, now);
      return advanced(state, step, now);
    case "signalled":
    case "retried":
      return { state, events: [] };
    default:
      return unreachable(event);
  }
}

/** Someone does not want the rest to be undone: children still end before. */
export function skipUndo(state: LiveGraph, now: number, plan: Plan): Transition {
  const { outcome } = state;
  if (!outcome || outcome.skip) return { state, events: [] };
  const isChild = ({ index, wait }: Branch) =>
    wait === "child" || (wait === "stopping" && kindOf(functionAt(state, index)) === "job");
  const next: LiveGraph = { ...state, outcome: { ...outcome, skip: true }, live: state.live.filter(isChild) };
  return advanced(next, new GraphStep(next, plan, now), now);
}

/** It cannot be stored, or waited for, any further: it ends as it stands. */
export function breakOffUndo(state: LiveGraph, now: number): EndedJob {
  const outcome = state.outcome ?? { state: "failed", at: now };
  const next = ended(state, { ...outcome, skip: true }, now);
  if (next.undo) next.undo = { ...next.undo, state: "failed" };
  return next;
}

/** A completed job that is to undo itself, as its parent does. The same object if there is nothing to undo. */
export function undoCompleted(state: EndedJob & Graph, live: LiveJob, plan: Plan, now: number): Transition {
  const again: LiveGraph = { ...live, live: [], retries: (state.retries ?? 0) + 1 };
  return endGraph(again, { state: "completed" }, plan, now);
}

/** Whether a job that has completed would have something to undo. */
export function hasToUndo(state: Graph): boolean {
  return nextToUndo(state, {}) !== undefined;
}

// --- what happens to it

/** What follows now that the step has been made: nothing as long as something is under way; else the next undo, or the end. */
function advanced(state: LiveGraph, step: GraphStep, now: number): Transition {
  const next = inPhase(state, { state: "undoing" }) as LiveGraph;
  step.writeInto(next);
  if (step.failing) next.failing = step.failing;
  const outcome = next.outcome ?? { state: "failed", at: now };
  if (next.live.length > 0) return { state: next, events: step.events };
  const index = nextToUndo(next, outcome);
  if (index !== undefined) {
    const fn = step.fn(index);
    step.setFunction(index, { ...fn, undoing: undoOf(fn) });
    step.setBranch(undoBranch(fn, index, now));
  } else if (outcome.state === "failed" && !outcome.skip && next.on_failure !== undefined && !next.failing) {
    next.failing = step.failing = functionOnFailure(next.on_failure);
    step.setBranch({ index: next.functions.length, attempt: 1, wait: "none", since: now });
  } else return { state: ended(next, outcome, now), events: step.events };
  step.writeInto(next);
  return { state: next, events: step.events };
}

function undoBranch(fn: FunctionState, index: number, now: number): Branch {
  const branch = { index, undo: true, since: now } as const;
  if (fn.items) return { ...branch, attempt: fn.items.run, wait: "items" };
  // A child that undoes itself does that in a run of its own.
  if (fn.undo === undefined) return { ...branch, attempt: fn.retry_count + 1, wait: "child" };
  return { ...branch, attempt: 1, wait: "none" };
}

/** The function that undoes an entry; without a name where its children undo themselves. */
function undoOf(fn: FunctionState): FunctionState {
  if (fn.undo === undefined) return { name: "", retry_count: 0 };
  const { name, args = fn.args, retry_options, timeout_ms } = namedCall(fn.undo);
  const options = { retry_limit: UNDO_RETRY_LIMIT, ...retry_options };
  return newFunction({ name, args, retry_options: options, ...(timeout_ms !== undefined && { timeout_ms }) });
}

function functionOnFailure(call: NonNullable<JobState["on_failure"]>): FunctionState {
  const { timeout_ms = ON_FAILURE_MS, retry_options, ...rest } = namedCall(call);
  const retry_for_ms = Math.min(timeout_ms, retry_options?.retry_for_ms ?? timeout_ms);
  const options = { retry_limit: 1, ...retry_options, retry_for_ms };
  return newFunction({ ...rest, retry_options: options, timeout_ms });
}

/** UNDO-2. The index of the entry that is undone next; undefined if none is left. */
function nextToUndo(job: Pick<Graph, "functions">, { skip }: Pick<Outcome, "skip">): number | undefined {
  if (skip) return undefined;
  let found: number | undefined;
  let latest = 0;
  for (let index = 0; index < job.functions.length; index++) {
    const fn = job.functions.at(index) as FunctionState;
    if (fn.undoing !== undefined || !isToBeUndone(fn)) continue;
    const rank = fn.finished_at === undefined || fn.uncertain ? Number.POSITIVE_INFINITY : (fn.rank ?? 0);
    if (found !== undefined && rank < latest) continue;
    found = index;
    latest = rank;
  }
  return found;
}

/** Whether it has done something, or may have, that can be undone. */
export function isToBeUndone(fn: FunctionState): boolean {
  const { undo, finished_at, caught, handling, skipped, uncertain, items } = fn;
  if (skipped) return false;
  if (items) return items.next > 0 && (undo !== undefined || (kindOf(fn) === "job" && mayUndo(fn.job)));
  const isDone = finished_at !== undefined && (!caught || handling === true);
  if (kindOf(fn) === "job" && undo === undefined) return isDone && !handling && mayUndo(fn.job);
  return undo !== undefined && (isDone || uncertain === true);
}

/** Whether a child with that document may have something to undo. That of one which a worker has made is not known. */
function mayUndo(job: FunctionSpec["job"]): boolean {
  const functions = (job as ChildDocument | undefined)?.functions;
  if (!Array.isArray(functions)) return true;
  return functions.some((entry) => entry.undo !== undefined || (entry.job !== undefined && mayUndo(entry.job)));
}

/** Whether nothing is known of what an attempt has done that ended so. */
export function isUnanswered({ code }: Failure): boolean {
  return code === "attempt_timeout" || code === "attempt_lost";
}

function mayBeDone(fn: FunctionState): FunctionState {
  return { ...fn, uncertain: true };
}

function isStopping(state: Graph, { index }: AttemptAddress): boolean {
  return branchIn(state.live, index)?.wait === "stopping";
}

/** It was told to stop, and had done all that it had to. */
function completed(step: GraphStep, { index, attempt }: AttemptAddress, result: unknown, now: number): void {
  const fn = copyOf(withoutTrials(step.fn(index)));
  fn.retry_count = attempt;
  fn.finished_at = now;
  fn.result = result;
  step.setEnded(index, fn);
}

function setTrial(state: LiveGraph, step: GraphStep, { index }: AttemptAddress, trial: FunctionState): void {
  if (index === state.functions.length) step.failing = trial;
  else step.setFunction(index, { ...step.fn(index), undoing: trial });
}

/** What was called has returned. */
function done(state: LiveGraph, step: GraphStep, address: AttemptAddress, result: unknown, now: number): void {
  const { index, attempt } = address;
  const { error: _error, ...trial } = trialOf(state, address);
  const isOnFailure = index === state.functions.length;
  setTrial(state, step, address, {
    ...trial,
    retry_count: attempt,
    finished_at: now,
    result: isOnFailure ? result : null,
  });
  step.dropBranch(index);
  if (!isOnFailure) step.tell({ type: "undone", ...entryRefOf(step, index) });
}

/** Another attempt, or the end of it. UNDO-4 */
function settle(
  state: LiveGraph,
  step: GraphStep,
  address: AttemptAddress,
  { fn, error, retryAt }: TrialOutcome,
  now: number,
): void {
  const { index, attempt } = address;
  if (retryAt === undefined) {
    giveUp(state, step, address, { ...fn, error }, error);
    return;
  }
  setTrial(state, step, address, fn);
  const undo = address.undo ? { undo: true as const } : {};
  const next = { index, attempt: attempt + 1, since: now, ...undo };
  step.setBranch(retryAt > now ? { ...next, wait: "backoff", due_at: retryAt } : { ...next, wait: "none" });
  step.tell({ type: "retrying", ...attemptRefOf(fn, index, attempt), ...undo, error, due_at: iso(retryAt) });
}

function giveUp(
  state: LiveGraph,
  step: GraphStep,
  address: AttemptAddress,
  trial: FunctionState,
  error: Failure,
): void {
  setTrial(state, step, address, { ...trial, error, given_up: true });
  step.dropBranch(address.index);
  if (address.index < state.functions.length)
    step.tell({ type: "undo_failed", ...entryRefOf(step, address.index), error });
}

function childEnded(
  state: LiveGraph,
  step: GraphStep,
  event: Extract<Event, { type: "child_ended" }>,
  now: number,
): void {
  const { index, outcome, attempt } = event;
  if (!event.undo) {
    if (outcome.state === "completed") completed(step, event, outcome.result, now);
    else {
      step.setFunction(index, { ...step.fn(index), retry_count: attempt, error: outcome.error });
      step.dropBranch(index);
    }
    return;
  }
  const undo = outcome.state === "completed" ? outcome.undo : undefined;
  if (outcome.state === "completed" && (undo === undefined || undo.state === "done"))
    done(state, step, event, null, now);
  else {
    const why =
      outcome.state === "completed" ? `${undo?.failed} of its entries could not be undone` : outcome.error.message;
    const error: Failure = {
      code: "child_failed",
      name: "ChildFailed",
      message: `the child job was not undone: ${why}`,
    };
    giveUp(state, step, event, trialOf(state, event), error);
  }
}

function items(state: LiveGraph, step: GraphStep, event: Extract<Event, { type: "items" }>, now: number): void {
  const { index, report } = event;
  const { items: counted, wait, end, stopped, undone } = report;
  step.setFunction(index, { ...step.fn(index), items: counted });
  if (undone && undone.failed === 0) done({ ...state, functions: step.functions }, step, event, null, now);
  else if (undone) {
    const message = `${undone.failed} items could not be undone${undone.error ? `, the last one: ${undone.error.message}` : ""}`;
    const error: Failure = { code: "undo_failed", name: "UndoFailed", message };
    giveUp(state, step, event, trialOf({ ...state, functions: step.functions }, event), error);
  } else if (stopped || end) step.dropBranch(index);
  else if (wait) {
    const branch = step.branch(index);
    // While they stop they go on until they have; what they wait for is said of an undo only.
    if (branch && event.undo) {
      const { due_at: _due, ...rest } = branch;
      step.setBranch({ ...rest, wait: wait.type, ...(wait.type === "backoff" && { due_at: wait.due_at }), since: now });
    }
  }
}

/** MACHINE-7. Who was told to stop by another supervisor cannot be heard any more: it may have done something. */
function resumed(state: LiveGraph, step: GraphStep, now: number): Transition {
  for (const branch of state.live) {
    const { index, attempt, wait, due_at } = branch;
    if (wait === "stopping" && due_at !== undefined) {
      step.setFunction(index, mayBeDone(step.fn(index)));
      step.dropBranch(index);
    } else if (wait === "none" || wait === "worker") {
      const isRecorded = trialOf(state, branch).retry_count === attempt;
      step.setBranch({ ...branch, attempt: isRecorded ? attempt + 1 : attempt, wait: "none" });
    }
  }
  return advanced({ ...state }, step, now);
}

function due(state: LiveGraph, step: GraphStep, now: number): Transition {
  const ripe = state.live.filter((branch) => dueWhileUndoing(state, branch) <= now);
  if (ripe.length === 0) return { state, events: [] };
  for (const branch of ripe) {
    const { index, attempt, wait, undo } = branch;
    const mark = undo ? { undo } : {};
    if (wait === "stopping") {
      step.setFunction(index, mayBeDone({ ...step.fn(index), retry_count: attempt }));
      step.dropBranch(index);
    } else if (index === state.functions.length && now >= onFailureUntil(state)) {
      const message = "it was not done in the time that it has (timeout_ms)";
      giveUp(state, step, branch, trialOf(state, branch), { code: "attempt_timeout", name: "AttemptTimeout", message });
    } else if (wait === "backoff" && step.fn(Math.min(index, state.functions.length - 1)).items && undo) {
      step.setBranch({ index, attempt, wait: "items", since: now, ...mark });
    } else step.setBranch({ index, attempt, wait: "none", since: now, ...mark });
  }
  return advanced(state, step, now);
}

/** UNDO-3: only called when nothing is live. */
function ended(job: LiveGraph, outcome: Outcome, now: number): EndedJob {
  const { state, error } = outcome;
  const live = (job.halted ?? job.live).filter(({ index }) => functionAt(job, index).finished_at === undefined);
  const phase = state === "failed" ? { state, finished_at: now, error: error ?? UNKNOWN } : { state, finished_at: now };
  const next: EndedJob = inPhase(job, phase);
  next.live = live;
  delete next.outcome;
  delete next.halted;
  const undo = summaryOf(job, outcome);
  if (undo) next.undo = undo;
  return next;
}

const UNKNOWN: Failure = {
  code: "corrupt_state",
  name: "CorruptState",
  message: "it is not known why the job has failed",
};

/** Undefined if there was nothing to undo. */
function summaryOf({ functions }: Graph, { skip }: Outcome): UndoSummary | undefined {
  const counts = { undone: 0, failed: 0, not_undone: 0 };
  for (const fn of functions) {
    if (fn.undoing?.finished_at !== undefined) counts.undone += 1;
    else if (fn.undoing?.given_up) counts.failed += 1;
    else if (fn.undoing !== undefined || isToBeUndone(fn)) counts.not_undone += 1;
  }
  if (counts.undone + counts.failed + counts.not_undone === 0) return undefined;
  return { state: skip ? "skipped" : counts.failed > 0 ? "failed" : "done", ...counts };
}

function entryRefOf(step: GraphStep, index: number) {
  const { function: name, id } = attemptRefOf(step.fn(index), index, 0);
  return { function: name, index, ...(id !== undefined && { id }) };
}
