/**
 * The state machine of a graph: a job whose entries do not simply follow each other, or do more than run a function. `machine.ts`
 * has that of a chain, and what both share; the invariants are those of that file, and these:
 *
 * GRAPH-1  An entry begins when all that it follows have ended, in the state that records the end of the last of these; never before, and
 *     once: its condition is evaluated then, and what follows from it is kept.
 * GRAPH-2  What has ended never changes, unless it is run again by hand.
 * GRAPH-3  A signal is used by one entry: `signals` says up to which number those of a name have been.
 * GRAPH-4  When an entry has failed for good and nothing deals with that, nothing more begins: the job has failed. What was live then
 *     stays in `live`, so that a retry goes on with it.
 */
import { branchIn } from "./branches.ts";
import type { Failure } from "./failure.ts";
import { callOf, hasItems, kindOf, newEntry } from "./function-state.ts";
import { functionList } from "./functions.ts";
import { GraphStep, stepped, waitOfItems } from "./graph-step.ts";
import { endGraph } from "./graph-undo.ts";
import { afterFailure, afterLoss, begun, type Outcome } from "./outcome.ts";
import { type Plan, planOf } from "./plan.ts";
import { copyOf, inPhase, specOf } from "./record.ts";
import { lateAt, ROOM_RETRY_MS } from "./rest.ts";
import { usedNumber } from "./signals.ts";
import { soundnessProblem } from "./sound.ts";
import {
  type AttemptAddress,
  type Branch,
  type EndedJob,
  functionAt,
  type Graph,
  isEnded,
  type LiveJob,
  unreachable,
} from "./state.ts";
import { iso } from "./time.ts";
import type { Event, EventOfEntries, Transition } from "./transition.ts";
import { isUnanswered, mayBeDone } from "./undoable.ts";

type LiveGraph = Graph & LiveJob;

/** Begins what begins with the job, if its start has come. @param plan that of its entries */
export function openGraph(job: LiveGraph, now: number, plan: Plan = planOf(job.functions)): Transition {
  const step = new GraphStep(job, plan, now);
  step.open();
  const next = finish(job, step, now, plan);
  // Where nothing has happened yet but that functions are due, the job is as its submission says.
  const isOpen = !isEnded(next.state) && next.state.state !== "undoing";
  const isUntouched = isOpen && (next.state.live ?? []).every(({ wait }) => wait === "none");
  if (!isUntouched || next.state.ended_count !== 0) return next;
  return { ...next, state: inPhase(next.state, { state: "pending" }) };
}

/** The same job before anything of it has begun. */
export function unopened(job: LiveGraph): LiveGraph {
  const functions = functionList(job.functions.map((fn) => newEntry(specOf(fn))));
  const { outcome: _outcome, halted: _halted, failing: _failing, ...rest } = job;
  return { ...rest, functions, live: [], ended_count: 0, current_function: 0 };
}

/** Whether it has been opened: what is scheduled has not. */
export function isOpened(job: Graph): boolean {
  return job.live.length > 0 || (job.ended_count ?? 0) > 0;
}

/** What `reduce` does with an event that is not dealt with for all jobs alike. */
export function reduceGraph(state: LiveGraph, event: EventOfEntries, now: number, plan: Plan): Transition {
  switch (event.type) {
    case "resumed":
      return resumed(state, event.firedAt ?? now, now, plan);
    case "due":
      return due(state, now, now, plan);
    case "started":
      return started(state, event, now, plan);
    case "succeeded":
      return stepOf(state, now, plan, (step) => {
        if (step.fn(event.index).retry_count === event.attempt) {
          step.tell({ type: "succeeded", ...step.refOf(event.index, event.attempt) });
        }
        step.succeed(event.index, event.attempt, event.result);
      });
    case "failed":
      return stepOf(state, now, plan, (step) => {
        settle(step, event.index, afterFailure(step.fn(event.index), event, now), now, event.executed);
      });
    case "lost":
      return stepOf(state, now, plan, (step) => {
        settle(step, event.index, afterLoss(step.fn(event.index), event.attempt, event.progress, now), now);
      });
    case "no_room":
      return noRoom(state, event, now, plan);
    case "signalled":
      return signalled(state, event, now, plan);
    case "child_ended":
      return childEnded(state, event, now, plan);
    case "items":
      return itemsReported(state, event, now, plan);
    case "unsent":
    case "retried":
      return { state, events: [] }; // it has not ended
    default:
      return unreachable(event);
  }
}

function stepOf(state: LiveGraph, now: number, plan: Plan, work: (step: GraphStep) => void): Transition {
  const step = new GraphStep(state, plan, now);
  work(step);
  return finish(state, step, now, plan);
}

/** The state that a step leads to. */
function finish(state: LiveGraph, step: GraphStep, now: number, plan: Plan): Transition {
  const next = stepped(state, step);
  const { events } = step;
  if (step.failure) {
    const end = endGraph(next as LiveGraph, { state: "failed", error: step.failure }, plan, now, step.failedIndex);
    return { state: end.state, events: [...events, ...end.events] };
  }
  if (step.isComplete) return { state: inPhase(next, { state: "completed", finished_at: now }), events };
  if (!step.isEmpty) return { state: next, events };
  // Documents whose entries wait for each other are refused when they are submitted.
  return { state: corrupt(next, "no entry of the job can go on: what is left waits for itself", now), events };
}

function corrupt(state: LiveJob, message: string, now: number): EndedJob {
  return failedBy(state, { code: "corrupt_state", name: "CorruptState", message }, now);
}

function failedBy(state: LiveJob, error: Failure, now: number): EndedJob {
  return inPhase(state, { state: "failed", finished_at: now, error });
}

/** Another attempt, or the end of the entry. */
function settle(
  step: GraphStep,
  index: number,
  { fn, error, retryAt }: Outcome,
  now: number,
  executed = isUnanswered(error),
): void {
  if (fn.undo !== undefined && executed) fn.uncertain = true;
  step.setFunction(index, fn);
  if (retryAt === undefined) {
    step.fail(index, error);
    return;
  }
  const attempt = fn.retry_count;
  step.tell({ type: "retrying", ...step.refOf(index, attempt), error, due_at: iso(retryAt) });
  const next = { index, attempt: attempt + 1, since: now };
  step.setBranch(retryAt > now ? { ...next, wait: "backoff", due_at: retryAt } : { ...next, wait: "none" });
}

function started(state: LiveGraph, { index, attempt }: AttemptAddress, now: number, plan: Plan): Transition {
  if (state.functions.at(index)?.retry_count === attempt) return { state, events: [] };
  return stepOf({ ...state, started_at: state.started_at ?? now }, now, plan, (step) => {
    const fn = step.fn(index);
    step.setFunction(index, begun(fn, attempt, now));
    // Whatever it waited for: an attempt of it is executed.
    step.setBranch({ index, attempt, wait: "none", since: now });
    step.tell({ type: "started", ...step.refOf(index, attempt) });
  });
}

function noRoom(state: LiveGraph, { index, attempt }: AttemptAddress, now: number, plan: Plan): Transition {
  return stepOf(state, now, plan, (step) => {
    const { name } = callOf(step.fn(index));
    const before = step.branch(index);
    step.setBranch({ index, attempt, wait: "worker", since: before?.since ?? now, due_at: now + ROOM_RETRY_MS });
    // It is told once: what has looked for room before has a time at which it did.
    if (before?.due_at === undefined) step.tell({ type: "waiting", waiting_for: "worker", function: name, index });
  });
}

function signalled(
  state: LiveGraph,
  event: Extract<Event, { type: "signalled" }>,
  now: number,
  plan: Plan,
): Transition {
  const { index, number, payload, unfit } = event;
  const name = state.functions.at(index)?.wait_for;
  if (name === undefined || number <= usedNumber(state, name)) return { state, events: [] }; // GRAPH-3
  if (branchIn(state.live, index)?.wait !== "signal") return { state, events: [] };
  return stepOf(state, now, plan, (step) => {
    const { id } = step.fn(index);
    step.useSignal(name, number);
    step.tell({ type: "signalled", name, number, index, ...(id !== undefined && { id }) });
    if (unfit) step.fail(index, unfit);
    else step.succeed(index, step.fn(index).retry_count, payload);
  });
}

function childEnded(
  state: LiveGraph,
  { index, attempt, outcome }: Extract<Event, { type: "child_ended" }>,
  now: number,
  plan: Plan,
): Transition {
  if (branchIn(state.live, index)?.wait !== "child") return { state, events: [] };
  return stepOf(state, now, plan, (step) => {
    if (outcome.state === "completed") {
      step.succeed(index, attempt, outcome.result);
      return;
    }
    step.setFunction(index, { ...step.fn(index), retry_count: attempt });
    step.fail(index, outcome.error);
  });
}

function itemsReported(
  state: LiveGraph,
  { index, report }: Extract<Event, { type: "items" }>,
  now: number,
  plan: Plan,
): Transition {
  const before = branchIn(state.live, index);
  if (!state.functions.at(index)?.items || !before) return { state, events: [] };
  const { items, wait, failures = [], end } = report;
  return stepOf(state, now, plan, (step) => {
    const fn = copyOf(step.fn(index));
    fn.items = items;
    const { id } = fn;
    step.setFunction(index, fn);
    for (const { item, error } of failures)
      step.tell({ type: "item_failed", index, ...(id !== undefined && { id }), item, error });
    if (!end) {
      if (wait) step.setBranch(waitOfItems(before, wait, now));
    } else if ("error" in end) step.fail(index, end.error);
    else if ("apart" in end) step.succeedApart(index, fn.retry_count, end.apart);
    else step.succeed(index, fn.retry_count, end.result);
  });
}

/**
 * MACHINE-7: always a new state. What was in flight before is not ours: an attempt whose start is recorded may have run to its end
 * unseen, so the next one must not share its number.
 */
function resumed(state: LiveGraph, firedAt: number, now: number, plan: Plan): Transition {
  const problem = soundnessProblem(state);
  if (problem !== undefined)
    return { state: corrupt(state, `what is stored of the job makes no sense: ${problem}`, now), events: [] };
  const { functions } = unheard(state);
  const live = state.live.map((branch): Branch => {
    const { index, wait } = branch;
    const fn = functionAt(state, index);
    // Of children, the ends are looked for by who sees to the items.
    if (hasItems(fn)) return wait === "worker" || wait === "child" ? { ...branch, wait: "items" } : branch;
    const isTried = wait === "none" || wait === "worker" || wait === "backoff";
    const attempt = isTried && fn.retry_count === branch.attempt ? branch.attempt + 1 : branch.attempt;
    return { ...branch, attempt, wait: wait === "worker" ? "none" : wait };
  });
  // A retry by hand leaves it pending; from now on it is at work, or waits for what its branches do.
  const isTaken = isOnlyRetried(state) || live.some(({ wait }) => wait !== "none");
  const next: LiveGraph = { ...(isTaken ? inPhase(state, { state: "running" }) : state), functions, live };
  return due(next, Math.max(firedAt, now), now, plan);
}

/** The job as it is taken over. Whether who had it before has sent the attempts that were due is not known: they may have done something. */
export function unheard(state: LiveGraph): LiveGraph {
  let { functions } = state;
  // What began and failed as it was opened was never sent.
  if (state.state === "undoing" || isOnlyRetried(state)) return state;
  for (const { index, wait } of state.live) {
    const fn = functionAt(state, index);
    if (wait === "none" && fn.undo !== undefined && !hasItems(fn)) functions = functions.with(index, mayBeDone(fn));
  }
  return { ...state, functions };
}

/** Nobody has had it since it was retried by hand: nothing of it can be under way. */
function isOnlyRetried({ state, retries }: LiveGraph): boolean {
  return state === "pending" && retries !== undefined;
}

/** What is due at `at`, which the clock of the server may say before ours does. */
function due(state: LiveGraph, at: number, now: number, plan: Plan): Transition {
  if (!isOpened(state)) return state.scheduled_at <= at ? openGraph(state, now, plan) : { state, events: [] };
  const late = lateAt(state);
  const isLate = late !== undefined && late <= at;
  const ripe = state.live.filter((branch) => dueOf(branch) <= at);
  if (ripe.length === 0 && !isLate) return { state, events: [] };
  return stepOf(isLate ? { ...state, late_at: now } : state, now, plan, (step) => {
    if (isLate) step.tell({ type: "late", warn_after_ms: state.warn_after_ms ?? 0 });
    for (const branch of ripe) ripen(step, branch, now);
  });
}

/** When something is to be done about it; never for what waits for an attempt. */
function dueOf({ wait, due_at }: Branch): number {
  return wait === "none" ? Number.POSITIVE_INFINITY : (due_at ?? Number.POSITIVE_INFINITY);
}

function ripen(step: GraphStep, branch: Branch, now: number): void {
  const { index, attempt, wait } = branch;
  if (step.failure) return;
  if (wait === "sleep") step.succeed(index, step.fn(index).retry_count, null);
  else if (wait === "signal") {
    const fn = step.fn(index);
    const message = `signal ${fn.wait_for} did not come within ${fn.timeout_ms} ms`;
    step.fail(index, { code: "signal_timeout", name: "SignalTimeout", message });
  } else if (hasItems(step.fn(index))) step.setBranch({ index, attempt, wait: "items", since: now });
  else if (wait === "worker") step.setBranch({ ...branch, wait: "none" });
  else step.setBranch({ index, attempt, wait: "none", since: now });
}

/** Whether an outcome is of a live attempt (MACHINE-2), or of what its branch waits for. */
export function isLiveOutcome(state: Graph, event: AttemptAddress & Pick<Event, "type">): boolean {
  const { index, attempt, item, undo, type } = event;
  const branch = branchIn(state.live, index);
  if (branch?.attempt !== attempt || branch.undo !== undo || item !== undefined) return false;
  const sort = sortOf(state, branch);
  if (type === "items") return sort === "items";
  return type === "child_ended" ? sort === "child" : sort === "attempt";
}

/** What of an entry it is that is live: its attempts, its child, or its items. Undefined of what has none of these. */
function sortOf(state: Graph, { index, undo }: Branch): "attempt" | "child" | "items" | undefined {
  if (index === state.functions.length) return "attempt";
  const fn = functionAt(state, index);
  if (fn.items && (undo || !fn.handling)) return "items";
  if (undo) return fn.undo === undefined ? "child" : "attempt";
  if (fn.handling) return "attempt";
  const kind = kindOf(fn);
  if (kind === "function") return "attempt";
  return kind === "job" ? "child" : undefined;
}
