/** One job of a graph, driven step by step: what the tests of its machine share. */
import * as assert from "uvu/assert";
import { parseSubmission } from "../../src/job/check.ts";
import type { Failure } from "../../src/job/failure.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import type { RetryPatch } from "../../src/job/retry-patch.ts";
import type { FunctionSpec } from "../../src/job/schema.ts";
import {
  type AttemptAddress,
  type Branch,
  functionAt,
  type Graph,
  isGraph,
  type JobState,
} from "../../src/job/state.ts";
import type { ChildOutcome, Event, ItemsReport, Transition } from "../../src/job/transition.ts";
import { BOOM, deepFreeze, NOW, ORIGIN } from "../unit/support.ts";

type FailedMore = { retryable?: boolean; retryAfterMs?: number; error?: Failure; interrupted?: true };

export class Run {
  state: Graph;
  now = NOW;
  last: Transition;
  /** All that was told, in order: the type, and the index where there is one. */
  readonly log: string[] = [];

  constructor(functions: FunctionSpec[], more: object = {}) {
    const document = parseSubmission({ name: "test", functions, ...more }, NOW);
    this.last = createJob(document, ORIGIN, NOW);
    this.state = asGraph(this.last.state);
  }

  on(event: Event): this {
    this.last = reduce(this.state, event, this.now);
    this.state = asGraph(this.last.state);
    for (const { type, ...more } of this.last.events) this.log.push("index" in more ? `${type} ${more.index}` : type);
    return this;
  }

  after(ms: number): this {
    this.now += ms;
    return this;
  }

  done(index: number, result: unknown = null): this {
    return this.on({ type: "succeeded", ...this.attempt(index), result });
  }

  /** Without `retryable: true`, for good. */
  fails(index: number, more: FailedMore = {}): this {
    return this.on({
      ...{ type: "failed", ...this.attempt(index), error: BOOM },
      ...{ retryable: false, random: 0 },
      ...more,
    });
  }

  /** Its timeout passes: it has not answered. */
  timesOut(index: number, more: FailedMore = {}): this {
    return this.fails(index, { error: TIMEOUT, ...more });
  }

  lost(index: number): this {
    return this.on({ type: "lost", ...this.attempt(index) });
  }

  unsent(index: number): this {
    return this.on({ type: "unsent", ...this.attempt(index) });
  }

  due(afterMs = 0): this {
    return this.after(afterMs).on({ type: "due" });
  }

  resume(firedAt?: number): this {
    return this.on({ type: "resumed", ...(firedAt !== undefined && { firedAt }) });
  }

  cancel(undo?: "skip"): this {
    return this.on({ type: "cancelled", ...(undo && { undo }) });
  }

  retry(patch: RetryPatch = {}): this {
    return this.on({ type: "retried", ...patch });
  }

  signal(index: number, number: number, payload: unknown = null): this {
    return this.on({ type: "signalled", index, number, payload });
  }

  childEnds(index: number, outcome: ChildOutcome): this {
    return this.on({ type: "child_ended", ...this.attempt(index), outcome });
  }

  items(index: number, report: Omit<ItemsReport, "items"> & Partial<Pick<ItemsReport, "items">>): this {
    const items = report.items ?? this.fn(index).items;
    assert.ok(items);
    return this.on({
      type: "items",
      ...this.attempt(index),
      report: { ...report, items: items as ItemsReport["items"] },
    });
  }

  /** The address of what is live of an entry. */
  attempt(index: number): AttemptAddress {
    const { attempt = 1, undo } = this.branch(index) ?? {};
    return { index, attempt, ...(undo && { undo }) };
  }

  branch(index: number): Branch | undefined {
    return this.state.live.find((branch) => branch.index === index);
  }

  /** The indexes of what is live. */
  get live(): number[] {
    return this.state.live.map(({ index }) => index);
  }

  /** The same, with what each waits for; `undo` stands before what is undone. */
  get waits(): string[] {
    return this.state.live.map(({ index, wait, undo }) => `${undo ? "undo " : ""}${index} ${wait}`);
  }

  /** What has become of each entry: `done`, `skipped`, …, and of its undo. */
  get undone(): string {
    return this.state.functions
      .map(({ undoing }) => {
        if (!undoing) return "-";
        if (undoing.finished_at !== undefined) return "undone";
        return undoing.given_up ? "failed" : "begun";
      })
      .join(" ");
  }

  fn(index: number) {
    return functionAt(this.state, index);
  }

  get told(): string[] {
    return this.last.events.map(({ type }) => type);
  }

  get code(): string | undefined {
    return this.state.state === "failed" ? this.state.error.code : undefined;
  }
}

export const TIMEOUT: Failure = { code: "attempt_timeout", name: "AttemptTimeout", message: "it took too long" };

export function asGraph(state: JobState): Graph {
  assert.ok(isGraph(state));
  return deepFreeze(state as Graph);
}
