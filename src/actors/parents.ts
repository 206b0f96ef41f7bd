/**
 * What whoever has to do with a child asks and tells its parent. Any supervisor may have either of them.
 *
 * PARENTS-1  The end of a child is stored besides its parent first, and the parent is looked at after that. The owner of the parent does it
 *     the other way round: it commits that it waits for the child, or leaves memory, and looks for the end after that. So one of the two
 *     sees what the other one has written.
 * PARENTS-2  The token of a child goes only after its end is stored there: so whoever dies in between, it is told by the next one.
 * PARENTS-3  An end that the parent does not wait for is taken back: it would lie there for ever.
 * PARENTS-4  A child begins only if its parent waits for it, as it is stored when the child is taken. So one whose submission comes late is
 *     no child of a parent that has given it up; nor can anybody else submit one.
 * PARENTS-5  Who is found not to have the parent any more may have been told of ends, as if it had: so it reminds whoever has it.
 */
import { changedSubject, endedSubject } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import type { ChildEnds } from "../bus/store/child-ends.ts";
import { isUnreadable, type JobStore } from "../bus/store/job-store.ts";
import { loadAny } from "../bus/store/results.ts";
import type { Tokens } from "../bus/tokens/tokens.ts";
import { branchOfChild, type ChildEnd, childEndOf, childFailed, mayBegin } from "../job/children.ts";
import { AsyncError } from "../job/errors.ts";
import { LostValue } from "../job/expression-error.ts";
import { type EndedJob, isEnded, isGraph, type JobState, type LiveJob, type Parent } from "../job/state.ts";
import { Limiter } from "../util/limiter.ts";

/** A parent that is live in this supervisor. */
export interface LocalParent {
  /** As it is stored. */
  readonly job: JobState;
  readonly lease: { readonly valid: boolean; readonly number: number };
  childEnded(childId: string): void;
}

export interface ParentsContext {
  bus: Bus;
  store: JobStore;
  tokens: Tokens;
  ends: ChildEnds;
  /** Undefined if it is not live here. */
  localParent: (jobId: string) => LocalParent | undefined;
}

/** Parents that are read at a time: each may be as large as a message. */
const MAX_READS = 8;

export class Parents {
  readonly #context: ParentsContext;
  readonly #reads = new Limiter(() => MAX_READS);

  constructor(context: ParentsContext) {
    this.#context = context;
  }

  /**
   * Tells the parent of a job, if it has one, of its end. Repeating it changes nothing.
   *
   * @throws AsyncError of the bus, or because the parent is just leaving memory: repeat it
   */
  async tellOfEnd(job: EndedJob): Promise<void> {
    const { parent, job_id: childId } = job;
    if (!parent) return;
    const sequence = await this.#context.ends.put(parent, childId, await this.endOf(job));
    await this.rouse(parent, childId, sequence);
  }

  /** What the end of a job is for its parent, with its result wherever that is stored. @throws AsyncError of the bus */
  async endOf(job: EndedJob): Promise<ChildEnd> {
    const index = job.functions.length - 1;
    const fn = job.functions.at(index);
    if (job.state !== "completed" || fn?.apart === undefined || !isGraph(job)) return childEndOf(job);
    const { store, bus } = this.#context;
    const found = await loadAny(store, job, index, bus.maxPayload);
    if (!(found instanceof LostValue)) return childEndOf(job, found.value);
    const error = { ...childFailed(`of the child job ${job.job_id} ${found.message}`), code: found.code };
    return { ...childEndOf(job, null), outcome: { state: "failed", error } };
  }

  /**
   * The end of a child is stored: tells or wakes its parent.
   *
   * @param sequence of the end
   * @throws AsyncError of the bus, or because the parent is just leaving memory: repeat it
   */
  async rouse(parent: Parent, childId: string, sequence: number): Promise<void> {
    const { bus, ends, localParent } = this.#context;
    const local = localParent(parent.job_id);
    if (local?.lease.valid && local.job.token <= local.lease.number && branchOfChild(local.job, childId, parent)) {
      local.childEnded(childId);
      return; // if it leaves memory it commits that first, and looks after that
    }
    const stored = await this.#read(parent.job_id);
    if (stored === "unknown") return;
    if (!stored || isEnded(stored) || !branchOfChild(stored, childId, parent)) {
      ends.remove(parent.job_id, childId, sequence); // PARENTS-3
      return;
    }
    if (bus.connected) bus.nc.publish(endedSubject(parent.job_id), childId);
    await this.wake(stored, childId, parent);
  }

  /** Wakes the parent, if it rests outside of memory and waits for the child. @throws AsyncError what {@link rouse} does */
  async wake(parent: LiveJob, childId: string, of: Parent): Promise<void> {
    const wait = branchOfChild(parent, childId, of)?.wait;
    // What is at work is in memory, or will be.
    if (parent.token === 0 || (wait !== "child" && wait !== "stopping")) return;
    if ((await this.#context.tokens.wake(parent)) !== "not yet") return;
    throw new AsyncError("jetstream_unavailable", `job ${parent.job_id} is just leaving memory; wake it again`);
  }

  /**
   * PARENTS-5: who has that parent now looks for ends of its children.
   *
   * @throws AsyncError of the bus, or because the parent is just leaving memory: repeat it
   */
  async remind(jobId: string): Promise<void> {
    const { bus, tokens } = this.#context;
    const stored = await this.#read(jobId);
    if (!stored || stored === "unknown" || isEnded(stored)) return;
    if (bus.connected) bus.nc.publish(changedSubject(jobId));
    const rests = stored.live?.some(({ wait }) => wait === "child" || wait === "stopping") ?? false;
    if (stored.token === 0 || !rests || (await tokens.wake(stored)) !== "not yet") return;
    throw new AsyncError("jetstream_unavailable", `job ${jobId} is just leaving memory; wake it again`);
  }

  /** PARENTS-4 @throws AsyncError of the bus */
  async awaits(childId: string, parent: Parent): Promise<boolean> {
    const local = this.#context.localParent(parent.job_id);
    if (local?.lease.valid && mayBegin(local.job, childId, parent)) return true;
    const stored = await this.#read(parent.job_id);
    return stored === "unknown" || (stored !== undefined && mayBegin(stored, childId, parent));
  }

  /** `unknown`: it cannot be read here. @throws AsyncError of the bus */
  async #read(jobId: string): Promise<JobState | "unknown" | undefined> {
    const stored = await this.#reads.run(() => this.#context.store.get(jobId));
    return isUnreadable(stored) ? "unknown" : stored?.state;
  }
}
