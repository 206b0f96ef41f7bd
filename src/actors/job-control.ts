/**
 * What people do to jobs by hand: cancel, retry. Any supervisor can do it to any job, its own or another's, because it is
 * a compare-and-set of the state like any other; the actor that has the job hears of it, or finds out when it writes.
 *
 * CONTROL-1  A cancelled job is settled (its end recorded, its token released) by whoever holds its token. What is done here
 *     besides the commit only makes that quicker, and may fail.
 * CONTROL-2  A retry makes the job's next token before the state that needs it: a timer that gives the commit time. If that
 *     comes too late, whoever gets the wake uses the token up (ARRIVALS-5), and the commit fails.
 * CONTROL-3  The end that a retry undoes is recorded before: its actor may not have come to it yet.
 * CONTROL-4  Each change is signed with a name of its own, after that of the actor that wrote the job last: an actor must not take it for
 *     its own write, and has to see that no other one has had the job since.
 * CONTROL-5  Anyone may ask for any job, as often as he likes, and each may be as large as a message. So what is read at a time for who
 *     asks is well below what makes a server drop our connection (64 MiB on their way), and who has waited for too long is refused
 *     unread: he has given up.
 */

import { changedSubject, eventSubject, submitSubject } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { readEvent } from "../bus/messages/events.ts";
import type { Definitions } from "../bus/store/definitions.ts";
import type { EventLog } from "../bus/store/event-log.ts";
import type { JobList, Waiting } from "../bus/store/job-list.ts";
import type { JobStore } from "../bus/store/job-store.ts";
import { deleteMessage, readLast } from "../bus/store/stream-read.ts";
import type { Tokens } from "../bus/tokens/tokens.ts";
import { EVENTS, JOBS } from "../bus/topology.ts";
import { isChildId, runOf } from "../job/children.ts";
import { AsyncError, isAsyncError } from "../job/errors.ts";
import { endEvent } from "../job/events.ts";
import { openGraph, unopened } from "../job/graph.ts";
import { retryProblem } from "../job/graph-retry.ts";
import { isAsSubmitted } from "../job/machine.ts";
import { requireJobId, sequenceOf } from "../job/names.ts";
import { toJsonValue } from "../job/plain.ts";
import type { RetryPatch } from "../job/retry-patch.ts";
import { isSameJson } from "../job/same.ts";
import { type EndedJob, isEnded, isGraph, type JobState, type LiveJob, withoutPayloads } from "../job/state.ts";
import type { Event } from "../job/transition.ts";
import { hasToUndo } from "../job/undoable.ts";
import { Limiter } from "../util/limiter.ts";
import { ItemsOnRequest } from "./items-on-request.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { Parents } from "./parents.ts";
import { ResultsOnRequest } from "./results-on-request.ts";
import { pause } from "./retrying.ts";
import { isIdBegunUnstored, newerFormatOf, untakenJob } from "./submission.ts";

export interface JobControlContext {
  bus: Bus;
  store: JobStore;
  tokens: Tokens;
  eventLog: EventLog;
  list: JobList;
  definitions: Definitions;
  lifecycle: Lifecycle;
  parents: Parents;
  writer: string;
}

/** The requester has given up by then. */
const TRIES = 5;
/** For the commit of a retry; the wake comes at once when it is through. */
const COMMIT_TIME_MS = 5_000;
/** CONTROL-5 */
const MAX_READ_BYTES = 12 * 1024 ** 2;
const MAX_READS = 64;
const MAX_WAIT_MS = 1_000;
const MAX_WAITING = 20_000;
/** A second retry within this time that asks for the same is taken for a repetition of the first. */
const REPETITION_MS = 5_000;

/** What to do with a job as it is found; a refusal is thrown. */
type Decision = "change" | "leave";

interface Found {
  state: JobState;
  /** 0 if only the submission is there. */
  revision: number;
  /** The format of a submission that a newer version has made: what is read of it may not be what it means. */
  newer?: number;
}

export class JobControl {
  readonly results: ResultsOnRequest;
  readonly items: ItemsOnRequest;
  readonly #context: JobControlContext;
  readonly #reads: Limiter;
  #changes = 0;

  constructor(context: JobControlContext) {
    this.#context = context;
    const { bus, store } = context;
    this.items = new ItemsOnRequest(store, bus);
    this.results = new ResultsOnRequest(store, () => bus.maxPayload);
    this.#reads = new Limiter(() => {
      const fit = Math.floor(MAX_READ_BYTES / bus.maxPayload);
      return Math.max(2, Math.min(MAX_READS, fit));
    });
  }

  /**
   * The job as it is stored, or as it will be when a supervisor has room for its submission.
   *
   * @throws AsyncError `invalid_job_id` (also of a submission that was rejected for its id), `job_not_found`, `corrupt_state`,
   * `newer_format`, `bus_overloaded` (CONTROL-5), or what the bus throws
   */
  async find(jobId: string): Promise<Found> {
    requireJobId(jobId);
    const askedAt = performance.now();
    if (this.#reads.waiting >= MAX_WAITING) throw overloaded();
    return this.#reads.run(() => {
      if (performance.now() - askedAt > MAX_WAIT_MS) throw overloaded();
      return this.#find(jobId);
    });
  }

  async #find(jobId: string): Promise<Found> {
    // It may be claimed between the two looks, so there is a third one.
    const found =
      (await this.#stored(jobId)) ??
      (await this.#submitted(jobId)) ??
      (await this.#submittedByBody(jobId)) ??
      (await this.#stored(jobId));
    if (found) return found;
    const reason = await this.#rejection(jobId);
    if (reason !== undefined) throw new AsyncError("invalid_job_id", `the submission ${jobId} was rejected: ${reason}`);
    const gone = `there is no job ${jobId}, or it was removed some time after its end`;
    const untaken = "If only the body of its submission has this id, ask again when a supervisor has taken it";
    throw new AsyncError("job_not_found", `${gone}. ${untaken}`);
  }

  /**
   * The job as {@link find} finds it, and whether a supervisor has taken it.
   *
   * @throws AsyncError what {@link find} throws
   */
  async look(jobId: string): Promise<{ state: JobState; isTaken: boolean }> {
    const { state, revision } = await this.find(jobId);
    return { state, isTaken: revision > 0 || (await this.#context.list.isTaken(state.sequence)) };
  }

  /**
   * Ends a job now, or when it has undone what it has done. One that is cancelled already stays so; what runs of it is told to stop.
   *
   * @param undo `skip`: what has not been undone yet is left as it is
   * @throws AsyncError `job_ended`, `job_undoing` (unless the undo is to be skipped), what {@link find} throws, or `bus_timeout` if it is not
   * known whether it is cancelled
   */
  async cancel(jobId: string, { undo }: { undo?: "skip" } = {}): Promise<JobState> {
    const { bus, lifecycle } = this.#context;
    const change = await this.#change(jobId, { type: "cancelled", ...(undo && { undo }) }, (found) => {
      if (found.state === "cancelled") return "leave";
      if (isEnded(found)) throw new AsyncError("job_ended", `job ${jobId} has ended: it is ${found.state}`);
      if (found.state !== "undoing") return "change";
      if (undo) return found.outcome?.skip ? "leave" : "change";
      // The same request again: its first answer was lost.
      const { state, at } = found.outcome ?? { state: "failed", at: 0 };
      if (state === "cancelled" && Date.now() - at < REPETITION_MS) return "leave";
      const next = 'wait for its end, or end it with {"undo": "skip"}, which leaves the rest as it is';
      throw new AsyncError("job_undoing", `job ${jobId} is undoing what it has done: ${next}`);
    });
    const { state } = change;
    if (!isEnded(state)) {
      // Once its owner has written it since, it has heard: one that waits to try an undo again would be woken in vain.
      if (change.changed || state.writer.includes("/")) await this.#rouse(state);
      return state;
    }
    // One that was undoing as it had failed ends so.
    if (!change.changed) return state;
    bus.nc.publish(changedSubject(jobId));
    const event = endEvent(state);
    lifecycle.emit("job", event);
    try {
      await this.#settle(state, change.before);
    } catch (error) {
      if (!isAsyncError(error)) throw error; // CONTROL-1
      lifecycle.emit("trouble", {
        what: "a job that was ended by hand is left to be settled by its owner",
        jobId,
        error,
      });
    }
    return state;
  }

  /** What its owner would do, if it has one. As long as its parent has not been told of its end, its token stays (PARENTS-2). */
  async #settle(state: EndedJob, before: number): Promise<void> {
    const { bus, eventLog, parents, tokens } = this.#context;
    await eventLog.record(endEvent(state), state.notify);
    await parents.tellOfEnd(state);
    // Cancelled before anybody took it: its submission takes up no room any more.
    if (before === 0) await deleteMessage(bus, JOBS, state.sequence);
    // It may sleep for long: its timer would only settle what is settled.
    if (isGraph(state)) await tokens.removeTimer(state);
  }

  /** A live job that was changed: its owner goes on from there, and one that rests outside of memory gets one. */
  async #rouse(state: LiveJob): Promise<void> {
    const { bus, tokens } = this.#context;
    bus.nc.publish(changedSubject(state.job_id));
    if (state.token === 0) return;
    let cause: AsyncError | undefined;
    for (let tries = 0; tries < TRIES; tries++) {
      if (tries > 0) await pause(bus, tries);
      try {
        if ((await tokens.wake(state)) !== "not yet") return;
      } catch (error) {
        if (!isAsyncError(error)) throw error;
        cause = error;
      }
    }
    try {
      // A wake that is older is in the way of ours, until somebody has got it: a timer waits for that.
      await tokens.timers.hurry(state, state.token);
      return;
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      cause = error;
    }
    const what = `job ${state.job_id} is cancelled, and could not be woken yet to undo what it has done`;
    this.#context.lifecycle.emit("trouble", { what, jobId: state.job_id, error: cause });
  }

  /**
   * Lets a failed or cancelled job go on at the function it had reached, or where the patch says, with all its executions to be had
   * again.
   *
   * @throws AsyncError `job_not_ended`, `job_ended` (it is completed, or was no valid job), `payload_too_large`, what
   * {@link find} throws, or `bus_timeout` if it is not known whether it is retried
   */
  async retry(jobId: string, patch: RetryPatch): Promise<JobState> {
    const change = await this.#change(jobId, { type: "retried", ...patch }, async (found): Promise<Decision> => {
      if (!isEnded(found)) {
        // The same request again: its first answer was lost.
        const isRecent = Date.now() - (found.retried_at ?? 0) < REPETITION_MS;
        // Where it was asked to go on from is not in the state.
        const isToldApart = patch.from === undefined && patch.failed !== true;
        if (isRecent && isToldApart && hasWhatIsAsked(found, patch)) return "leave";
        throw new AsyncError("job_not_ended", `job ${jobId} has not ended; cancel it first`);
      }
      const problem = retryProblem(found, patch);
      if (problem) throw new AsyncError(problem.code, problem.message);
      await this.#prepareNext(found);
      return "change";
    });
    if (change.changed) await this.#hurry(change.state);
    return change.state;
  }

  /**
   * The same for its parent, which may ask again: nothing is changed once it is in that run, or has completed.
   *
   * @throws AsyncError what {@link retry} throws but `job_not_ended`
   */
  async goOn(jobId: string, run: number): Promise<JobState> {
    const change = await this.#change(jobId, { type: "retried" }, async (found): Promise<Decision> => {
      if (!isEnded(found) || found.state === "completed" || runOf(found) >= run) return "leave";
      const problem = retryProblem(found, {});
      if (problem) throw new AsyncError(problem.code, problem.message);
      await this.#prepareNext(found);
      return "change";
    });
    if (change.changed) await this.#hurry(change.state);
    return change.state;
  }

  /**
   * Has a completed job undo what it has done, as its parent does. Nothing is changed if it does, or has, or has nothing to undo.
   *
   * @throws AsyncError what {@link find} throws, or `bus_timeout` if it is not known whether it does
   */
  async undo(jobId: string): Promise<JobState> {
    const change = await this.#change(jobId, { type: "undo_wanted" }, async (found): Promise<Decision> => {
      if (found.state !== "completed" || found.undo || !isGraph(found)) return "leave";
      if (!hasToUndo(found)) return "leave";
      await this.#prepareNext(found);
      return "change";
    });
    if (change.changed) await this.#hurry(change.state);
    return change.state;
  }

  /** An ended job is about to live again. */
  async #prepareNext(found: EndedJob): Promise<void> {
    const { eventLog, tokens } = this.#context;
    if (isGraph(found)) await this.results.keep(found);
    await eventLog.record(endEvent(found)); // CONTROL-3
    await tokens.timers.schedule(found, Date.now() + COMMIT_TIME_MS, found.token + 1); // CONTROL-2
  }

  async #hurry(state: JobState): Promise<void> {
    const { lifecycle, tokens } = this.#context;
    try {
      await tokens.timers.hurry(state, state.token);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      lifecycle.emit("trouble", { what: "a retried job waits for its timer", jobId: state.job_id, error });
    }
  }

  /** Commits what the machine makes of the event, if `decide` agrees with what is stored. */
  async #change(
    jobId: string,
    event: Event,
    decide: (state: JobState) => Decision | Promise<Decision>,
  ): Promise<{ state: JobState; changed: boolean; before: number }> {
    const { store, bus, lifecycle } = this.#context;
    this.#changes += 1;
    const ownName = `${this.#context.writer}/${this.#changes}`;
    for (let tries = 0; tries < TRIES; tries++) {
      const { state, revision, newer } = await this.find(jobId);
      if (newer !== undefined) throw newerFormat(jobId, newer);
      // The answer to an earlier try may have been lost.
      if (tries > 0 && state.writer.endsWith(`/${ownName}`)) return { state, changed: true, before: revision };
      if ((await decide(state)) === "leave") return { state, changed: false, before: revision };
      const next = await this.results.reduce(await this.#begun(state, revision), event, Date.now());
      // What is parked goes on at once. It is woken first: whoever takes it over before the commit makes that fail, and it is tried again.
      if (event.type === "cancelled" && !isEnded(next.state) && !isEnded(state) && state.token > 0) {
        await this.#context.tokens.wake(state);
      }
      const [owner = ""] = state.writer.split("/");
      let stamped: JobState = { ...next.state, version: state.version + 1, writer: `${owner}/${ownName}` }; // CONTROL-4
      let outcome = await store.commit(stamped, revision);
      if (outcome.type === "refused" && isGraph(stamped)) {
        const isOurs = async () => (await store.get(jobId))?.revision === revision;
        stamped = await this.results.lighter(stamped, isOurs);
        outcome = await store.commit(stamped, revision);
      }
      if (outcome.type === "refused" && isEnded(stamped)) {
        // Its end makes it a few bytes longer, and it must be possible to end any job.
        stamped = withoutPayloads(stamped);
        outcome = await store.commit(stamped, revision);
      }
      if (outcome.type === "refused" || outcome.type === "full") throw outcome.cause;
      if (outcome.type === "stored") {
        for (const one of next.events) lifecycle.emit("job", one);
        return { state: stamped, changed: true, before: revision };
      }
      if (outcome.type === "unknown") await pause(bus, tries);
    }
    throw new AsyncError("bus_timeout", `job ${jobId} could not be changed in time: look what became of it, try again`);
  }

  /**
   * A submission that nobody has taken says what would begin first, and nothing of that has: there is nothing to undo. Of one that
   * somebody has taken this may have begun, if nothing had to be stored before (ARRIVALS-7). Of a child, or where the id was chosen, something
   * had: so it ends at once. It must not live on: who has taken a child may just be rejecting it (PARENTS-4), and its token goes.
   */
  async #begun(state: JobState, revision: number): Promise<JobState> {
    const { job_id: jobId } = state;
    if (revision > 0 || isEnded(state) || !isGraph(state)) return state;
    if (state.state !== "pending" || !isIdBegunUnstored(jobId)) return unopened(state);
    if (!(await this.#context.list.isTaken(state.sequence))) return unopened(state);
    const { state: opened } = openGraph(unopened(state), Date.now());
    return !isEnded(opened) && isAsSubmitted(opened) ? opened : unopened(state);
  }

  async #stored(jobId: string): Promise<Found | undefined> {
    const stored = await this.#context.store.get(jobId);
    if (stored?.newer !== undefined) throw newerFormat(jobId, stored.newer);
    if (stored?.problem !== undefined) {
      throw new AsyncError(
        "corrupt_state",
        `what is stored of job ${jobId} is none of ours: ${stored.problem}; \`async doctor\` says more`,
      );
    }
    return stored?.state && { state: stored.state, revision: stored.revision };
  }

  async #submitted(jobId: string): Promise<Found | undefined> {
    const sequence = sequenceOf(jobId);
    return this.#untaken(jobId, await this.#context.list.submission(sequence ?? submitSubject(jobId)));
  }

  async #submittedByBody(jobId: string): Promise<Found | undefined> {
    // Nobody may choose it, or it is in the subject.
    if (sequenceOf(jobId) !== undefined || isChildId(jobId)) return undefined;
    return this.#untaken(jobId, await this.#context.list.submissionByBody(jobId));
  }

  async #untaken(jobId: string, submission: Waiting | undefined): Promise<Found | undefined> {
    const state = submission && (await untakenJob(submission, (name) => this.#context.definitions.glance(name)));
    const newer = submission && newerFormatOf(submission);
    return state?.job_id === jobId ? { state, revision: 0, ...(newer !== undefined && { newer }) } : undefined;
  }

  /** Why a submission was rejected, where there is nothing else to be had of it. */
  async #rejection(jobId: string): Promise<string | undefined> {
    if (sequenceOf(jobId) === undefined) return undefined;
    const message = await readLast(this.#context.bus, EVENTS, eventSubject(jobId, "rejected"));
    const event = message && readEvent(message);
    return event?.type === "rejected" ? event.reason : undefined;
  }
}

/** It may be asked again: another supervisor may have less to do. */
function overloaded(): AsyncError {
  return new AsyncError("bus_overloaded", "this supervisor is asked for more jobs than it can read; try again");
}

/** It may be asked again: another supervisor may be new enough. */
function newerFormat(jobId: string, format: number): AsyncError {
  return new AsyncError(
    "newer_format",
    `job ${jobId} was stored or submitted by a newer version (format ${format}) than that of the supervisor that was asked; upgrade it`,
  );
}

/**
 * Whether a job that has been retried is as a retry with this patch would have made it. Where it was to go on is not seen in it
 * any more.
 */
function hasWhatIsAsked(job: LiveJob, { data, args, args_by_id = {} }: RetryPatch): boolean {
  const isSame = (asked: unknown, found: unknown) =>
    asked === undefined || isSameJson(asked, toJsonValue(found, job.encoding));
  if (!isSame(data, job.data)) return false;
  for (const { id, args: found } of job.functions) {
    if (id !== undefined && Object.hasOwn(args_by_id, id) && !isSame(args_by_id[id], found)) return false;
  }
  // It may have got further since: the functions before the one that was retried had returned by then.
  const since = job.retried_at ?? 0;
  const retried = [...job.functions].find(({ finished_at }) => (finished_at ?? since) >= since);
  return isSame(args, retried?.args);
}
