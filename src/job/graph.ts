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
import { callOf, kindOf } from "./function-state.ts";
import { GraphStep, stepped } from "./graph-step.ts";
import { afterFailure, afterLoss, begun, type Outcome } from "./outcome.ts";
import { type Plan, planOf } from "./plan.ts";
import { inPhase } from "./record.ts";
import { lateAt, ROOM_RETRY_MS } from "./rest.ts";
import { usedNumber } from "./signals.ts";
import { soundnessProblem } from "./sound.ts";
import {
  type AttemptAddress,
  type Branch,
  type EndedJob,
  type Graph,
  isEnded,
  type LiveJob,
  unreachable,
} from "./state.ts";
import { iso } from "./time.ts";
import type { Event, EventOfEntries, Transition } from "./transition.ts";

type LiveGraph = Graph & LiveJob;

/** Begins what begins with the job, if its start has come. @param plan that of its entries */
export function openGraph(job: LiveGraph, now: number, plan: Plan = planOf(job.functions)): Transition {
  const step = new GraphStep(job, plan, now);
  step.open();
  const next = finish(job, step, now);
  // Where nothing has happened yet but that functions are due, the job is as its submission says.
  const isUntouched = !isEnded(next.state) && (next.state.live ?? []).every(({ wait }) => wait === "none");
  if (!isUntouched || next.state.ended_count !== 0) return next;
  return { ...next, state: { ...next.state, ...inPhase(next.state, { state: "pending" }) } };
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
        settle(step, event.index, afterFailure(step.fn(event.index), event, now), now);
      });
    case "lost":
      return stepOf(state, now, plan, (step) => {
        settle(step, event.index, afterLoss(step.fn(event.index), event.attempt, event.progress, now), now);
      });
    case "no_room":
      return noRoom(state, event, now, plan);
    case "signalled":
      return signalled(state, event, now, plan);
    case "retried":
      return { state, events: [] }; // it has not ended
    default:
      return unreachable(event);
  }
}

function stepOf(state: LiveGraph, now: number, plan: Plan, work: (step: GraphStep) => void): Transition {
  const step = new GraphStep(state, plan, now);
  work(step);
  return finish(state, step, now);
}

/** The state that a step leads to. */
function finish(state: LiveGraph, step: GraphStep, now: number): Transition {
  const next = stepped(state, step);
  const { events } = step;
  if (step.failure) return { state: failedBy(next, step.failure, now), events };
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
function settle(step: GraphStep, index: number, { fn, error, retryAt }: Outcome, now: number): void {
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
    step.setBranch({ index, attempt, wait: "none", since: step.branch(index)?.since ?? now });
    step.tell({ type: "started", ...step.refOf(index, attempt) });
  });
}

function noRoom(state: LiveGraph, { index, attempt }: AttemptAddress, now: number, plan: Plan): Transition {
  return stepOf(state, now, plan, (step) => {
    const { name } = callOf(step.fn(index));
    step.setBranch({ index, attempt, wait: "worker", since: now });
    step.tell({ type: "waiting", waiting_for: "worker", function: name, index });
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

/**
 * MACHINE-7: always a new state. What was in flight before is not ours: an attempt whose start is recorded may have run to its end
 * unseen, so the next one must not share its number.
 */
function resumed(state: LiveGraph, firedAt: number, now: number, plan: Plan): Transition {
  const problem = soundnessProblem(state);
  if (problem !== undefined)
    return { state: corrupt(state, `what is stored of the job makes no sense: ${problem}`, now), events: [] };
  const live = state.live.map((branch): Branch => {
    const isRecorded = state.functions.at(branch.index)?.retry_count === branch.attempt;
    const attempt =
      isRecorded && branch.wait !== "signal" && branch.wait !== "sleep" ? branch.attempt + 1 : branch.attempt;
    return branch.wait === "worker"
      ? { index: branch.index, attempt, wait: "none", since: now }
      : { ...branch, attempt };
  });
  return due({ ...state, live }, Math.max(firedAt, now), now, plan);
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
function dueOf({ wait, since, due_at }: Branch): number {
  if (wait === "worker") return since + ROOM_RETRY_MS;
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
  } else step.setBranch({ index, attempt, wait: "none", since: now });
}

/** Whether an outcome is of a live attempt (MACHINE-2). */
export function isLiveAttempt(state: Graph, { index, attempt }: AttemptAddress): boolean {
  const branch = branchIn(state.live, index);
  if (branch?.attempt !== attempt) return false;
  const fn = state.functions.at(index);
  return fn !== undefined && (kindOf(fn) === "function" || fn.handling === true);
}
