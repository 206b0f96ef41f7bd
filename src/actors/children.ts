/**
 * The children of one job, as its actor sees to them: whatever its branches say of a child is made true, and the ends of children become
 * events of the job. What is done to a child, and what is stored of its end, is in `child-jobs.ts`.
 *
 * Example: the commit that gives entry 2 the branch `{wait: "child", attempt: 1}` makes `isDue` true, so that `attend` submits the child. Its
 * end is told (`told`), and is an event of the job; the commit with that has `committed` remove what was stored of the end.
 *
 * FAMILY-1  A child is begun, ended or told to undo itself only after the state that says so is stored. So whoever has the job next does it
 *     again, if it is not known to be done.
 * FAMILY-2  Ends are looked for when the job is taken over, after each commit with which it leaves memory, and when somebody says that
 *     something may have come (PARENTS-1). What is told may get lost: so they are looked for now and then besides.
 * FAMILY-3  An end goes only after a state is stored that does not wait for it any more.
 */
import { branchIn } from "../job/branches.ts";
import {
  type ChildEnd,
  checkedDocument,
  childDocument,
  childIdOf,
  childOrigin,
  isEndFor,
  isOfOneChild,
  outcomeFor,
} from "../job/children.ts";
import type { Plan } from "../job/plan.ts";
import type { ChildDocument } from "../job/schema.ts";
import { type Branch, type Graph, isEnded, isGraph, isSameAttempt } from "../job/state.ts";
import type { Event } from "../job/transition.ts";
import type { ActorContext, GraphHost } from "./actor-context.ts";
import type { Child, ChildJobs, FoundEnd } from "./child-jobs.ts";
import { untilDone } from "./retrying.ts";

/** The child of an item that is to run. */
export interface ItemStart {
  index: number;
  item: number;
  /** The run that is waited for, at least. */
  run: number;
  /** What its document says, with its expressions replaced; its data is `data`. */
  document: ChildDocument;
  data: unknown;
}

/**
 * What those need of it who see to children of items. What throws AsyncError of the bus is to be called again. An id that was asked for is
 * kept until it is forgotten.
 */
export interface ChildrenOfItems {
  /** The id of the child of an entry, or of an item of it. */
  idOf(index: number, item?: number): string;
  /** Has it run, from its beginning or from where it has failed. Returns its end, if it has ended by then. */
  start(start: ItemStart): Promise<"started" | ChildEnd>;
  /** Ends it. @param run that is waited for, if it was not started here */
  cancel(childId: string, skipUndo: boolean, run?: number): Promise<void>;
  /** Has it undo itself, as it has completed in the run before that one. */
  undo(childId: string, run: number, skipUndo: boolean): Promise<void>;
  /** Tells of its ends from now on: of each that is told of or found, maybe more than once. */
  expect(childId: string, listener: (end: ChildEnd) => void): void;
  forget(childId: string): void;
  /** The job has stored what follows from its end: that may go. */
  settled(childId: string): void;
}

/** How often it is looked for ends of which nobody has told. */
const LOOK_MS = 30_000;
/** How often it is tried to remind a new owner. */
const MAX_REMINDERS = 5;

/** An end that the job has been told of. */
interface Told {
  branch: Branch;
  child: Child;
  /** Of what is stored of it, if anything is. */
  sequence: number | undefined;
}

/** The child of an item that somebody sees to. */
interface ItemChild {
  child: Child;
  run: number;
  listener?: (end: ChildEnd) => void;
  /** Of what is stored of its newest end. */
  sequence?: number;
}

export class Children implements ChildrenOfItems {
  readonly #context: ActorContext;
  readonly #jobs: ChildJobs;
  readonly #host: GraphHost;
  readonly #plan: Plan;
  /** Branches that somebody else may have seen to before. */
  readonly #inherited: ReadonlySet<Branch>;
  /** By index: for what was seen to, see `taskOf`. */
  readonly #attended = new Map<number, string>();
  /** Tasks that were begun once: whether they have been done is not known. */
  readonly #tried = new Set<string>();
  /** The token under which it was looked for ends. */
  #lookedFor: number | undefined;
  /** What has been found since it was looked, or seen to children, with success. */
  #found: Event[] = [];
  /** By the id of the child. */
  readonly #told = new Map<string, Told>();
  readonly #items = new Map<string, ItemChild>();
  #look: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(context: ActorContext, host: GraphHost, plan: Plan) {
    this.#context = context;
    this.#jobs = context.childJobs;
    this.#host = host;
    this.#plan = plan;
    const { job } = host;
    this.#inherited = new Set(isGraph(job) ? job.live : []);
  }

  /** Something may have come that nobody has told. */
  doubt(): void {
    this.#lookedFor = undefined;
    this.#attended.clear();
  }

  /** Whether something about them has to be made true, or looked for, before the job goes on from this state. */
  isDue(job: Graph): boolean {
    let isAny = this.#items.size > 0;
    for (const branch of job.live) {
      if (!isOfOneChild(job, branch)) continue;
      isAny = true;
      if (this.#attended.get(branch.index) !== taskOf(job, branch)) return true;
    }
    return isAny && this.#lookedFor !== job.token;
  }

  /** Does that. Returns what has come. @throws AsyncError of the bus: it is tried again. MissingValue */
  async attend(job: Graph): Promise<Event[]> {
    const isLook = this.#lookedFor !== job.token;
    this.#lookedFor = job.token; // first: what is said while it looks is a doubt about that look
    const work: Promise<void>[] = [];
    for (const branch of job.live) {
      if (isOfOneChild(job, branch)) work.push(this.#attendTo(job, branch, isLook));
    }
    if (isLook) for (const { child } of this.#items.values()) work.push(this.#lookForItem(child));
    try {
      await Promise.all(work);
    } catch (error) {
      await Promise.allSettled(work); // what they find meanwhile is returned next time
      this.#lookedFor = undefined;
      throw error;
    }
    this.#watch();
    const found = this.#found;
    this.#found = [];
    return found;
  }

  async #attendTo(job: Graph, branch: Branch, isLook: boolean): Promise<void> {
    const { index } = branch;
    const task = taskOf(job, branch);
    const child = this.#childOf(job, index);
    let end: FoundEnd | undefined;
    if (this.#attended.get(index) !== task) {
      end = await this.#see(job, branch, child, `${index}:${task}`);
      this.#attended.set(index, task);
    } else if (isLook) {
      const stored = await this.#jobs.read(child);
      if (stored && isEndFor(branch, stored.end)) end = stored;
    }
    if (end) this.#found.push(this.#eventOf(branch, child, end));
  }

  /** Makes true what the branch says. */
  #see(job: Graph, branch: Branch, child: Child, task: string): Promise<FoundEnd | undefined> {
    const { index, attempt, wait, undo } = branch;
    const skipUndo = job.outcome?.skip === true;
    if (wait === "stopping") return this.#jobs.stop(child, attempt, skipUndo);
    if (undo) return this.#jobs.undo(child, attempt, skipUndo);
    const isFresh = attempt === 1 && !this.#inherited.has(branch) && !this.#tried.has(task);
    this.#tried.add(task);
    return this.#jobs.start(child, {
      run: attempt,
      isFresh,
      ...(job.retried_at !== undefined && { since: job.retried_at }),
      document: () => childDocument(job, index, this.#plan, Date.now()),
    });
  }

  #eventOf(branch: Branch, child: Child, { end, sequence }: FoundEnd): Event {
    const { index, attempt, undo } = branch;
    this.#told.set(child.id, { branch, child, sequence });
    const outcome = outcomeFor(branch, end);
    return { type: "child_ended", index, attempt, ...(undo && { undo }), outcome };
  }

  #childOf(job: Graph, index: number, item?: number): Child {
    const origin = childOrigin(job, index, item);
    return { id: childIdOf(origin), origin, encoding: job.encoding };
  }

  // --- ends

  /** The child with that id has ended, as somebody says. */
  told(childId: string): void {
    const child = this.#items.get(childId)?.child ?? this.#waitedFor(childId);
    if (child) this.#hear(child);
  }

  #waitedFor(childId: string): Child | undefined {
    const { job } = this.#host;
    if (isEnded(job) || !isGraph(job)) return undefined;
    for (const branch of job.live) {
      if (!isOfOneChild(job, branch)) continue;
      const child = this.#childOf(job, branch.index);
      if (child.id === childId) return child;
    }
    return undefined;
  }

  #hear(child: Child): void {
    const { bus } = this.#context;
    const isOver = () => this.#isClosed || this.#host.isGone;
    const onTrouble = (error: unknown, over: () => boolean) =>
      this.#host.onTrouble("cannot look for the end of a child", error, over);
    untilDone(bus, isOver, onTrouble, () =>
      this.#items.has(child.id) ? this.#lookForItem(child) : this.#lookForOne(child),
    ).catch((error) => this.#host.onFault(error));
  }

  async #lookForOne(child: Child): Promise<void> {
    const stored = await this.#jobs.read(child);
    const { job } = this.#host;
    if (!stored || this.#isClosed || isEnded(job) || !isGraph(job)) return;
    const branch = branchIn(job.live, child.origin.index);
    if (
      branch &&
      isOfOneChild(job, branch) &&
      this.#childOf(job, branch.index).id === child.id &&
      isEndFor(branch, stored.end)
    )
      this.#host.post(this.#eventOf(branch, child, stored));
    else this.#jobs.settle(child, stored.sequence); // it came when the job had heard of it already
  }

  async #lookForItem({ id }: Child): Promise<void> {
    const item = this.#items.get(id);
    const stored = item && (await this.#jobs.read(item.child));
    if (stored && this.#items.get(id) === item) this.#tell(item, stored);
  }

  #tell(item: ItemChild, { end, sequence }: FoundEnd): void {
    if (sequence !== undefined) item.sequence = sequence;
    if (!this.#isClosed) item.listener?.(end);
  }

  /** What is stored of ends that the job has dealt with goes; called after each commit, also that of its end. FAMILY-3 */
  committed(job: Graph): void {
    for (const [id, { branch, child, sequence }] of this.#told) {
      // A job that has ended keeps what was live, for a retry.
      const one = isEnded(job) ? undefined : branchIn(job.live, branch.index);
      if (one && isSameAttempt(one, branch)) continue;
      this.#told.delete(id);
      if (sequence !== undefined) this.#jobs.settle(child, sequence);
    }
    if (this.#attended.size === 0) return;
    for (const index of this.#attended.keys()) {
      if (!branchIn(job.live, index)) this.#attended.delete(index);
    }
  }

  /** FAMILY-2: as long as there is something to look for. */
  #watch(): void {
    if (this.#look || this.#isClosed) return;
    this.#look = setTimeout(() => {
      this.#look = undefined;
      const { job } = this.#host;
      if (isEnded(job) || !isGraph(job)) return;
      const waitedFor = job.live.filter((branch) => isOfOneChild(job, branch));
      // When the bus is back all is looked for anyway.
      if (this.#context.bus.connected) {
        for (const { index } of waitedFor) this.#hear(this.#childOf(job, index));
        for (const { child } of this.#items.values()) this.#hear(child);
      }
      if (waitedFor.length + this.#items.size > 0) this.#watch();
    }, LOOK_MS);
  }

  // --- of items

  idOf(index: number, item?: number): string {
    const child = this.#ofItem(index, item);
    if (item !== undefined && !this.#items.has(child.id)) this.#items.set(child.id, { child, run: 1 });
    return child.id;
  }

  async start({ index, item, run, document, data }: ItemStart): Promise<"started" | ChildEnd> {
    const { job } = this.#host;
    const one = this.#itemOf(this.idOf(index, item));
    one.run = run;
    const found = await this.#jobs.start(one.child, {
      run,
      isFresh: false,
      ...(job.retried_at !== undefined && { since: job.retried_at }),
      document: () => checkedDocument(job, index, document, data, Date.now()),
    });
    if (!found) return "started";
    if (found.sequence !== undefined) one.sequence = found.sequence;
    return found.end;
  }

  async cancel(childId: string, skipUndo: boolean, run?: number): Promise<void> {
    const item = this.#itemOf(childId);
    const found = await this.#jobs.stop(item.child, run ?? item.run, skipUndo);
    if (found) this.#tell(item, found);
  }

  async undo(childId: string, run: number, skipUndo: boolean): Promise<void> {
    const item = this.#itemOf(childId);
    const found = await this.#jobs.undo(item.child, run, skipUndo);
    if (found) this.#tell(item, found);
  }

  expect(childId: string, listener: (end: ChildEnd) => void): void {
    this.#itemOf(childId).listener = listener;
    this.#watch();
  }

  forget(childId: string): void {
    this.#items.delete(childId);
  }

  settled(childId: string): void {
    const item = this.#items.get(childId);
    if (item?.sequence === undefined) return;
    this.#jobs.settle(item.child, item.sequence);
    delete item.sequence;
  }

  #itemOf(childId: string): ItemChild {
    const item = this.#items.get(childId);
    if (!item) throw new TypeError(`child ${childId} is of no item that was asked for`);
    return item;
  }

  #ofItem(index: number, item?: number): Child {
    const { job } = this.#host;
    if (!isGraph(job)) throw new TypeError(`job ${job.job_id} is no graph: it has no children`);
    return this.#childOf(job, index, item);
  }

  /** PARENTS-5. After some tries it is left to the looks of the new owner, and to the sweep. */
  superseded(): void {
    const { bus, parents } = this.#context;
    const { jobId } = this.#host;
    let tries = 0;
    const onTrouble = (error: unknown, over: () => boolean) =>
      this.#host.onTrouble("cannot remind the new owner of a parent", error, over);
    untilDone(
      bus,
      () => tries >= MAX_REMINDERS,
      onTrouble,
      () => {
        tries += 1;
        return parents.remind(jobId);
      },
    ).catch((error) => this.#host.onFault(error));
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#look);
    this.#items.clear();
  }
}

/** What is to be made true about the child of a branch: if that changes, it is seen to again. */
function taskOf(job: Graph, { attempt, wait, undo }: Branch): string {
  const skips = (wait === "stopping" || undo) && job.outcome?.skip === true;
  return `${attempt}:${wait}${undo ? ":undo" : ""}${skips ? ":skip" : ""}`;
}
