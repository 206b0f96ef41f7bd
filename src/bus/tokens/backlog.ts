/**
 * The durable backlog of each function: jobs that wait for a worker outside of memory, in the order in which they were
 * put there. Kept in stream TIMERS as `job.wait.<function>.<id>`, next to the timers, because a place in it is the same
 * thing as a timer: a token with a number that turns into a wake; when there is room instead of at a time.
 *
 * BACKLOG-1  A place goes only after the wake with its number is stored.
 * BACKLOG-2  A job has at most one wake at a time: calling it twice, by several supervisors or after a crash, changes nothing. A place
 *     that its job has left already may wake it once more; the supervisor that gets the wake sees a newer token and drops it.
 * BACKLOG-3  More places are read than are called, because the server counts all places of the function for each read: 60 ms for
 *     100,000 of them. What was read ahead is used for `FRESH_MS`, unless someone else turns out to call the same places.
 */

import { afterPrefix, QUEUED, WAIT_PREFIX, waitSubject } from "../../api/subjects.ts";
import { isAsyncError } from "../../job/errors.ts";
import type { Bus } from "../connection.ts";
import { encodeQueued } from "../messages/nudges.ts";
import { deleteMessage, readBatch, type StoredMessage } from "../store/stream-read.ts";
import { streamInfo } from "../stream-info.ts";
import { TIMERS } from "../topology.ts";
import { headersOf } from "../wire/headers.ts";
import { messageIdOf, type TokenOwner, tokenBody } from "./timers.ts";
import { publishWake } from "./wakes.ts";

const TIMEOUT_MS = 2_000;
/** The server lists no more subjects in one answer. */
const MAX_SUBJECTS_LISTED = 100_000;
/** Places read in one go (BACKLOG-3). */
const AHEAD = 1_000;
const FRESH_MS = 5_000;
/** Functions for which places are kept. */
const MAX_KEPT = 100;

/** The first places of a backlog, as they were at some time. */
interface Ahead {
  places: Place[];
  /** How many more there were after them. */
  more: number;
  readAt: number;
}

interface Place {
  jobId: string;
  /** The token, as it is stored. */
  token: Uint8Array;
  sequence: number;
}

export class Backlog {
  readonly #bus: Bus;
  readonly #ahead = new Map<string, Ahead>();

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /**
   * Lets a job wait for a worker of the function, under token `number`. Repeating it changes nothing for two minutes,
   * and makes a second place for the same token after that, which is dropped when its turn comes.
   *
   * @throws AsyncError of the bus: the outcome is unknown, repeat it
   */
  async put(functionName: string, job: TokenOwner, number: number): Promise<void> {
    const headers = headersOf({ "Nats-Msg-Id": `${messageIdOf(job, number)}:wait:${functionName}` });
    await this.#bus.mux.publish(waitSubject(functionName, job.job_id), tokenBody(job, number), headers);
  }

  /** Tells the other supervisors that there is something to call. They may miss it: see {@link functions}. */
  announce(functionName: string): void {
    if (this.#bus.connected) this.#bus.nc.publish(QUEUED, encodeQueued(functionName));
  }

  /**
   * Wakes the first `count` jobs that wait for the function, for whichever supervisor has room for them.
   *
   * @returns whether there may be more of them; @throws AsyncError of the bus
   */
  async call(functionName: string, count: number): Promise<boolean> {
    const kept = this.#ahead.get(functionName);
    this.#ahead.delete(functionName);
    const isUsable = kept !== undefined && performance.now() - kept.readAt < FRESH_MS && kept.places.length >= count;
    const { places, more, readAt } = isUsable ? kept : await this.#read(functionName, count);
    const outcomes = await Promise.all(places.slice(0, count).map((place) => this.#wake(place)));
    const rest = places.slice(count);
    if (rest.length > 0 && !outcomes.includes("called by another")) {
      this.#keep(functionName, { places: rest, more, readAt });
    }
    // What was put there since they were read is not counted.
    return isUsable || rest.length + more > 0 || outcomes.includes("not yet");
  }

  #keep(functionName: string, ahead: Ahead): void {
    this.#ahead.set(functionName, ahead);
    for (const oldest of this.#ahead.keys()) {
      if (this.#ahead.size <= MAX_KEPT) return;
      this.#ahead.delete(oldest);
    }
  }

  async #read(functionName: string, count: number): Promise<Ahead> {
    const filter = waitSubject(functionName, "*");
    const readAt = performance.now();
    const batch = Math.max(count, AHEAD);
    const { messages, pending } = await readBatch(this.#bus, TIMERS, { filter, from: 1, batch });
    return { places: messages.map(placeOf), more: pending, readAt };
  }

  /** The functions that jobs wait for. Costs the server a look at each of these jobs. @throws AsyncError of the bus */
  async functions(): Promise<string[]> {
    const names = new Set<string>();
    for (let offset = 0; ; offset += MAX_SUBJECTS_LISTED) {
      const query = { subjects_filter: `${WAIT_PREFIX}.>`, offset };
      const { state } = await streamInfo(this.#bus, TIMERS, TIMEOUT_MS, query);
      const subjects = Object.keys(state?.subjects ?? {});
      for (const subject of subjects) {
        const name = functionOf(subject);
        if (name !== undefined) names.add(name);
      }
      if (subjects.length < MAX_SUBJECTS_LISTED) return [...names];
    }
  }

  /** BACKLOG-1, BACKLOG-2. A job is not woken yet while it is still leaving the memory of a supervisor. */
  async #wake({ jobId, token, sequence }: Place): Promise<"called" | "called by another" | "not yet"> {
    const wake = await publishWake(this.#bus, jobId, token);
    if (wake === "not yet") return wake;
    try {
      await deleteMessage(this.#bus, TIMERS, sequence);
    } catch (error) {
      // Called once more when the function is next: then it is an older token than that of its job, or its wake is there.
      if (!isAsyncError(error)) throw error;
    }
    return wake === "stored" ? "called" : "called by another";
  }
}

/** Copied, because a message keeps all in memory that was read with it. */
function placeOf({ subject, sequence, data }: StoredMessage): Place {
  return { jobId: jobIdOf(subject), token: Buffer.from(data), sequence };
}

/** The job whose place has that subject. */
export function jobIdOf(subject: string): string {
  return subject.slice(subject.lastIndexOf(".") + 1);
}

/** The function in whose backlog the place with that subject is; undefined if it is none. */
export function functionOf(subject: string): string | undefined {
  const rest = afterPrefix(subject, WAIT_PREFIX);
  return rest?.slice(0, rest.lastIndexOf("."));
}
