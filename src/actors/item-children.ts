/**
 * The children of the items of one entry that are under way: each is begun, or told to undo itself, and its end is the item's. It keeps to what
 * `item-attempts.ts` says of a crew, but for the attempts: a child has retries of its own.
 *
 * KIDS-1  That a child begins is stored in the part of its item before it does: so whoever has the job next knows of it, and can end it.
 * KIDS-2  What is stored of its end goes only after the item has ended in its part.
 * KIDS-3  Who does not want the rest to be undone is heard by those, too, that undo what they have done: all are told once more then.
 * KIDS-4  A child that is being begun is told to end when that is done: else it could be submitted after it was found that there is none.
 */
import type { Bus } from "../bus/connection.ts";
import type { ChildEnd } from "../job/children.ts";
import { isAsyncError } from "../job/errors.ts";
import { ExpressionError, expressionFailure } from "../job/expressions.ts";
import type { Failure } from "../job/failure.ts";
import type { FunctionState } from "../job/function-state.ts";
import { argsOf } from "../job/input.ts";
import { isRecord } from "../job/plain.ts";
import type { Plan } from "../job/plan.ts";
import type { ChildDocument } from "../job/schema.ts";
import { functionAt, type Graph, isGraph } from "../job/state.ts";
import { expressionOf } from "../job/templates.ts";
import { type More, valuesFor } from "../job/values.ts";
import type { GraphHost } from "./actor-context.ts";
import type { ChildrenOfItems } from "./children.ts";
import type { Page } from "./item-book.ts";
import type { ItemInputs } from "./item-inputs.ts";
import type { Crew, CrewWait, ItemsOwner } from "./item-work.ts";
import { untilDone } from "./retrying.ts";

/** After so long the entry is said to wait for its children. */
const SHORT_MS = 1_000;

/** What the children of items are made with. */
interface Given {
  host: GraphHost;
  plan: Plan;
  children: ChildrenOfItems;
  inputs: ItemInputs;
  index: number;
  undo: true | undefined;
  bus: Bus;
}

interface Kid {
  readonly item: number;
  /** Of the child. */
  readonly id: string;
  readonly fn: FunctionState;
  /** The run of the child that is waited for. */
  readonly run: number;
  wait: "beginning" | "held" | "started" | "stopping" | "told to stop";
  /** It is being begun, or told to undo itself, right now. */
  isBusy: boolean;
}

export class ItemChildren implements Crew {
  readonly #given: Given;
  readonly #owner: ItemsOwner;
  readonly #kids = new Map<number, Kid>();
  /** When it was begun last, or one has ended. Monotonic ms. */
  #changedAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #mode: "on" | "paused" | "stopping" | "draining" | "closed" = "on";
  /** What those under way have been told of. */
  #isUndoSkipped = false;

  constructor(given: Given, owner: ItemsOwner) {
    this.#given = given;
    this.#owner = owner;
  }

  get size(): number {
    return this.#kids.size;
  }

  /** Children live without us. */
  get inFlight(): boolean {
    return false;
  }

  get heldBack(): boolean {
    for (const { wait } of this.#kids.values()) if (wait === "held") return true;
    return false;
  }

  has(item: number): boolean {
    return this.#kids.has(item);
  }

  begin(item: number, fn: FunctionState): void {
    const page = this.#owner.pageOf(item);
    if (!page) return;
    const offset = item - page.part.first;
    const trial = page.part.trials.get(offset);
    // A child that has completed at once is in its first run, of which nothing is kept.
    const before = this.#given.undo ? (trial?.retry_count ?? 0) || 1 : (trial?.retry_count ?? 0);
    const run = trial?.begun ? before : before + 1;
    const id = this.#given.children.idOf(this.#given.index, item);
    const kid: Kid = { item, id, fn, run, wait: "beginning", isBusy: false };
    this.#kids.set(item, kid);
    this.#changed();
    if (!trial?.begun) {
      page.part.setTried(offset, { ...trial, retry_count: run, begun: true });
      this.#owner.book.touch(page);
    }
    this.#owner.book
      .whenWritten(page) // KIDS-1
      .then(() => this.#see(kid))
      .catch((error) => this.#given.host.onFault(error));
  }

  async #see(kid: Kid): Promise<void> {
    if (this.#kids.get(kid.item) !== kid || isToStop(kid)) return;
    if (!this.#given.host.lease.valid || this.#mode !== "on") {
      kid.wait = "held";
      return;
    }
    const { children, undo } = this.#given;
    children.expect(kid.id, (end) => this.#onEnd(kid, end));
    kid.isBusy = true;
    const end = await this.#insist(kid, "cannot see to a child", async () => {
      if (!undo) return this.#start(kid);
      await this.#untilSkipIsTold((skip) => children.undo(kid.id, kid.run, skip));
      return undefined;
    });
    kid.isBusy = false;
    if (this.#kids.get(kid.item) !== kid) return;
    if (!end && isToStop(kid)) return this.#cancel(kid); // KIDS-4
    if (kid.wait === "beginning") kid.wait = "started";
    this.#changed();
    if (end) this.#onEnd(kid, end);
    else this.#owner.onChange();
  }

  /** Begins it. Returns its end, if it has ended by then. */
  async #start(kid: Kid): Promise<ChildEnd | undefined> {
    const { item, run, fn } = kid;
    const page = this.#owner.pageOf(item);
    if (!page) return undefined;
    const { inputs, index, children } = this.#given;
    const job = this.#job;
    const more = await inputs.moreOf(page.part, item);
    let made: { document: ChildDocument; data: unknown };
    try {
      made = await inputs.withLoaded(job, () => this.#documentOf(job, more));
    } catch (error) {
      if (isAsyncError(error)) throw error;
      const failure = expressionFailure(error);
      if (this.#kids.get(item) !== kid) return undefined;
      this.#fail(item, fn, run, failure);
      this.#settle(kid);
      this.#owner.onChange();
      return undefined;
    }
    if (this.#kids.get(item) !== kid || isToStop(kid)) return undefined;
    const started = await children.start({ index, item, run, ...made });
    return started === "started" ? undefined : started;
  }

  /** As the job has it, or as it is found. Of the former only the data is looked at here. @throws ExpressionError */
  #documentOf(job: Graph, more: More): { document: ChildDocument; data: unknown } {
    const { plan, index } = this.#given;
    const { job: given } = functionAt(job, index);
    const text = expressionOf(given);
    if (text === undefined) {
      const { data } = given as ChildDocument;
      const filled = data === undefined ? more.item : argsOf(data, job, plan, more);
      return { document: given as ChildDocument, data: filled };
    }
    const made = plan.expressions.evaluate(text, valuesFor(text, job, plan, more));
    if (!isRecord(made)) throw new ExpressionError(text, "must give the document of a job");
    return { document: made as unknown as ChildDocument, data: made.data === undefined ? more.item : made.data };
  }

  #onEnd(kid: Kid, end: ChildEnd): void {
    if (this.#kids.get(kid.item) !== kid || this.#mode === "closed") return;
    const { item, fn, run } = kid;
    const { outcome } = end;
    const isUndone = end.undone === true || outcome.state !== "completed";
    if (this.#given.undo ? !isUndone : end.run < run) return; // of a run before
    this.#drop(item);
    if (this.#given.undo) {
      const problem = undoProblem(end);
      if (problem) this.#fail(item, fn, run, problem);
      else this.#owner.onDone(item, run, null);
    } else if (outcome.state === "completed") this.#owner.onDone(item, end.run, outcome.result);
    else this.#fail(item, fn, end.run, outcome.error);
    this.#settle(kid);
    this.#owner.onChange();
  }

  #fail(item: number, fn: FunctionState, run: number, error: Failure): void {
    this.#drop(item);
    const failures = (fn.failures ?? 0) + 1;
    this.#owner.onFailed(item, { fn: { ...fn, retry_count: run, failures, error }, error, retryAt: undefined });
  }

  /** KIDS-2 */
  #settle({ item, id }: Kid): void {
    const page = this.#owner.pageOf(item);
    const { children, host } = this.#given;
    if (!page) return;
    this.#owner.book
      .whenWritten(page)
      .then(() => {
        children.settled(id);
        if (!this.#kids.has(item)) children.forget(id);
      })
      .catch((error) => host.onFault(error));
  }

  #drop(item: number): void {
    this.#kids.delete(item);
    this.#changed();
  }

  cancel(item: number): void {
    const kid = this.#kids.get(item);
    if (!kid) return;
    this.#drop(item);
    this.#given.children.forget(kid.id);
  }

  waitOf(): CrewWait {
    for (const { wait } of this.#kids.values()) if (wait !== "started" && wait !== "told to stop") return undefined;
    if (performance.now() - this.#changedAt >= SHORT_MS) return { type: "child" };
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#owner.onChange();
    }, SHORT_MS);
    return undefined;
  }

  #changed(): void {
    this.#changedAt = performance.now();
  }

  pause(): void {
    if (this.#mode === "on") this.#mode = "paused";
  }

  release(): void {
    if (this.#mode === "paused") this.#mode = "on";
    for (const kid of this.#kids.values()) {
      if (kid.wait !== "held") continue;
      kid.wait = "beginning";
      this.#see(kid).catch((error) => this.#given.host.onFault(error));
    }
  }

  /** All end before the entry is said to have stopped: their own undo is a part of that. */
  stop(): void {
    if (this.#mode === "closed") return;
    this.#mode = "stopping";
    for (const kid of this.#kids.values()) {
      if (isToStop(kid)) continue;
      kid.wait = "stopping";
      if (!kid.isBusy) this.#cancel(kid).catch((error) => this.#given.host.onFault(error));
    }
    this.#owner.onChange();
  }

  /** KIDS-3 */
  skipUndo(): void {
    if (this.#isUndoSkipped || this.#mode === "closed") return;
    this.#isUndoSkipped = true;
    for (const kid of this.#kids.values()) {
      // All others are told by who is at it.
      if (kid.wait === "told to stop") kid.wait = "stopping";
      else if (kid.wait === "started" && this.#given.undo) kid.wait = "beginning";
      else continue;
      const told = kid.wait === "stopping" ? this.#cancel(kid) : this.#see(kid);
      told.catch((error) => this.#given.host.onFault(error));
    }
  }

  /** That nothing more is to be undone may be said while it is asked for. */
  async #untilSkipIsTold(call: (skip: boolean) => Promise<void>): Promise<void> {
    for (let skip: boolean | undefined; skip !== this.#skipsUndo; ) {
      skip = this.#skipsUndo;
      await call(skip);
    }
  }

  async #cancel(kid: Kid): Promise<void> {
    const { children } = this.#given;
    children.expect(kid.id, (end) => this.#onEnd(kid, end));
    await this.#insist(kid, "cannot cancel a child", async () => {
      await this.#untilSkipIsTold((skip) => children.cancel(kid.id, skip, kid.run));
      return undefined;
    });
    if (this.#kids.get(kid.item) !== kid) return;
    kid.wait = "told to stop";
    this.#changed();
    this.#owner.onChange();
  }

  async #insist(kid: Kid, what: string, call: () => Promise<ChildEnd | undefined>): Promise<ChildEnd | undefined> {
    const { bus, host } = this.#given;
    let end: ChildEnd | undefined;
    await untilDone(
      bus,
      () => this.#mode === "closed" || host.isGone || this.#kids.get(kid.item) !== kid,
      (error, isOver) => host.onTrouble(what, error, isOver),
      async () => {
        end = await call();
      },
    );
    return end;
  }

  get #skipsUndo(): boolean {
    return this.#given.host.job.outcome?.skip === true;
  }

  get #job(): Graph {
    const { job } = this.#given.host;
    if (!isGraph(job)) throw new TypeError(`job ${job.job_id} is no graph: it has no children`);
    return job;
  }

  drain(): void {
    if (this.#mode === "on" || this.#mode === "paused") this.#mode = "draining";
  }

  close(): void {
    this.#mode = "closed";
    clearTimeout(this.#timer);
    for (const { id } of this.#kids.values()) this.#given.children.forget(id);
    this.#kids.clear();
  }
}

/** Children that were begun under another owner are to be ended as well. */
export function adoptChildren(pages: Iterable<Page>, crew: Crew, base: FunctionState): void {
  for (const { part } of pages) {
    for (const [offset, { begun }] of part.trials) {
      const item = part.first + offset;
      if (begun && part.isOpen(offset) && !crew.has(item)) crew.begin(item, base);
    }
  }
}

function isToStop({ wait }: Kid): boolean {
  return wait === "stopping" || wait === "told to stop";
}

/** Why a child was not undone; undefined if it was. */
function undoProblem({ outcome, undo }: ChildEnd): Failure | undefined {
  const summary = undo ?? (outcome.state === "completed" ? outcome.undo : undefined);
  if (outcome.state === "completed" && (summary === undefined || summary.state === "done")) return undefined;
  const why =
    outcome.state === "completed"
      ? `${summary?.failed ?? 0} of its entries could not be undone`
      : outcome.error.message;
  return { code: "child_failed", name: "ChildFailed", message: `the child job was not undone: ${why}` };
}
