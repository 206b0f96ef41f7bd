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
import { type FunctionState, hasItems, kindOf } from "./function-state.ts";
import { functionList } from "./functions.ts";
import { attemptRefOf, GraphStep, waitOfItems, withoutTrials } from "./graph-step.ts";
import type { ItemsState } from "./items-state.ts";
import { afterFailure, afterLoss, begun, type Outcome as TrialOutcome } from "./outcome.ts";
import type { Plan } from "./plan.ts";
import { copyOf, inPhase } from "./record.ts";
import { isDueWhileUndoing, lateAt, onFailureUntil, ROOM_RETRY_MS } from "./rest.ts";
import { soundnessProblem } from "./sound.ts";
import {
  type AttemptAddress,
  type Branch,
  type EndedJob,
  functionAt,
  type Graph,
  isEnded,
  type LiveJob,
  type Outcome,
  trialOf,
  unreachable,
} from "./state.ts";
import { iso } from "./time.ts";
import type { Event, EventOfEntries, Transition } from "./transition.ts";
import { functionOnFailure, isUnanswered, mayBeDone, nextToUndo, undoOf, undoSummaryOf } from "./undoable.ts";

/** So long it is waited for the answer of an attempt that was told to stop. */
export const STOP_MS = 10_000;

type LiveGraph = Graph & LiveJob;
type Ending = Pick<Outcome, "state" | "error" | "skip">;

/**
 * The job as it ends; or as it begins to undo, if there is something to wait for, to undo, or to be called.
 *
 * @param failedIndex the entry with which it has failed: its attempt has answered
 */
export function endGraph(
  job: LiveGraph,
  ending: Ending,
  plan: Plan,
  now: number,
  failedIndex: number | undefined,
): Transition {
  const outcome: Outcome = { ...ending, at: now };
  const stopping: Branch[] = [];
  let { functions } = job;
  // Nobody has stored it since it was retried by hand: nothing is under way but a child, which who takes it over begins at once.
  const isIdle = job.state === "pending" && job.retries !== undefined;
  for (const branch of job.live) {
    const { index, wait } = branch;
    if (isIdle && wait !== "child") continue;
    const fn = functionAt(job, index);
    if (index === failedIndex && !hasItems(fn)) continue;
    if (mustBeHeard(fn, wait, outcome)) stopping.push(stopped(fn, branch, now));
    else if (wait === "none" && fn.undo !== undefined) functions = functions.with(index, mayBeDone(fn)); // nobody waits for its answer
  }
  const halted: LiveGraph = { ...job, functions };
  const callsAtEnd = outcome.state === "failed" && job.on_failure !== undefined;
  if (stopping.length === 0 && !callsAtEnd && nextToUndo(halted, outcome) === undefined)
    return { state: ended(halted, outcome, now), events: [] };
  const next: LiveGraph = { ...inPhase(halted, { state: "undoing" }), outcome, halted: job.live, live: stopping };
  delete next.deadline_at;
  const step = new GraphStep(next, plan, now);
  const { error } = outcome;
  step.tell({ type: "undoing", because: outcome.state, ...(error && { error }) });
  return advanced(next, step, now);
}

/** Whether it has to be waited for what an entry that is live comes to. */
function mustBeHeard(fn: FunctionState, wait: Branch["wait"], { skip }: Outcome): boolean {
  if (wait === "child") return true;
  if (hasItems(fn)) return kindOf(fn) === "job" || (fn.undo !== undefined && !skip && wait === "items");
  return wait === "none" && fn.undo !== undefined && !skip;
}

/** The branch as it is told to stop. A child, or items, say themselves when they have. */
function stopped(fn: FunctionState, { index, attempt, wait }: Branch, now: number): Branch {
  const byItself = wait === "child" || hasItems(fn);
  return { index, attempt, wait: "stopping", since: now, ...(!byItself && { due_at: now + STOP_MS }) };
}

/** What `reduce` does with an event of a job that undoes. */
export function reduceUndoing(state: LiveGraph, event: EventOfEntries, now: number, plan: Plan): Transition {
  const step = new GraphStep(state, plan, now);
  switch (event.type) {
    case "resumed":
      return resumed(state, step, event.firedAt ?? now, now);
    case "due":
      return due(state, step, now, now);
    case "started":
      if (trialOf(state, event).retry_count === event.attempt) return { state, events: [] };
      setTrial(state, step, event, begun(trialOf(state, event), event.attempt, now));
      return advanced(state, step, now);
    case "succeeded":
      if (isStopping(state, event)) completed(step, event, event.result, now);
      else done(state, step, event, event.result, now);
      return advanced(state, step, now);
    case "failed":
      settle(state, step, event, afterFailure(trialOf(state, event), event, now), now, event.executed);
      return advanced(state, step, now);
    case "lost":
      settle(state, step, event, afterLoss(trialOf(state, event), event.attempt, event.progress, now), now);
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
  const next: LiveGraph = { ...state, outcome: { ...outcome, skip: true } };
  const step = new GraphStep(next, plan, now);
  for (const branch of state.live) {
    if (isOfChildren(state, branch)) continue;
    leave(state, step, branch);
    step.dropBranch(branch.index);
  }
  return advanced(next, step, now);
}

/** Whether a child of the job, or of its items, is still to end. */
function isOfChildren(job: Graph, { index, wait, undo }: Branch): boolean {
  if (wait === "child") return true;
  const fn = job.functions.at(index);
  if (!fn || fn.handling || kindOf(fn) !== "job") return false;
  return wait === "stopping" || (undo === true && fn.undo === undefined);
}

/** Nobody waits any longer for what it comes to. */
function leave(state: Graph, step: GraphStep, branch: Branch): void {
  const { index, wait } = branch;
  if (wait !== "stopping") setTrial(state, step, branch, { ...trialOf(state, branch), skipped: true });
  else if (!step.fn(index).items) step.setFunction(index, mayBeDone(step.fn(index)));
}

/** It cannot be waited for: where that is the next attempt of an undo, there is none (UNDO-4); else it ends as it stands. */
export function refuseUndo(state: LiveGraph, error: Failure, plan: Plan, now: number): Transition {
  const [branch] = state.live;
  if (branch?.wait !== "backoff" && branch?.wait !== "worker")
    return { state: breakOffUndo(state, error, now), events: [] };
  const step = new GraphStep(state, plan, now);
  giveUp(state, step, branch, trialOf(state, branch), error);
  return advanced(state, step, now);
}

/** It cannot be stored, or waited for, any further: it ends as it stands. */
export function breakOffUndo(state: LiveGraph, error: Failure, now: number): EndedJob {
  const outcome = outcomeOf(state, now);
  // What has completed keeps all its results, with which it may be too large.
  const ending: Outcome = outcome.state === "completed" ? { ...outcome, state: "failed", error } : outcome;
  const next = ended(state, { ...ending, skip: true }, now);
  // Children that it waited for end after it: they have been told to.
  const counted = next.undo ?? { undone: 0, failed: 0, not_undone: 0 };
  next.undo = { ...counted, state: "failed", error };
  if (next.failing && next.failing.finished_at === undefined) next.failing = { ...next.failing, error, given_up: true };
  return next;
}

/**
 * A completed job that is to undo itself, as its parent does. It ends again at once if there is nothing to undo. What could not be undone
 * when it was asked before is tried again.
 */
export function undoCompleted(state: EndedJob & Graph, live: LiveJob, plan: Plan, now: number): Transition {
  const functions = state.functions.map((fn) => {
    if (fn.undoing === undefined || fn.undoing.finished_at !== undefined) return fn;
    const { undoing: _undoing, ...rest } = fn;
    return rest;
  });
  const again: LiveGraph = {
    ...live,
    functions: functionList(functions),
    live: [],
    retries: (state.retries ?? 0) + 1,
  };
  delete again.undo;
  return endGraph(again, { state: "completed" }, plan, now, undefined);
}

// --- what happens to it

/** What follows now that the step has been made: nothing as long as something is under way; else the next undo, or the end. */
function advanced(state: LiveGraph, step: GraphStep, now: number): Transition {
  const next = inPhase(state, { state: "undoing" }) as LiveGraph;
  step.writeInto(next);
  if (step.failing) next.failing = step.failing;
  if (next.live.length > 0) return { state: next, events: step.events };
  const outcome = outcomeOf(next, now);
  const index = nextToUndo(next, outcome);
  if (index !== undefined) {
    const fn = step.fn(index);
    step.setFunction(index, { ...fn, undoing: undoOf(fn) });
    step.setBranch(undoBranch(fn, index, now));
  } else if (outcome.state === "failed" && !outcome.skip && next.on_failure !== undefined && !next.failing) {
    next.failing = functionOnFailure(next.on_failure, now);
    step.setBranch({ index: next.functions.length, attempt: 1, wait: "none", since: now });
  } else return { state: ended(next, outcome, now), events: step.events };
  step.writeInto(next);
  return { state: next, events: step.events };
}

function outcomeOf({ outcome }: LiveGraph, now: number): Outcome {
  return outcome ?? { state: "failed", at: now };
}

function undoBranch(fn: FunctionState, index: number, now: number): Branch {
  const branch = { index, undo: true, since: now } as const;
  if (fn.items) return { ...branch, attempt: fn.items.run, wait: "items" };
  // A child that undoes itself does that in a run of its own.
  if (fn.undo === undefined) return { ...branch, attempt: fn.retry_count + 1, wait: "child" };
  return { ...branch, attempt: 1, wait: "none" };
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

/** What is known of the function whose attempts have that address: see `trialOf`. */
function setTrial(state: Graph, step: GraphStep, { index, undo }: AttemptAddress, trial: FunctionState): void {
  if (index === state.functions.length) step.failing = trial;
  else step.setFunction(index, undo ? { ...step.fn(index), undoing: trial } : trial);
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

/** Another attempt, or the end of it (UNDO-4); there is none of what was told to stop. */
function settle(
  state: LiveGraph,
  step: GraphStep,
  address: AttemptAddress,
  { fn, error, retryAt }: TrialOutcome,
  now: number,
  executed = isUnanswered(error),
): void {
  const { index, attempt } = address;
  if (isStopping(state, address)) {
    step.setFunction(index, executed ? mayBeDone(fn) : fn);
    step.dropBranch(index);
    return;
  }
  if (retryAt === undefined) {
    giveUp(state, step, address, { ...fn, error }, error);
    return;
  }
  setTrial(state, step, address, fn);
  const undo = address.undo ? { undo: true as const } : {};
  const next = { index, attempt: attempt + 1, since: now, ...undo };
  step.setBranch(retryAt > now ? { ...next, wait: "backoff", due_at: retryAt } : { ...next, wait: "none" });
  const { id } = index < state.functions.length ? step.fn(index) : {};
  const ref = { ...attemptRefOf(fn, index, attempt), ...(id !== undefined && { id }), ...undo };
  step.tell({ type: "retrying", ...ref, error, due_at: iso(retryAt) });
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
  if (outcome.state === "completed" && (undo === undefined || undo.state === "done")) {
    done(state, step, event, null, now);
    return;
  }
  if (undo?.state === "skipped" && state.outcome?.skip) {
    setTrial(state, step, event, { ...trialOf(state, event), skipped: true }); // nobody wanted it
    step.dropBranch(index);
    return;
  }
  const left = (undo?.failed ?? 0) + (undo?.not_undone ?? 0);
  const why = outcome.state === "completed" ? `${left} of its entries are not undone` : outcome.error.message;
  const message = `the child job was not undone: ${why}`;
  const trial = { ...trialOf(state, event), retry_count: attempt };
  giveUp(state, step, event, trial, { code: "child_failed", name: "ChildFailed", message });
}

function items(state: LiveGraph, step: GraphStep, event: Extract<Event, { type: "items" }>, now: number): void {
  const { index, report } = event;
  const { items: counted, wait, end, stopped, undone } = report;
  step.setFunction(index, { ...step.fn(index), items: counted });
  if (undone && undone.failed > 0 && state.outcome?.skip) {
    step.setFunction(index, { ...step.fn(index), undoing: { ...trialOf(state, event), skipped: true } }); // nobody wanted it
    step.dropBranch(index);
  } else if (undone && undone.failed === 0) done({ ...state, functions: step.functions }, step, event, null, now);
  else if (undone) {
    const message = `${undone.failed} items could not be undone${undone.error ? `, the last one: ${undone.error.message}` : ""}`;
    const error: Failure = { code: "undo_failed", name: "UndoFailed", message };
    giveUp(state, step, event, trialOf({ ...state, functions: step.functions }, event), error);
  } else if (stopped || end) step.dropBranch(index);
  else if (wait) {
    const branch = step.branch(index);
    // While they stop they go on until they have; what they wait for is said of an undo only.
    if (branch && event.undo) step.setBranch(waitOfItems(branch, wait, now));
  }
}

/** MACHINE-7. Who was told to stop by another supervisor cannot be heard any more: it may have done something. */
function resumed(state: LiveGraph, step: GraphStep, firedAt: number, now: number): Transition {
  const problem = soundnessProblem(state);
  if (problem !== undefined) {
    const message = `what is stored of the job makes no sense: ${problem}`;
    return { state: breakOffUndo(state, { code: "corrupt_state", name: "CorruptState", message }, now), events: [] };
  }
  for (const branch of state.live) {
    const { index, attempt, wait, due_at } = branch;
    if (wait === "stopping") {
      const { items } = step.fn(index);
      if (due_at !== undefined) stopWaiting(step, branch);
      else if (items?.rested) step.setFunction(index, { ...step.fn(index), items: atWork(items) });
      continue;
    }
    const isOfItems = branch.undo === true && step.fn(index).items !== undefined;
    if (wait === "none" || wait === "worker" || (wait === "child" && isOfItems)) {
      const isRecorded = !isOfItems && trialOf(state, branch).retry_count === attempt;
      const { due_at: _due, ...rest } = branch;
      step.setBranch({ ...rest, attempt: isRecorded ? attempt + 1 : attempt, wait: isOfItems ? "items" : "none" });
    }
  }
  const next = advanced({ ...state }, step, now);
  if (isEnded(next.state)) return next;
  // What it was woken for is due, whatever our clock says.
  const at = Math.max(firedAt, now);
  const later = due(next.state as LiveGraph, new GraphStep(next.state as LiveGraph, step.plan, now), at, now);
  return { state: later.state, events: [...next.events, ...later.events] };
}

/** Who takes the job over goes on with them. */
function atWork({ rested: _rested, ...items }: ItemsState): ItemsState {
  return items;
}

/** Its answer is not waited for any longer: that attempt may have done something. */
function stopWaiting(step: GraphStep, { index, attempt }: Branch): void {
  step.setFunction(index, mayBeDone({ ...step.fn(index), retry_count: attempt }));
  step.dropBranch(index);
}

/**
 * What is due at `at`, which the clock of the server may say before ours does. What has time left by our clock, and can use it, is not
 * given up by that of the server.
 */
function due(state: LiveGraph, step: GraphStep, at: number, now: number): Transition {
  const late = lateAt(state);
  const isLate = late !== undefined && late <= at;
  const ripe = state.live.filter((branch) => isDueWhileUndoing(state, branch, at));
  if (ripe.length === 0 && !isLate) return { state, events: [] };
  if (isLate) step.tell({ type: "late", warn_after_ms: state.warn_after_ms ?? 0 });
  for (const branch of ripe) {
    const { index, attempt, wait, undo } = branch;
    const mark = undo ? { undo } : {};
    if (wait === "stopping") stopWaiting(step, branch);
    else if (index === state.functions.length && (wait === "none" ? now : at) >= onFailureUntil(state)) {
      const message = "it was not done in the time that it has (timeout_ms)";
      giveUp(state, step, branch, trialOf(state, branch), { code: "attempt_timeout", name: "AttemptTimeout", message });
    } else {
      const isOfItems = undo === true && step.fn(index).items !== undefined;
      step.setBranch({ index, attempt, wait: isOfItems ? "items" : "none", since: now, ...mark });
    }
  }
  return advanced(isLate ? { ...state, late_at: now } : state, step, now);
}

/** UNDO-3: only called when nothing is live. */
function ended(job: LiveGraph, outcome: Outcome, now: number): EndedJob {
  const { state, error } = outcome;
  const hasNotEnded = (fn: FunctionState | undefined) => fn !== undefined && fn.finished_at === undefined;
  const live = (job.halted ?? job.live).filter(({ index, undo }) => !undo && hasNotEnded(job.functions.at(index)));
  const phase = state === "failed" ? { state, finished_at: now, error: error ?? UNKNOWN } : { state, finished_at: now };
  const next: EndedJob = inPhase(job, phase);
  next.live = live;
  delete next.outcome;
  delete next.halted;
  const undo = undoSummaryOf(job, outcome);
  if (undo) next.undo = undo;
  return next;
}

const UNKNOWN: Failure = {
  code: "corrupt_state",
  name: "CorruptState",
  message: "it is not known why the job has failed",
};

function entryRefOf(step: GraphStep, index: number) {
  const { function: name, id } = attemptRefOf(step.fn(index), index, 0);
  return { function: name, index, ...(id !== undefined && { id }) };
}
