/**
 * One step of a graph while it is worked out: what has ended, what begins because of that, and what is to be told.
 *
 * An entry that has its turn and needs nothing from outside (its condition is not met, it sleeps until a time that has passed)
 * ends in the same step, and so may those that follow it.
 */

import { branchIn, placeOf } from "./branches.ts";
import { dateProblem } from "./dates.ts";
import { type AttemptRef, eventOf, type JobEvent, type JobEventBody } from "./events.ts";
import { typeName } from "./expression-values.ts";
import { ExpressionError, expressionFailure, type Values } from "./expressions.ts";
import type { Failure } from "./failure.ts";
import { callOf, type FunctionState, kindOf } from "./function-state.ts";
import type { Functions } from "./functions.ts";
import { itemCount, nextRun } from "./items.ts";
import { forgiven } from "./outcome.ts";
import { firstOf, type Plan, readyAfter } from "./plan.ts";
import { copyOf, inPhase } from "./record.ts";
import { ROOM_RETRY_MS } from "./rest.ts";
import { type Branch, functionAt, type Graph, type JobFields, type LiveJob } from "./state.ts";
import type { ItemsReport } from "./transition.ts";
import { resultAt, valuesFor } from "./values.ts";

/** The attempt of an entry that has failed before it began, as an expression of it cannot be evaluated. Its job has failed. */
export const NOT_BEGUN = 0;

export class GraphStep {
  readonly #job: Graph;
  readonly plan: Plan;
  readonly #now: number;
  readonly events: JobEvent[] = [];
  /** Why the job has failed, if it has, and the entry because of which it has. */
  failure: Failure | undefined;
  failedIndex: number | undefined;
  /** What is called once it has: see `graph-undo.ts`. */
  failing: FunctionState | undefined;
  functions: Functions;
  /** By index. Never changed but copied: a step changes few of many. */
  #live: readonly Branch[];
  #endedCount: number;
  /** The lowest index that has not ended. */
  #lowest: number;
  #signals: Readonly<Record<string, number>> | undefined;
  /** Entries whose turn has come. */
  readonly #ready: number[] = [];
  #isBeginning = false;

  constructor(job: Graph, plan: Plan, now: number) {
    this.#job = job;
    this.plan = plan;
    this.#now = now;
    this.functions = job.functions;
    this.#live = job.live;
    this.#endedCount = job.ended_count ?? 0;
    this.#lowest = job.current_function;
    this.#signals = job.signals;
  }

  /** Nothing is left to be done. */
  get isComplete(): boolean {
    return this.#endedCount === this.plan.length;
  }

  get isEmpty(): boolean {
    return this.#live.length === 0;
  }

  branch(index: number): Branch | undefined {
    return branchIn(this.#live, index);
  }

  fn(index: number): FunctionState {
    return this.functions.at(index) ?? functionAt(this.#job, index);
  }

  /** Gives the job, a new object, what the step has changed. */
  writeInto(next: JobFields): void {
    next.format = 2;
    next.functions = this.functions;
    next.live = this.#live;
    next.ended_count = this.#endedCount;
    next.current_function = Math.min(this.#lowest, this.plan.length - 1);
    if (this.#signals) next.signals = this.#signals;
  }

  tell(body: JobEventBody): void {
    this.events.push(eventOf(this.#job, this.#now, body));
  }

  refOf(index: number, attempt: number): AttemptRef {
    return attemptRefOf(this.fn(index), index, attempt);
  }

  setFunction(index: number, fn: FunctionState): void {
    this.functions = this.functions.with(index, fn);
  }

  setBranch(branch: Branch): void {
    const at = placeOf(this.#live, branch.index);
    this.#live = this.#live.toSpliced(at, this.#live[at]?.index === branch.index ? 1 : 0, branch);
  }

  dropBranch(index: number): void {
    const at = placeOf(this.#live, index);
    if (this.#live[at]?.index === index) this.#live = this.#live.toSpliced(at, 1);
  }

  /** The entry has ended, and nothing begins because of that: the job undoes. @param fn a new object, with its end */
  setEnded(index: number, fn: FunctionState): void {
    this.#endedCount += 1;
    fn.rank = this.#endedCount;
    this.setFunction(index, fn);
    this.dropBranch(index);
    while (this.#lowest < this.plan.length && this.#hasEnded(this.#lowest)) this.#lowest += 1;
  }

  /** What begins with the job. */
  open(): void {
    this.begin(firstOf(this.plan));
  }

  /** Begins these, as their turn has come again. */
  begin(indexes: readonly number[]): void {
    this.#ready.push(...indexes);
    this.#begin();
  }

  /** What has begun begins once more; its condition was met. */
  restart(index: number): void {
    try {
      this.#start(index);
    } catch (error) {
      this.fail(index, expressionFailure(error));
    }
    this.#begin();
  }

  /** The entry has its result, if that is as it expects. @param apart its bytes, if it is stored besides the job */
  succeed(index: number, attempt: number, result: unknown, apart?: number): void {
    const fn = this.fn(index);
    if (fn.expect !== undefined && !fn.handling) {
      const problem = this.#expectationProblem(fn.expect, result);
      if (problem) {
        // It has answered with a result: what it does it has done.
        const uncertain = fn.undo !== undefined && kindOf(fn) === "function" ? { uncertain: true as const } : {};
        this.setFunction(index, { ...fn, retry_count: attempt, error: problem, ...uncertain });
        this.fail(index, problem);
        return;
      }
    }
    const done = copyOf(withoutTrials(fn));
    done.retry_count = attempt;
    if (apart !== undefined) done.apart = apart;
    this.#end(index, done, apart === undefined ? result : null);
  }

  /** The same, where the result is stored besides the job. @throws MissingValue if it has to be read, as something is expected of it */
  succeedApart(index: number, attempt: number, bytes: number): void {
    const fn = copyOf(this.fn(index));
    fn.apart = bytes;
    let result: unknown = null;
    try {
      if (fn.expect !== undefined && !fn.handling)
        result = resultAt({ functions: this.functions.with(index, fn) }, index, this.plan);
    } catch (error) {
      this.fail(index, expressionFailure(error));
      return;
    }
    this.succeed(index, attempt, result, bytes);
  }

  #expectationProblem(expect: string, result: unknown): Failure | undefined {
    try {
      const values = this.#values(expect, { result });
      if (this.plan.expressions.evaluateCondition(expect, values)) return undefined;
      const message = `the result is not as expected: ${expect}`;
      return { code: "expectation_failed", name: "ExpectationFailed", message };
    } catch (error) {
      return expressionFailure(error);
    }
  }

  useSignal(name: string, number: number): void {
    this.#signals = { ...this.#signals, [name]: number };
  }

  /** The entry has failed for good: what its `on_error` says is done. */
  fail(index: number, error: Failure): void {
    const fn = this.fn(index);
    const { on_error: onError } = fn;
    if (fn.handling || onError === undefined || onError === "fail") {
      this.setFunction(index, { ...fn, error });
      if (!this.branch(index)) this.setBranch({ index, attempt: NOT_BEGUN, wait: "none", since: this.#now });
      this.failure ??= error;
      this.failedIndex ??= index;
      return;
    }
    const { error: _error, ...rest } = fn;
    if (onError === "continue") {
      this.#end(index, { ...rest, caught: error }, null);
      return;
    }
    const { last_progress: _progress, ...handled } = forgiven(rest); // it is of another function
    this.setFunction(index, { ...handled, caught: error, handling: true });
    this.setBranch({ index, attempt: fn.retry_count + 1, wait: "none", since: this.#now });
  }

  /** One after the other, until nothing more ends at once. */
  #begin(): void {
    if (this.#isBeginning) return;
    this.#isBeginning = true;
    for (let index = this.#ready.shift(); index !== undefined && !this.failure; index = this.#ready.shift()) {
      try {
        this.#enter(index);
      } catch (error) {
        this.fail(index, expressionFailure(error));
      }
    }
    this.#isBeginning = false;
  }

  /** @throws ExpressionError */
  #enter(index: number): void {
    const fn = this.fn(index);
    if (fn.when !== undefined && !this.#evaluateCondition(fn.when)) {
      this.tell({ type: "skipped", ...(fn.id !== undefined && { id: fn.id }), index });
      this.#end(index, { ...fn, skipped: true }, null);
      return;
    }
    this.#start(index);
  }

  /** @throws ExpressionError */
  #start(index: number): void {
    const fn = this.fn(index);
    const attempt = fn.retry_count + 1;
    const since = this.#now;
    switch (kindOf(fn)) {
      case "function":
        if (fn.for_each !== undefined) this.#startItems(index, fn);
        else this.setBranch({ index, attempt, wait: "none", since });
        return;
      case "job":
        if (fn.for_each !== undefined) this.#startItems(index, fn);
        else this.setBranch({ index, attempt, wait: "child", since });
        return;
      case "wait": {
        const until = fn.timeout_ms === undefined ? {} : { due_at: since + fn.timeout_ms };
        this.setBranch({ index, attempt, wait: "signal", since, ...until });
        return;
      }
      case "sleep": {
        const until = this.#wakeTime(fn);
        if (until > this.#now) this.setBranch({ index, attempt, wait: "sleep", since, due_at: until });
        else this.succeed(index, fn.retry_count, null);
      }
    }
  }

  /** Its items begin; or those that have not completed do, where it has run before. @throws ExpressionError */
  #startItems(index: number, fn: FunctionState): void {
    const count = typeof fn.for_each === "object" ? undefined : this.#countItems(fn);
    if (count === 0) {
      this.succeed(index, fn.retry_count, fn.results === "none" ? null : []);
      return;
    }
    const items = nextRun(fn.items, count);
    this.setFunction(index, { ...fn, items });
    this.setBranch({ index, attempt: items.run, wait: "items", since: this.#now });
  }

  /** @throws ExpressionError */
  #countItems({ for_each, slice = 1 }: FunctionState): number {
    if (typeof for_each === "number") return Math.ceil(for_each / slice);
    const text = String(for_each);
    return Math.ceil(itemCount(text, this.plan.expressions.evaluate(text, this.#values(text))) / slice);
  }

  /** What an expression of an entry finds, as far as the step has come. */
  #values(text: string, more?: { result: unknown }): Values {
    return valuesFor(text, { ...this.#job, functions: this.functions }, this.plan, more);
  }

  /** @throws ExpressionError */
  #evaluateCondition(text: string): boolean {
    const values = this.#values(text);
    return this.plan.expressions.evaluateCondition(text, values);
  }

  /** When a sleep ends, ms since 1970. @throws ExpressionError */
  #wakeTime({ sleep_ms, sleep_until }: FunctionState): number {
    if (sleep_ms !== undefined) return this.#now + sleep_ms;
    if (typeof sleep_until === "string") return Date.parse(sleep_until);
    const text = sleep_until?.$ ?? "";
    const values = this.#values(text);
    const value = this.plan.expressions.evaluate(text, values);
    if (typeof value !== "string") {
      throw new ExpressionError(text, `must give a text with a date and time, and gives ${typeName(value)}`);
    }
    const problem = dateProblem(value, this.#now);
    if (problem !== undefined) throw new ExpressionError(text, `gives a date and time that ${problem}`);
    return Date.parse(value);
  }

  /** @param fn a new object: it gets its end */
  #end(index: number, fn: FunctionState, result: unknown): void {
    this.dropBranch(index);
    this.#endedCount += 1;
    fn.finished_at = this.#now;
    fn.result = result;
    fn.rank = this.#endedCount;
    this.setFunction(index, fn);
    const before = this.#lowest;
    while (this.#lowest < this.plan.length && this.#hasEnded(this.#lowest)) this.#lowest += 1;
    const ready = readyAfter(this.plan, index, (one) => this.#hasEnded(one), before, this.#lowest);
    this.#ready.push(...ready);
    this.#begin(); // does nothing where it is at it already
  }

  #hasEnded(index: number): boolean {
    return this.fn(index).finished_at !== undefined;
  }
}

export function attemptRefOf(fn: FunctionState, index: number, attempt: number): AttemptRef {
  const name = callOf(fn).name;
  return { function: name === "" ? null : name, index, attempt, ...(fn.id !== undefined && { id: fn.id }) };
}

/** The branch of items that wait for something else now. */
export function waitOfItems(branch: Branch, wait: NonNullable<ItemsReport["wait"]>, now: number): Branch {
  const { index, attempt, undo } = branch;
  const since = wait.type === branch.wait ? branch.since : now;
  const next: Branch = { index, attempt, wait: wait.type, since, ...(undo && { undo }) };
  if (wait.type === "backoff") next.due_at = wait.due_at;
  else if (wait.type === "worker") next.due_at = now + ROOM_RETRY_MS;
  return next;
}

/** The job as the step leaves it, as long as it has not ended. */
export function stepped(job: LiveJob, step: GraphStep): LiveJob {
  const next = inPhase(job, { state: "running" });
  step.writeInto(next);
  return next;
}

/** Without what is said of attempts that came to nothing. Most have none: to leave it out costs more than all else. */
export function withoutTrials(fn: FunctionState): FunctionState {
  if ((fn.error ?? fn.last_progress ?? fn.tried_at ?? fn.uncertain) === undefined) return fn;
  const { error: _error, last_progress: _progress, tried_at: _triedAt, uncertain: _uncertain, ...rest } = fn;
  return rest;
}
