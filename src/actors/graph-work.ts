/**
 * What the actor of a graph sees to besides attempts of its entries: signals, children, items, results that are stored besides the job,
 * and attempts that are to stop. Chains have none of it.
 *
 * What is said here follows from the state that is stored, as all that an actor does: `isDue` and `look` before the job goes on from a
 * state, `tend` after each commit.
 */
import { branchIn } from "../job/branches.ts";
import { kindOf } from "../job/function-state.ts";
import { type Plan, planOf } from "../job/plan.ts";
import {
  type AttemptAddress,
  type Branch,
  functionAt,
  type Graph,
  isEnded,
  isGraph,
  isSameAttempt,
} from "../job/state.ts";
import type { Event } from "../job/transition.ts";
import type { ActorContext, GraphHost } from "./actor-context.ts";
import { Children } from "./children.ts";
import type { Commits } from "./commits.ts";
import type { Footprint } from "./footprint.ts";
import { Items } from "./items.ts";
import type { ReleaseReason } from "./lifecycle.ts";
import { SignalWatch } from "./signal-watch.ts";
import { StoredResults } from "./stored-results.ts";

export class GraphWork {
  readonly plan: Plan;
  readonly results: StoredResults;
  readonly #host: GraphHost;
  readonly #signals: SignalWatch;
  /** Most graphs have no children, and no items. */
  readonly #children: Children | undefined;
  readonly #items: Items | undefined;
  /** Branches whose attempt was told to stop; made when the job undoes. */
  #stopped: Set<Branch> | undefined;

  constructor(context: ActorContext, host: GraphHost, job: Graph, commits: Commits, footprint: Footprint) {
    this.#host = host;
    this.plan = planOf(job.functions);
    this.results = new StoredResults(context, { host, commits, footprint }, this.plan, job);
    this.#signals = new SignalWatch(context.signals);
    let hasChildren = false;
    const withItems: number[] = [];
    for (let index = 0; index < job.functions.length; index++) {
      const fn = functionAt(job, index);
      hasChildren ||= kindOf(fn) === "job";
      if (fn.for_each !== undefined) withItems.push(index);
    }
    if (hasChildren) this.#children = new Children(context, host, this.plan);
    if (withItems.length > 0)
      this.#items = new Items(context, host, this.plan, withItems, this.#children, this.results);
  }

  /** Something may have come that nobody has told. */
  doubt(): void {
    this.#signals.doubt();
    this.#children?.doubt();
  }

  /** Whether it has to be looked at the outside before the job goes on from this state. */
  isDue(job: Graph): boolean {
    return this.#signals.isDue(job) || (this.#children?.isDue(job) ?? false);
  }

  /** Whether one of the events is about to make an entry give up that waits for a signal. */
  isLastCall(job: Graph, events: readonly Event[], now: number): boolean {
    return this.#signals.isLastCall(job, events, now);
  }

  /** Makes true what the state says of the outside, however long the bus is away. Returns what has come. */
  async look(job: Graph): Promise<Event[]> {
    let found: Event[] = [];
    await this.#host.insist("cannot look for signals and children", async () => {
      const signals = await this.#signals.look(job);
      const children = this.#children?.isDue(job) ? this.#children : undefined;
      const ends = children ? await this.results.withLoaded(job, () => children.attend(job)) : [];
      found = ends.length === 0 ? signals : [...signals, ...ends];
    });
    return found;
  }

  /** A child of the job has ended, as somebody says. */
  childEnded(childId: string): void {
    this.#children?.told(childId);
  }

  get inFlight(): boolean {
    return this.#items?.inFlight ?? false;
  }

  /** Attempts of items were not sent, as the lease had run out: `tend` sends them if that has changed. */
  get heldBack(): boolean {
    return this.#items?.heldBack ?? false;
  }

  /** To be called when a state is stored, and before anything is begun that follows from it. */
  tend(job: Graph): void {
    this.#children?.committed(job);
    this.#items?.tend(job);
    if (job.state === "undoing") this.#stop(job);
  }

  /** What runs is told to stop: it is waited for the answers of those whose branch says so, and for no other. */
  #stop(job: Graph): void {
    const { attempts } = this.#host;
    const { live } = job;
    attempts.cancelIf((attempt) => !isOf(attempt, branchIn(live, attempt.index)));
    this.#stopped ??= new Set();
    for (const branch of live) {
      if (branch.wait !== "stopping" || branch.due_at === undefined || this.#stopped.has(branch)) continue;
      this.#stopped.add(branch);
      if (attempts.askToStop(branch)) continue;
      // It was in line: nobody has got it.
      attempts.cancelIf((attempt) => isSameAttempt(attempt, branch));
      this.#tellUnsent(branch);
    }
  }

  /**
   * Whether an attempt that is about to be sent is to stop: its worker has refused it since it was told to. Then it is not sent to another
   * one, and nobody has got it.
   */
  withhold(address: AttemptAddress): boolean {
    const { attempts, job } = this.#host;
    if (isEnded(job) || !isGraph(job) || job.state !== "undoing") return false;
    const branch = branchIn(job.live, address.index);
    if (branch?.wait !== "stopping" || !isSameAttempt(branch, address)) return false;
    attempts.delete(address);
    this.#tellUnsent(branch);
    return true;
  }

  #tellUnsent({ index, attempt }: Branch): void {
    this.#host.post({ type: "unsent", index, attempt });
  }

  drain(): void {
    this.#items?.drain();
  }

  /** The job has ended. */
  async ended(job: Graph): Promise<void> {
    this.#children?.committed(job);
    await this.#signals.close(job);
    await this.results.ended(job);
  }

  close(why: ReleaseReason): void {
    if (why === "superseded") this.#children?.superseded();
    this.#items?.close();
    this.#children?.close();
  }
}

function isOf(attempt: AttemptAddress, branch: Branch | undefined): boolean {
  return branch !== undefined && isSameAttempt(attempt, branch);
}
