/**
 * The durable backlog of each function: jobs that wait for a worker outside of memory, in the order in which they were
 * put there. Kept in stream TIMERS as `job.wait.<function>.<id>`, next to the timers, because a place in it is the same
 * thing as a timer: a token with a number that turns into a wake; when there is room instead of at a time.
 *
 * B1  A place goes only after the wake with its number is stored.
 * B2  A job has at most one wake at a time: calling it twice, by several supervisors or after a crash, changes nothing.
 */
import { isAsyncError } from "../job/errors.ts";
import type { Bus } from "./connection.ts";
import { isWrongSequence } from "./mux.ts";
import { expectSequence, headersOf } from "./raw-headers.ts";
import { deleteMessage, readBatch, readLast, type StoredMessage } from "./stream-read.ts";
import { afterPrefix, QUEUED, WAIT_PREFIX, waitSubject, wakeSubject } from "./subjects.ts";
import { timerNumberOf } from "./timers.ts";
import { TIMERS } from "./topology.ts";

const TIMEOUT_MS = 2_000;
/** The server lists no more subjects in one answer. */
const MAX_SUBJECTS_LISTED = 100_000;

export class Backlog {
  readonly #bus: Bus;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /**
   * Lets a job wait for a worker of the function, under token `number`. Repeating it changes nothing for two minutes,
   * and makes a second place for the same token after that, which is dropped when its turn comes.
   *
   * @throws AsyncError of the bus: the outcome is unknown, repeat it
   */
  async put(functionName: string, jobId: string, number: number): Promise<void> {
    const headers = headersOf({ "Nats-Msg-Id": `${jobId}:${number}:wait` });
    await this.#bus.mux.publish(waitSubject(functionName, jobId), String(number), headers);
  }

  /** Tells the other supervisors that there is something to call. They may miss it: see {@link functions}. */
  announce(functionName: string): void {
    if (this.#bus.connected) this.#bus.nc.publish(QUEUED, JSON.stringify({ function: functionName }));
  }

  /**
   * Wakes the first `count` jobs that wait for the function, for whichever supervisor has room for them.
   *
   * @returns how many are left; @throws AsyncError of the bus
   */
  async call(functionName: string, count: number): Promise<number> {
    const filter = waitSubject(functionName, "*");
    const { messages, pending } = await readBatch(this.#bus, TIMERS, { filter, from: 1, batch: count });
    const called = await Promise.all(messages.map((place) => this.#wake(place)));
    return pending + called.filter((woken) => !woken).length;
  }

  /** The functions that jobs wait for. Costs the server a look at each of these jobs. @throws AsyncError of the bus */
  async functions(): Promise<string[]> {
    const names = new Set<string>();
    for (let offset = 0; ; offset += MAX_SUBJECTS_LISTED) {
      const query = JSON.stringify({ subjects_filter: `${WAIT_PREFIX}.>`, offset });
      const reply = await this.#bus.mux.request(`$JS.API.STREAM.INFO.${TIMERS}`, query, TIMEOUT_MS);
      const subjects = Object.keys(reply.json<StreamInfo>().state?.subjects ?? {});
      for (const subject of subjects) {
        const name = functionOf(subject);
        if (name !== undefined) names.add(name);
      }
      if (subjects.length < MAX_SUBJECTS_LISTED) return [...names];
    }
  }

  /** B1, B2. Returns false if the job is not woken yet, because it is still leaving the memory of a supervisor. */
  async #wake({ subject, sequence, data }: StoredMessage): Promise<boolean> {
    const wake = wakeSubject(jobIdOf(subject));
    try {
      await this.#bus.mux.publish(wake, data, expectSequence(0));
    } catch (error) {
      if (!isWrongSequence(error)) throw error;
      // It has a wake: that of this place, or an older one which its actor has not released yet.
      const other = await readLast(this.#bus, TIMERS, wake);
      if (!other || timerNumberOf(other.data) < timerNumberOf(data)) return false;
    }
    try {
      await deleteMessage(this.#bus, TIMERS, sequence);
    } catch (error) {
      // Called once more when the function is next: then it is an older token than that of its job, or its wake is there.
      if (!isAsyncError(error)) throw error;
    }
    return true;
  }
}

interface StreamInfo {
  state?: { subjects?: Record<string, number> };
}

function jobIdOf(subject: string): string {
  return subject.slice(subject.lastIndexOf(".") + 1);
}

function functionOf(subject: string): string | undefined {
  const rest = afterPrefix(subject, WAIT_PREFIX);
  return rest?.slice(0, rest.lastIndexOf("."));
}
