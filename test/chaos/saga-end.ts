/** How each entry of a planned saga must end, if nobody cancels it: what it is handed, and what it gives. */
import type { FailureCode } from "../../src/job/failure.ts";
import { itemAt, toleratedFailures } from "../../src/job/items.ts";
import { inputOf, resultFrom } from "./graph-end.ts";
import { neededBy } from "./graph-plan.ts";
import { madeDocumentOf, type Saga, type SagaData, type SagaEach, type SagaEntry, type SagaWork } from "./saga-plan.ts";

export interface SagaEnd {
  /** `unreached`: it follows what fails. */
  how: "returned" | "failed" | "unreached";
  /** What others find as its result. */
  value: unknown;
  /** Of the executions of a function. */
  input?: number;
  /** Of those of the items, by their number. */
  itemInputs?: number[];
  code?: FailureCode;
  /** Of a child. */
  child?: { end: SagaOutcome; data: SagaData };
}

export interface SagaOutcome {
  ends: SagaEnd[];
  /** Why it fails; undefined if it completes. */
  code: FailureCode | undefined;
  /** Of its last entry. */
  result: unknown;
}

const UNREACHED: SagaEnd = { how: "unreached", value: null };

export function outcomeOfSaga(saga: Saga, data: SagaData): SagaOutcome {
  const ends: SagaEnd[] = [];
  for (const [index, entry] of saga.entries.entries()) {
    const before = neededBy(saga, index).map((one) => ends[one] ?? UNREACHED);
    const isReached = before.every(({ how }) => how === "returned");
    const results = before.map(({ value }) => value);
    ends.push(isReached ? endOf(entry, results, data) : UNREACHED);
  }
  return { ends, code: ends.find(({ how }) => how === "failed")?.code, result: ends.at(-1)?.value ?? null };
}

function endOf({ action }: SagaEntry, results: unknown[], data: SagaData): SagaEnd {
  switch (action.type) {
    case "work": {
      const input = inputOf([data.n], results);
      const failures = action.failures === "data" ? data.failures : action.failures;
      if (failures >= action.retryLimit) return { how: "failed", value: null, code: "function_failed", input };
      return { how: "returned", value: workResult(action, input), input };
    }
    case "planning":
      return { how: "returned", value: madeDocumentOf(action.saga) };
    case "child": {
      const own: SagaData =
        action.madeBy === undefined ? { n: data.n + 1, failures: 0, items: action.saga.items } : data;
      const end = outcomeOfSaga(action.saga, own);
      const child = { end, data: own };
      if (end.code !== undefined) return { how: "failed", value: null, code: "child_failed", child };
      return { how: "returned", value: end.result, child };
    }
    case "each":
      return endOfEach(action, data);
  }
}

function workResult({ salt, padBytes }: SagaWork, input: number): unknown {
  return padded(resultFrom(salt, input), padBytes);
}

/** A result of that size, about. */
export function padded(n: number, bytes: number): unknown {
  return bytes > 0 ? { n, pad: "x".repeat(bytes) } : n;
}

function endOfEach(action: SagaEach, data: SagaData): SagaEnd {
  const { failing, failsBy, tolerate, results, salt } = action;
  const items = itemsOf(action, data);
  const itemInputs = items.map((item, index) => (action.child ? inputOf([item], []) : inputOf([item, index], [])));
  const failed = failsBy === "data" && data.failures === 0 ? [] : failing;
  if (failed.length > toleratedFailures(tolerate, items.length))
    return { how: "failed", value: null, code: "too_many_failures", itemInputs };
  const values = itemInputs.map((input, index) => (failed.includes(index) ? null : resultFrom(salt, input)));
  return { how: "returned", value: results === "none" ? null : values, itemInputs };
}

/** All of them, in slices if they are wanted so. */
export function itemsOf(each: SagaEach, { items }: Pick<SagaData, "items">): unknown[] {
  const { over, count, slice } = each;
  if (over === "cursor") return listedItems(each);
  const list = over === "list" ? items : undefined;
  const length = list?.length ?? count;
  return Array.from({ length: Math.ceil(length / (slice ?? 1)) }, (_, n) => itemAt({ list, slice, length }, n));
}

/** Slices do not reach from one page into the next. */
function listedItems({ count, page, slice, salt }: SagaEach): unknown[] {
  const items: unknown[] = [];
  for (let from = 0; from < count; from += page) {
    const list = Array.from({ length: Math.min(page, count - from) }, (_, n) => salt + from + n);
    if (slice === undefined) items.push(...list);
    else for (let at = 0; at < list.length; at += slice) items.push(list.slice(at, at + slice));
  }
  return items;
}
