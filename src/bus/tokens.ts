/**
 * The durable tokens of jobs that are not in memory: what a live state says, as messages. Number 0 is the submission,
 * which exists already; any other is a timer or a place in a backlog, which turn into a wake.
 */
import { currentFunction, dueAt, type LiveJob } from "../job/state.ts";
import { Backlog } from "./backlog.ts";
import type { Bus } from "./connection.ts";
import { readAt, readLast } from "./stream-read.ts";
import { timerSubject, waitSubject, wakeSubject } from "./subjects.ts";
import { Timers, timerNumberOf } from "./timers.ts";
import { JOBS, TIMERS } from "./topology.ts";

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
   * Makes the token of a job that leaves memory, or has left it. Repeating it within two minutes changes nothing.
   *
   * @throws AsyncError of the bus: the outcome is unknown, repeat it
   */
  async place(job: LiveJob): Promise<void> {
    const { job_id: id, token, deadline_at: deadline } = job;
    if (!waitsForWorker(job)) {
      await this.timers.schedule(id, wakeAt(job), token);
      return;
    }
    // Whichever turns into a wake first takes the job along; the other one finds it gone on, or past its deadline.
    if (deadline !== undefined) await this.timers.schedule(id, deadline, token);
    await this.backlog.put(currentFunction(job).name, id, token);
  }

  /**
   * Makes the token of a job if it is not there: it may have been placed before, and got lost. A job that waited for a
   * worker is woken at once.
   *
   * @throws AsyncError of the bus: the outcome is unknown, repeat it
   */
  async restore(job: LiveJob): Promise<void> {
    if (!(await this.exists(job))) await this.timers.restore(job.job_id, wakeAt(job), job.token);
  }

  /** Whether the token that the state names is there, waiting or in the hands of a supervisor. @throws AsyncError of the bus */
  async exists(job: LiveJob): Promise<boolean> {
    const { job_id: id, token, sequence } = job;
    if (token === 0) return (await readAt(this.#bus, JOBS, sequence)) !== undefined;
    // In the order in which one turns into the other, so that it is not missed while it does.
    const subjects = [waitSubject(currentFunction(job).name, id), timerSubject(id), wakeSubject(id)];
    for (const subject of subjects) {
      const message = await readLast(this.#bus, TIMERS, subject);
      if (message && timerNumberOf(message.data) >= token) return true;
    }
    return false;
  }
}

function waitsForWorker(job: LiveJob): boolean {
  return job.state === "waiting" && job.waiting_for === "worker";
}

/** When a job is to be woken: when it is due, or past its deadline. */
function wakeAt(job: LiveJob): number {
  const due = dueAt(job);
  return Math.min(due, job.deadline_at ?? due);
}
