/**
 * Judges a saga that has ended, and its children with it: each entry ended as follows from the document; a parent ended after its children,
 * of which there is one for each entry or item that has one; each execution was handed what follows from the document. What was undone is
 * judged in `saga-undo-verdict.ts`.
 *
 * A saga may be cancelled at any time, and so may its children when it fails: then what has ended must have ended as planned.
 */
import { childIdOf, childOrigin } from "../../src/job/children.ts";
import type { FunctionState } from "../../src/job/function-state.ts";
import { isEnded, type JobState } from "../../src/job/state.ts";
import type { Execution } from "./evidence.ts";
import { TRANSIT_MS } from "./excuses.ts";
import { inputOf, resultFrom } from "./graph-end.ts";
import { ALWAYS } from "./graph-plan.ts";
import type { SagaCase } from "./saga-case.ts";
import type { SagaEnd, SagaOutcome } from "./saga-end.ts";
import { ALERT, type Saga, type SagaEach, type SagaEntry, type SagaWork, UNDO } from "./saga-plan.ts";
import { judgeUndo } from "./saga-undo-verdict.ts";

/** What an item's child is: one function. */
function childOfItem({ ms, salt }: SagaEach): Saga {
  const action: SagaWork = {
    ...{ type: "work", ms, salt, failures: 0, fatal: false, retryLimit: 3, padBytes: 0, stubborn: false },
  };
  return { items: [], entries: [{ action, needs: undefined }] };
}

export function judgeSaga(one: SagaCase): void {
  judgeEnd(one);
  for (const [index, entry] of one.saga.entries.entries()) {
    const fn = one.state.functions.at(index);
    const end = one.planned.ends[index];
    if (!fn || !end) {
      one.find("wrong", `entry ${index} is not in the state`);
      continue;
    }
    judgeEntry(one, index, entry, fn, end);
    judgeInputs(one, index, entry, end);
    judgeCounts(one, index, entry);
    judgeChildren(one, index, entry, fn, end);
  }
  judgeAlert(one);
  judgeEndEventsOfRuns(one);
  judgeUndo(one);
}

function judgeEnd({ state, planned, mayBeCancelled, givenUp, find }: SagaCase): void {
  if (givenUp) return;
  if (state.state === "cancelled") {
    if (!mayBeCancelled) find("wrong", "cancelled, and nobody has asked for that");
    return;
  }
  const { code } = planned;
  const isRight = code ? state.state === "failed" && state.error.code === code : state.state === "completed";
  const error = state.state === "failed" ? ` by ${state.error.code}: ${state.error.message}` : "";
  if (!isRight) find("wrong", `${state.state}${error}, not ${code ? `failed by ${code}` : "completed"}`);
}

function judgeEntry(one: SagaCase, index: number, { action }: SagaEntry, fn: FunctionState, end: SagaEnd): void {
  const { state, find, givenUp, evidence } = one;
  if (givenUp) return;
  if (fn.finished_at === undefined) {
    if (state.state === "completed") find("wrong", `entry ${index} has not ended, and the job has`);
    return;
  }
  if (end.how !== "returned") {
    find("wrong", `entry ${index} has ended, and was to be ${end.how}`);
    return;
  }
  const result = fn.apart === undefined ? fn.result : evidence.results.get(`${state.job_id}/${index}`);
  if (JSON.stringify(result) !== JSON.stringify(end.value)) {
    find("wrong", `the result of entry ${index} is ${short(result)}, not ${short(end.value)}`);
  }
  if (action.type !== "each") return;
  const { items } = fn;
  const count = end.itemInputs?.length ?? 0;
  if (count === 0 && !items) return;
  if (!items || items.done + items.failed !== count || items.open.length > 0) {
    find("wrong", `entry ${index} has ended with ${JSON.stringify(items)}, of ${count} items`);
  }
}

function short(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 300) ?? "nothing";
}

/** Every execution, also those that do not count. */
function judgeInputs({ executions, find }: SagaCase, index: number, { action, undo }: SagaEntry, end: SagaEnd): void {
  for (const { index: of, call, input, item, attempt } of executions) {
    if (of !== index || call === ALERT) continue;
    let inputs: (number | undefined)[];
    if (call === UNDO) {
      // Where it has not answered, there is no result. Without args of its own it has those of the entry.
      if (!undo?.ownArgs) continue;
      const value = item === undefined || action.type !== "each" ? end.value : resultOfItem(action, end, item);
      inputs = [inputOf([value], []), inputOf([null], [])];
    } else inputs = [item === undefined ? end.input : end.itemInputs?.[item]];
    if (input !== undefined && inputs.includes(input)) continue;
    const what = `${call} of entry ${index}${item === undefined ? "" : `, item ${item},`} in attempt ${attempt}`;
    find("wrong input", `${what} got ${input}, not ${inputs.join(" or ")}`);
  }
}

/** Also where it is not kept. */
function resultOfItem({ salt }: SagaEach, { itemInputs = [] }: SagaEnd, item: number): number {
  return resultFrom(salt, itemInputs[item] ?? 0);
}

/** Without a fault that has hit them, no more executions than count. */
function judgeCounts(one: SagaCase, index: number, { action }: SagaEntry): void {
  const { executions, excuses, retries, find, verdict } = one;
  const lives = 1 + retries;
  const counts = new Map<string, { threw: number; returned: number }>();
  for (const execution of executions) {
    if (execution.index !== index) continue;
    const isAnswered = execution.outcome === "returned" || execution.outcome === "threw";
    verdict[isAnswered ? "accepted" : "wasted"] += 1;
    if (execution.call === UNDO || !isAnswered || excuses.wasHit(execution) || wasStopped(one, execution)) continue;
    const key = execution.item === undefined ? "" : `, item ${execution.item}`;
    const count = counts.get(key) ?? { threw: 0, returned: 0 };
    count[execution.outcome === "threw" ? "threw" : "returned"] += 1;
    counts.set(key, count);
  }
  const most = mostThrows(action) * lives;
  for (const [key, { threw, returned }] of counts) {
    if (returned > lives) find("unexplained", `entry ${index}${key}: ${returned} executions returned, ${lives} count`);
    if (threw > most) find("unexplained", `entry ${index}${key}: ${threw} executions threw, at most ${most} count`);
  }
}

function mostThrows(action: SagaEntry["action"]): number {
  if (action.type === "each") return 2;
  return action.type === "work" ? action.retryLimit : 0;
}

/** It ran when the job was told to stop what runs. */
export function wasStopped({ evidence, state }: SagaCase, { begun, ended }: Execution): boolean {
  const events = evidence.events.get(state.job_id) ?? [];
  return events.some(
    ({ type, storedAt }) =>
      (type === "undoing" || type === "failed" || type === "cancelled") &&
      begun <= storedAt + TRANSIT_MS &&
      (ended ?? begun) >= storedAt - TRANSIT_MS,
  );
}

/** An entry, and an item of it, has one child in each life; a parent ends after all of them. */
function judgeChildren(one: SagaCase, index: number, entry: SagaEntry, fn: FunctionState, end: SagaEnd): void {
  const { state, evidence, find, storedAt, retries } = one;
  const { action } = entry;
  const isParent = action.type === "child" || (action.type === "each" && action.child);
  const children = evidence.children.get(state.job_id)?.filter(({ parent }) => parent?.index === index) ?? [];
  if (!isParent) {
    if (children.length > 0) find("unfounded", `entry ${index} has ${children.length} children, and is no parent`);
    return;
  }
  const perItem = new Map<number | undefined, number>();
  for (const child of children) {
    const item = child.parent?.item;
    perItem.set(item, (perItem.get(item) ?? 0) + 1);
    judgeFamilyOrder(one, child, storedAt);
  }
  for (const [item, count] of perItem) {
    if (count > 1 + retries) find("unexplained", `entry ${index}, item ${item}: ${count} children`);
  }
  // What was undone and then run again has other children; those of the life before are judged by their order only.
  const items = action.type === "each" ? (end.itemInputs ?? []).map((_, item) => item) : [undefined];
  for (const item of items) {
    if (item !== undefined && !fn.items) continue;
    const id = childIdOf(childOrigin(state, index, item));
    const child = evidence.states.get(id);
    if (!child) {
      if (fn.finished_at !== undefined && !one.givenUp) find("lost", `the child ${id} of entry ${index}`);
      continue;
    }
    const part =
      item === undefined && action.type === "child" && end.child
        ? { saga: action.saga, planned: end.child.end }
        : action.type === "each"
          ? plannedOfItem(action, end, item ?? 0)
          : undefined;
    const next = part && one.caseOf(id, { ...part, mayBeCancelled: state.state !== "completed" });
    if (next) judgeSaga(next);
  }
}

/** It reads its data as a whole, which is the item. */
function plannedOfItem(action: SagaEach, end: SagaEnd, item: number) {
  const value = resultOfItem(action, end, item);
  const input = end.itemInputs?.[item] ?? 0;
  const planned: SagaOutcome = { ends: [{ how: "returned", value, input }], code: undefined, result: value };
  return { saga: childOfItem(action), planned };
}

function judgeFamilyOrder({ evidence, state, find }: SagaCase, child: JobState, storedAt: number): void {
  const { job_id: id } = child;
  if (!isEnded(child)) {
    find("child later", `its child ${id} is ${child.state}`);
    return;
  }
  const childStoredAt = evidence.storedAt.get(id) ?? Number.POSITIVE_INFINITY;
  if (childStoredAt > storedAt || child.finished_at > state.finished_at) {
    find("child later", `its child ${id} has ended at ${child.finished_at}, it has at ${state.finished_at}`);
  }
}

/** `on_failure` is called once a job has failed, and only then. */
function judgeAlert({
  saga,
  state,
  executions,
  excuses,
  retries,
  planned,
  find,
  givenUp,
  mayBeSkipped,
}: SagaCase): void {
  const alerts = executions.filter(({ call }) => call === ALERT);
  const returned = alerts.filter(({ outcome, ...rest }) => outcome === "returned" && !excuses.wasHit(rest));
  const { failing } = state;
  if (alerts.length > 0 && (!saga.onFailure || (state.state !== "failed" && retries === 0)))
    find("unfounded", "on_failure was called");
  if (returned.length > 1 + retries) find("unexplained", `on_failure has returned ${returned.length} times`);
  if (state.state !== "failed" || !saga.onFailure || planned.code === undefined || givenUp || mayBeSkipped) return;
  if (!failing) find("wrong", "it has failed, and on_failure was not called");
  else if (saga.onFailure.failures < ALWAYS && failing.finished_at === undefined && !excuses.mayHaveLost(0, ALL_TIME))
    find("wrong", `on_failure has not returned: ${failing.error?.message}`);
}

const ALL_TIME = Number.MAX_SAFE_INTEGER;

/** Each run of a job has at most one end. */
function judgeEndEventsOfRuns({ evidence, state, find }: SagaCase): void {
  const told = new Map<number, Set<string>>();
  for (const { event } of evidence.events.get(state.job_id) ?? []) {
    if (event.type !== "completed" && event.type !== "failed" && event.type !== "cancelled") continue;
    const types = told.get(event.run) ?? new Set();
    if (types.size > 0) find("ended twice", `run ${event.run}: ${[...types, event.type].join(", ")}`);
    told.set(event.run, types.add(event.type));
  }
  const last = told.get((state.retries ?? 0) + 1);
  if (state.state !== "completed" && !last?.has(state.state)) {
    find("end not told", `the state is ${state.state}, the end events are [${[...(last ?? [])].join(", ")}]`);
  }
}
