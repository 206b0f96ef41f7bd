/** The items of the entries of one job that have a `for_each`: who sees to them, for each entry whose branch says that they are at it. */
import { ItemStore } from "../bus/store/item-store.ts";
import { branchIn } from "../job/branches.ts";
import { hasItems, kindOf } from "../job/function-state.ts";
import type { Plan } from "../job/plan.ts";
import { type Branch, functionAt, type Graph } from "../job/state.ts";
import type { ActorContext, GraphHost } from "./actor-context.ts";
import type { ChildrenOfItems } from "./children.ts";
import { ItemAttempts } from "./item-attempts.ts";
import { ItemChildren } from "./item-children.ts";
import { ItemInputs, type ResultLoader } from "./item-inputs.ts";
import { ItemRunner } from "./item-runner.ts";
import { ItemUndo } from "./item-undo.ts";
import type { ItemsAtWork, ItemsOfEntry } from "./item-work.ts";

/** The items of one entry, at it. */
interface AtWork {
  /** Of the branch. */
  attempt: number;
  undo: true | undefined;
  items: ItemsAtWork;
}

export class Items {
  readonly #context: ActorContext;
  readonly #host: GraphHost;
  readonly #plan: Plan;
  readonly #children: ChildrenOfItems | undefined;
  readonly #loader: ResultLoader;
  readonly #indexes: readonly number[];
  readonly #atWork = new Map<number, AtWork>();
  #isDraining = false;

  /**
   * @param indexes of the entries that have items
   * @param children those of the job, if any of its entries has some
   */
  constructor(
    context: ActorContext,
    host: GraphHost,
    plan: Plan,
    indexes: readonly number[],
    children: ChildrenOfItems | undefined,
    loader: ResultLoader,
  ) {
    this.#context = context;
    this.#host = host;
    this.#plan = plan;
    this.#indexes = indexes;
    this.#children = children;
    this.#loader = loader;
  }

  /** To be called after each commit: makes a runner where one is to be, has one stop where it is to, and drops others. */
  tend(job: Graph): void {
    for (const index of this.#indexes) this.#tendTo(job, index);
  }

  #tendTo(job: Graph, index: number): void {
    const branch = branchIn(job.live, index);
    const known = this.#atWork.get(index);
    const isWanted = branch !== undefined && hasItemsAt(job, branch);
    if (known && isWanted && known.attempt === branch.attempt && known.undo === branch.undo) {
      known.items.tend(job, branch);
      return;
    }
    if (known) {
      this.#atWork.delete(index);
      known.items.close();
    }
    if (!isWanted || !isAtWork(branch) || this.#isDraining) return;
    const { attempt, undo } = branch;
    const given = this.#entryOf(job, index, undo);
    const items = undo ? new ItemUndo(given, job, branch) : new ItemRunner(given, this.#plan, job, branch);
    this.#atWork.set(index, { attempt, undo, items });
    items.tend(job, branch);
  }

  #entryOf(job: Graph, index: number, undo: true | undefined): ItemsOfEntry {
    const [context, host, plan, children] = [this.#context, this.#host, this.#plan, this.#children];
    const fn = functionAt(job, index);
    const store = new ItemStore(context.store, job, index, fn);
    const isOfChildren = kindOf(fn) === "job" && !(undo && fn.undo !== undefined);
    const inputs = new ItemInputs(plan, store, this.#loader, index, host, context.evaluations);
    return {
      context,
      host,
      index,
      store,
      inputs,
      crewFor: (owner) =>
        isOfChildren && children
          ? new ItemChildren({ host, plan, children, inputs, index, undo, bus: context.bus }, owner)
          : new ItemAttempts(context, host, plan, { index, undo }, owner),
    };
  }

  /** Some of it is in flight. */
  get inFlight(): boolean {
    for (const { items } of this.#atWork.values()) if (items.inFlight) return true;
    return false;
  }

  /** Attempts were not sent, as the lease had run out: `tend` sends them if that has changed. */
  get heldBack(): boolean {
    for (const { items } of this.#atWork.values()) if (items.heldBack) return true;
    return false;
  }

  /** Nothing more begins. */
  drain(): void {
    this.#isDraining = true;
    for (const { items } of this.#atWork.values()) items.drain();
  }

  close(): void {
    for (const { items } of this.#atWork.values()) items.close();
    this.#atWork.clear();
  }
}

/** Whether the branch is one of items, and not of a function in the place of the entry. */
function hasItemsAt(job: Graph, { index, undo }: Branch): boolean {
  const fn = job.functions.at(index); // there is none of what is called once the job has failed
  return fn !== undefined && (undo ? fn.items !== undefined : hasItems(fn));
}

/** Whether somebody has to see to them, or is told when they go on. */
function isAtWork({ wait }: Branch): boolean {
  return wait === "items" || wait === "child" || wait === "stopping";
}
