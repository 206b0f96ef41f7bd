/**
 * The durable tokens of jobs that are not in memory: what a live state says, as messages. Number 0 is the submission,
 * which exists already; any other is a timer or a place in a backlog, which turn into a wake.
 */

import { timerSubject, waitSubject, wakeSubject } from "../../api/subjects.ts";
import { isAsyncError } from "../../job/errors.ts";
import { type Parked, restParked, wakeAt } from "../../job/rest.ts";
import type { JobState, LiveJob } from "../../job/state.ts";
import type { Bus } from "../connection.ts";
import { deleteMessage, readAt, readLast } from "../store/stream-read.ts";
import { JOBS, TIMERS } from "../topology.ts";
import { Backlog } from "./backlog.ts";
import { isTokenOf, Timers, type TokenOwner, timerNumberOf, tokenBody } from "./timers.ts";
import { publishWake, type Wake } from "./wakes.ts";

export class Tokens {
  readonly backlog: Backlog;
  readonly timers: Timers;
  readonly #bus: Bus;

  constructor(bus: Bus) {
    this.#bus = bus;
    this.backlog = new Backlog(bus);
    this.timers = new Timers(bus);
  }

  /**
   * Makes token `number` of a job that leaves memory, or has left it. Repeating it within two minutes changes nothing.
   *
   * @throws AsyncError of the bus: the outcome is unknown, repeat it, unless it `isRefusedForGood`
   */
  async place(job: TokenOwner & Pick<JobState, "live">, number: number, how: Parked): Promise<void> {
    // Where there are two, whichever turns into a wake first takes the job along; the other one finds it gone on, or past
    // its deadline.
    if (how.until !== undefined) await this.timers.schedule(job, how.until, number);
    for (const name of how.functionNames) {
      if (job.live && number > 1) await this.#replacePlace(name, job, number);
      else await this.backlog.put(name, job, number);
    }
  }

  /** A graph that something else has woken has left its place where it was: each time that it parks there would be one more. */
  async #replacePlace(functionName: string, job: TokenOwner, number: number): Promise<void> {
    const before = await readLast(this.#bus, TIMERS, waitSubject(functionName, job.job_id));
    await this.backlog.put(functionName, job, number);
    if (!before || !isTokenOf(job, before.data) || timerNumberOf(before.data) >= number) return;
    try {
      await deleteMessage(this.#bus, TIMERS, before.sequence);
    } catch (error) {
      if (!isAsyncError(error)) throw error; // its job has a newer token: it is dropped when its turn comes
    }
  }

  /**
   * Makes the token of a job if it is not there: it may have been placed before, and got lost. A job that waited for a
   * worker is woken at once.
   *
   * @throws AsyncError of the bus: the outcome is unknown, repeat it, unless it `isRefusedForGood`
   */
  async restore(job: LiveJob): Promise<void> {
    // A signal, or the end of a child, may have come while it left memory, of which nobody has told: it looks for itself.
    const mustLook = job.live?.some(({ wait }) => wait === "signal" || wait === "child") ?? false;
    if (!mustLook && (await this.exists(job))) return;
    // A timer that is there already is set for the end of its patience.
    if (mustLook || restParked(job).functionNames.length > 0) await this.timers.hurry(job, job.token);
    else await this.timers.restore(job, wakeAt(job), job.token);
  }

  /**
   * Wakes a job that rests outside of memory, before its timer or its place does. Repeating it changes nothing.
   *
   * @throws AsyncError of the bus: the outcome is unknown, repeat it
   */
  wake(job: LiveJob): Promise<Wake> {
    return publishWake(this.#bus, job.job_id, Buffer.from(tokenBody(job, job.token)));
  }

  /**
   * Removes the timer of a job that has ended, where something else has woken it before: it would fire for nothing, a day later. Where
   * that fails it does so, and is settled then. So this never throws what the bus does.
   */
  async removeTimer(job: JobState): Promise<void> {
    if (job.token === 0) return;
    try {
      const timer = await readLast(this.#bus, TIMERS, timerSubject(job.job_id));
      // A job that has been retried meanwhile has a newer one.
      if (!timer || !isTokenOf(job, timer.data) || timerNumberOf(timer.data) > job.token) return;
      await deleteMessage(this.#bus, TIMERS, timer.sequence);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
    }
  }

  /** Whether the token that the state names is there, waiting or in the hands of a supervisor. @throws AsyncError of the bus */
  async exists(job: LiveJob): Promise<boolean> {
    const { job_id: id, token, sequence } = job;
    if (token === 0) return (await readAt(this.#bus, JOBS, sequence)) !== undefined;
    const isThere = async (subject: string) => {
      const message = await readLast(this.#bus, TIMERS, subject);
      return message !== undefined && isTokenOf(job, message.data) && timerNumberOf(message.data) >= token;
    };
    // In the order in which one turns into the other, so that it is not missed while it does.
    const { functionNames, until } = restParked(job);
    const parts = functionNames.map((name) => waitSubject(name, id));
    // All of them are needed, as each may be the only one that wakes the job in time; or the wake that one of them has turned into.
    if (until !== undefined) parts.push(timerSubject(id));
    let found = 0;
    for (const subject of parts) if (await isThere(subject)) found += 1;
    if (parts.length > 0 && found === parts.length) return true;
    return isThere(wakeSubject(id));
  }
}
