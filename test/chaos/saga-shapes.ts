/** Makes sagas from random numbers. */
import { ALWAYS } from "./graph-plan.ts";
import type { Random } from "./random.ts";
import { itemsOf } from "./saga-end.ts";
import type { Saga, SagaAction, SagaEach, SagaEntry, SagaWork, TopSaga, UndoPlan } from "./saga-plan.ts";

/** What is to come of it. */
export type SagaKind = "saga-done" | "saga-failed" | "saga-cancelled" | "saga-retried";

/** Of a hundred sagas. */
export const SAGA_SHARES: Record<SagaKind, number> = {
  "saga-done": 35,
  "saga-failed": 30,
  "saga-cancelled": 18,
  "saga-retried": 17,
};

const MAX_N = 1_000_000;
/** How deep children are, at most. */
const MAX_DEPTH = 2;
/** Items of three parts; few jobs have so many. */
const MANY_ITEMS = { minimum: 130, maximum: 300 };

export function planSaga(random: Random, kind: SagaKind, early: boolean): TopSaga {
  const isRetried = kind === "saga-retried";
  const saga = planLevel(random, 0, { fails: kind === "saga-failed", isRetried, early });
  const top: TopSaga = { ...saga, n: random.integer(1, MAX_N), failures: isRetried ? ALWAYS : 0, retried: isRetried };
  if (isRetried) failByData(random, top);
  if (kind === "saga-cancelled") {
    const skip = random.chance(0.15);
    top.cancel = {
      afterMs: random.integer(0, 1_500),
      skip,
      skipAfterMs: !skip && random.chance(0.2) ? random.integer(0, 1_000) : undefined,
    };
  }
  return top;
}

interface LevelOptions {
  /** One of its entries fails for good. */
  fails: boolean;
  /** No undo of it may fail for good: what could not be undone cannot be run again. */
  isRetried: boolean;
  early: boolean;
}

function planLevel(random: Random, depth: number, options: LevelOptions, given?: number[]): Saga {
  const items = given ?? Array.from({ length: random.integer(0, 12) }, () => random.integer(1, MAX_N));
  const saga: Saga = { entries: [], items };
  const count = depth === 0 ? random.integer(2, 5) : random.integer(1, 3);
  for (let n = 0; n < count; n++) addEntry(random, saga, depth, options);
  if (options.fails) failForGood(random, saga, depth, options);
  if (random.chance(0.35)) saga.onFailure = { failures: random.pick([0, 0, 1, ALWAYS]) };
  return saga;
}

function addEntry(random: Random, saga: Saga, depth: number, options: LevelOptions): void {
  const { entries } = saga;
  const drawn = random.next();
  if (depth < MAX_DEPTH && drawn < 0.2) addChild(random, saga, depth, options, false);
  else if (drawn < 0.45) {
    const action = random.chance(0.2) ? toleratedFailing(random, saga) : each(random, options.early && depth === 0);
    entries.push(entryWith(random, saga, action, 0.5, options));
  } else entries.push(entryWith(random, saga, work(random), 0.65, options));
}

/** Where a worker makes its document, that is an entry before. */
function addChild(random: Random, saga: Saga, depth: number, options: LevelOptions, fails: boolean): void {
  const made = random.chance(0.3);
  // Its data are those of the parent, then.
  const child = planLevel(random, depth + 1, { ...options, fails, early: false }, made ? saga.items : undefined);
  let madeBy: number | undefined;
  if (made) {
    saga.entries.push(entryWith(random, saga, { type: "planning", saga: child }, 0, options));
    madeBy = saga.entries.length - 1;
  }
  const entry = entryWith(random, saga, { type: "child", saga: child, madeBy }, 0.25, options);
  if (madeBy !== undefined && entry.needs) entry.needs = [...new Set([...entry.needs, madeBy])];
  saga.entries.push(entry);
}

function entryWith(
  random: Random,
  { entries }: Saga,
  action: SagaAction,
  undoShare: number,
  { isRetried }: LevelOptions,
): SagaEntry {
  const before = Array.from(entries.keys()).filter(() => random.chance(0.5));
  const entry: SagaEntry = { action, needs: random.chance(0.5) ? undefined : before };
  if (random.chance(undoShare)) entry.undo = undoPlan(random, isRetried);
  // A child has no args that its undo could have instead.
  const isParent = action.type === "child" || (action.type === "each" && action.child);
  if (entry.undo && isParent) entry.undo.ownArgs = true;
  return entry;
}

function undoPlan(random: Random, mustSucceed: boolean): UndoPlan {
  const ownArgs = random.chance(0.5);
  if (!mustSucceed && random.chance(0.08)) return { failures: ALWAYS, retryLimit: 2, ownArgs };
  return { failures: random.chance(0.2) ? random.integer(1, 2) : 0, retryLimit: 10, ownArgs };
}

function work(random: Random): SagaWork {
  return {
    type: "work",
    ms: random.chance(0.8) ? random.integer(10, 80) : random.integer(80, 400),
    salt: random.integer(1, MAX_N),
    failures: random.chance(0.1) ? 1 : 0,
    fatal: false,
    retryLimit: 3,
    backoff: { delay_ms: random.integer(20, 200) },
    // Above what is kept in the record.
    padBytes: random.chance(0.08) ? random.integer(33_000, 90_000) : 0,
    stubborn: random.chance(0.3),
  };
}

function each(random: Random, mayBeMany: boolean): SagaEach {
  const many = mayBeMany && random.chance(0.1);
  const child = !many && random.chance(0.2);
  const count = many ? random.integer(MANY_ITEMS.minimum, MANY_ITEMS.maximum) : random.integer(0, child ? 5 : 25);
  const slice = !child && random.chance(0.25) ? random.integer(1, 5) : undefined;
  return {
    type: "each",
    over: random.pick(many ? ["number", "cursor"] : ["list", "number", "expression", "cursor"]),
    count,
    page: random.integer(1, many ? 100 : 10),
    slice,
    concurrency: random.integer(1, many ? 30 : 8),
    tolerate: undefined,
    results: random.chance(0.75) ? "keep" : "none",
    failing: [],
    failsBy: "always",
    flaky: random.chance(0.3) ? [random.integer(0, 5), random.integer(0, 20)] : [],
    child,
    ms: random.integer(2, many ? 10 : 40),
    salt: random.integer(1, MAX_N),
  };
}

/** The entry that fails: a function, too many items, or a child. */
function failForGood(random: Random, saga: Saga, depth: number, options: LevelOptions): void {
  const drawn = random.next();
  if (depth < MAX_DEPTH && drawn < 0.25) {
    addChild(random, saga, depth, options, true);
    return;
  }
  if (drawn < 0.5) {
    const action = failingItems(random, saga, "always");
    if (action) {
      saga.entries.push(entryWith(random, saga, action, 0.5, options));
      return;
    }
  }
  const action = work(random);
  Object.assign(action, { failures: ALWAYS, fatal: random.chance(0.4), padBytes: 0 });
  saga.entries.push(entryWith(random, saga, action, 0.3, options));
}

/** Some of its items fail, more than it tolerates; undefined if it has too few. */
function failingItems(random: Random, saga: Saga, failsBy: SagaEach["failsBy"]): SagaEach | undefined {
  const action = { ...each(random, false), child: false };
  const numbers = Array.from(itemsOf(action, saga).keys());
  if (numbers.length < 2) return undefined;
  const failing = random.shuffled(numbers).slice(0, random.integer(1, Math.min(4, numbers.length)));
  const tolerate = random.pick([undefined, 0, failing.length - 1, "0%"]);
  return { ...action, failing, failsBy, tolerate };
}

/** Some of its items fail, and no more than it tolerates. */
function toleratedFailing(random: Random, saga: Saga): SagaEach {
  const action = failingItems(random, saga, "always");
  if (!action) return each(random, false);
  return { ...action, tolerate: random.pick([action.failing.length, action.failing.length + 1, "100%"]) };
}

/** It fails until a retry brings other data. */
function failByData(random: Random, saga: TopSaga): void {
  const options: LevelOptions = { fails: false, isRetried: true, early: false };
  const items = random.chance(0.4) ? failingItems(random, saga, "data") : undefined;
  const action: SagaAction = items ?? { ...work(random), failures: "data", padBytes: 0 };
  saga.entries.push(entryWith(random, saga, action, 0.4, options));
  if (random.chance(0.5)) saga.entries.push(entryWith(random, saga, work(random), 0.5, options));
}
