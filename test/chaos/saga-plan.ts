/**
 * Documents of jobs that do more than call functions, as the chaos test plans them: children, items, undo, `on_failure`, and results that
 * are stored apart. What each entry is handed and gives follows from the document (see `saga-end.ts`).
 */
import type { Backoff, CallEntry, ChildDocument, FunctionSpec, Submission } from "../../src/job/schema.ts";
import { ALWAYS, idOf, WORK } from "./graph-plan.ts";

export interface SagaData {
  n: number;
  /** Whether that fails which says so. */
  failures: number;
  /** What is gone through by `for_each` over a list. */
  items: number[];
}

/** How the undo of an entry goes. */
export interface UndoPlan {
  /** The first so many attempts of it throw. */
  failures: number;
  retryLimit: number;
  /** It has args of its own, which name the result of what it undoes. */
  ownArgs: boolean;
}

export interface SagaWork {
  type: "work";
  ms: number;
  salt: number;
  failures: number | "data";
  fatal: boolean;
  retryLimit: number;
  backoff?: Backoff;
  /** Its result is made so much larger. */
  padBytes: number;
  /** It goes on when it is told to stop. */
  stubborn: boolean;
}

/** A worker makes the document of a child. */
export interface SagaPlanning {
  type: "planning";
  saga: Saga;
}

export interface SagaChild {
  type: "child";
  saga: Saga;
  /** The entry that has made its document; undefined if it stands in that of the parent. */
  madeBy: number | undefined;
}

export interface SagaEach {
  type: "each";
  over: "list" | "number" | "expression" | "cursor";
  /** How many there are before they are sliced. */
  count: number;
  /** How many the function lists at a time. */
  page: number;
  slice: number | undefined;
  concurrency: number;
  tolerate: number | string | undefined;
  results: "keep" | "none";
  /** Items (or slices) that fail for good: always, or as the data say. */
  failing: number[];
  failsBy: "always" | "data";
  /** Those that throw once. */
  flaky: number[];
  /** Each is done by a child, of one function. */
  child: boolean;
  ms: number;
  salt: number;
}

export type SagaAction = SagaWork | SagaPlanning | SagaChild | SagaEach;

export interface SagaEntry {
  action: SagaAction;
  needs: number[] | undefined;
  undo?: UndoPlan;
}

export interface Saga {
  entries: SagaEntry[];
  /** What `data` is: of a child whose document a worker has made it is that of the parent. */
  items: number[];
  onFailure?: { failures: number };
}

/** What is asked for by hand. */
export interface CancelPlan {
  afterMs: number;
  /** Nothing is to be undone; or that is said so long after. */
  skip: boolean;
  skipAfterMs: number | undefined;
}

export interface TopSaga extends Saga {
  n: number;
  /** Whether that fails which says so; a retry by hand says otherwise. */
  failures: number;
  cancel?: CancelPlan;
  retried: boolean;
}

export const ITEM = "item";
export const LIST = "list";
export const GIVE = "give";
export const UNDO = "undo";
export const ALERT = "alert";

/** What a worker is told to do with an item. */
export interface ItemArgs {
  ms: number;
  salt: number;
  failing: number[];
  flaky: number[];
  failures: number;
  undo_failures: number;
}

export interface ListArgs {
  count: number;
  page: number;
  base: number;
}

export function dataOf(saga: TopSaga): SagaData {
  return { n: saga.n, failures: saga.failures, items: saga.items };
}

/** The data of a retry by hand: nothing fails by them any more. */
export function mendedDataOf(saga: TopSaga): SagaData {
  return { ...dataOf(saga), failures: 0 };
}

export function documentOfSaga(saga: TopSaga): Pick<Submission, "data" | "functions" | "on_failure"> {
  return { data: dataOf(saga), ...partsOf(saga) };
}

/** The document of a child that a worker makes: its data are those of the parent. */
export function madeDocumentOf(saga: Saga): ChildDocument {
  return partsOf(saga);
}

function partsOf({ entries, onFailure }: Saga): Pick<Submission, "functions" | "on_failure"> {
  return {
    functions: entries.map((entry, index) => specOf(entry, index)),
    ...(onFailure && {
      on_failure: {
        name: ALERT,
        args: { ms: 20, salt: 1, inputs: [{ $: "error.code" }], failures: onFailure.failures, fatal: false },
        retry_options: { retry_limit: 3, backoff: { delay_ms: 50 } },
      },
    }),
  };
}

function specOf({ action, needs, undo }: SagaEntry, index: number): FunctionSpec {
  return {
    id: idOf(index),
    ...actionOf(action, undo),
    ...(needs && { needs: needs.map(idOf) }),
    ...(undo && { undo: undoSpecOf(undo) }),
  };
}

function undoSpecOf({ failures, retryLimit, ownArgs }: UndoPlan): CallEntry {
  return {
    name: UNDO,
    ...(ownArgs && { args: { ms: 10, salt: 0, inputs: [{ $: "result" }], undo_failures: failures } }),
    retry_options: { retry_limit: retryLimit, backoff: { delay_ms: 50 } },
  };
}

function actionOf(action: SagaAction, undo: UndoPlan | undefined): FunctionSpec {
  const undo_failures = undo?.failures ?? 0;
  switch (action.type) {
    case "work": {
      const { ms, salt, failures, fatal, retryLimit, backoff, padBytes, stubborn } = action;
      return {
        name: WORK,
        args: {
          ms,
          salt,
          inputs: [{ $: "data.n" }],
          failures: failures === "data" ? { $: "data.failures" } : failures,
          fatal,
          ...(padBytes > 0 && { pad_bytes: padBytes }),
          ...(stubborn && { stubborn }),
          undo_failures,
        },
        retry_options: { retry_limit: retryLimit, ...(backoff && { backoff }) },
      };
    }
    case "planning":
      // It stands in a list: what is in it is no expression here, but in the child.
      return { name: GIVE, args: { text: JSON.stringify(madeDocumentOf(action.saga)) } };
    case "child":
      if (action.madeBy !== undefined) return { job: { $: `results.${idOf(action.madeBy)}` } };
      return {
        job: {
          data: { n: { $: "data.n + 1" }, failures: 0, items: action.saga.items },
          ...partsOf(action.saga),
        },
      };
    case "each":
      return eachSpecOf(action, undo_failures);
  }
}

function eachSpecOf(action: SagaEach, undo_failures: number): FunctionSpec {
  const { slice, concurrency, tolerate, results, failing, failsBy, flaky, ms, salt } = action;
  const options: FunctionSpec = {
    for_each: sourceOf(action),
    concurrency,
    results,
    ...(slice !== undefined && { slice }),
    ...(tolerate !== undefined && { tolerate }),
  };
  if (action.child) {
    const args = { ms, salt, inputs: [{ $: "data" }], failures: 0, fatal: false, undo_failures };
    const child: FunctionSpec = { id: "one", name: WORK, args, retry_options: { retry_limit: 3 } };
    return { ...options, job: { functions: [child] } };
  }
  const failures = failsBy === "data" ? { $: "data.failures" } : ALWAYS;
  const retry_options = { retry_limit: 2, backoff: { delay_ms: 40 } };
  return { ...options, name: ITEM, args: { ms, salt, failing, flaky, failures, undo_failures }, retry_options };
}

function sourceOf({ over, count, page, salt }: SagaEach): NonNullable<FunctionSpec["for_each"]> {
  switch (over) {
    case "list":
      return "data.items";
    case "number":
      return count;
    case "expression":
      return `size([data.n]) * ${count}`;
    case "cursor":
      return { name: LIST, args: { count, page, base: salt }, retry_options: { retry_limit: 5 } };
  }
}

/** Each saga in it, itself included, with how deep it is. */
export function* sagasIn(saga: Saga, depth = 0): Generator<{ saga: Saga; depth: number }> {
  yield { saga, depth };
  for (const { action } of saga.entries) if (action.type === "child") yield* sagasIn(action.saga, depth + 1);
}

/** Whether something in it can be undone: it, or its children, say how. */
export function hasUndo({ entries }: Saga): boolean {
  return entries.some(({ action, undo }) => undo !== undefined || (action.type === "child" && hasUndo(action.saga)));
}
