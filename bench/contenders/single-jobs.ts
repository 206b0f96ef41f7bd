/** One job at a time: when it began, and when its user heard of its end, which is by the event. */
import type { Msg } from "nats";
import { eventSubject } from "../../src/bus/subjects.ts";
import type { Client } from "../../src/client/client.ts";
import { messageOf } from "../../src/job/errors.ts";
import type { JobEvent } from "../../src/job/events.ts";
import { jobIdOf } from "../check.ts";
import { monotonicUs } from "../clock.ts";
import { WrongResults } from "../contender.ts";

/** Returns when it began, by the clock that all processes have in common. */
export const CLOCK_FUNCTION = "bench.clock";
const END_LIMIT_MS = 60_000;
const END_TYPES = ["completed", "failed", "cancelled"];

export interface Timed {
  id: string;
  /** In ms from the call. */
  startedMs: number;
  doneMs: number;
}

interface End {
  event: JobEvent;
  atUs: number;
}

export class SingleJobs {
  readonly #client: Client;
  readonly #waiting = new Map<string, (end: End) => void>();
  /** Heard of while submissions were under way, by nobody who waited for it. */
  readonly #early = new Map<string, End>();
  #submitting = 0;
  readonly #stops: (() => void)[];

  private constructor(client: Client) {
    this.#client = client;
    const callback = (_: unknown, message: Msg) => this.#onEnd(message);
    this.#stops = END_TYPES.map((type) => {
      const subscription = client.bus.nc.subscribe(eventSubject("*", type), { callback });
      return () => subscription.unsubscribe();
    });
  }

  /** Ready to hear of ends. */
  static async open(client: Client): Promise<SingleJobs> {
    const jobs = new SingleJobs(client);
    await client.bus.flush();
    return jobs;
  }

  /** @throws WrongResults */
  async once(data: string | null = null): Promise<Timed> {
    const calledUs = monotonicUs();
    const { id, event, atUs } = await this.#submit({ name: "bench-once", functions: [{ name: CLOCK_FUNCTION }], data });
    if (event.type !== "completed") throw new WrongResults(`job ${id} is ${event.type}`);
    const startedUs = Number(event.result);
    if (!(startedUs >= calledUs && startedUs <= atUs)) {
      throw new WrongResults(`job ${id} has a wrong result: ${JSON.stringify(event.result)}`);
    }
    return { id, startedMs: (startedUs - calledUs) / 1_000, doneMs: (atUs - calledUs) / 1_000 };
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  async #submit(job: unknown): Promise<{ id: string } & End> {
    this.#submitting += 1;
    try {
      const { job_id: id } = await this.#client.submit(job);
      return { id, ...(this.#early.get(id) ?? (await this.#endOf(id))) };
    } finally {
      this.#submitting -= 1;
      if (this.#submitting === 0) this.#early.clear();
    }
  }

  /** An end may be heard of before the acknowledgement of the submission, and so before the id is known. */
  #onEnd(message: Msg): void {
    const id = jobIdOf(message.subject);
    const end = { event: message.json<JobEvent>(), atUs: monotonicUs() };
    const waiting = this.#waiting.get(id);
    if (waiting) waiting(end);
    else if (this.#submitting > 0) this.#early.set(id, end);
  }

  #endOf(id: string): Promise<End> {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => {
        this.#waiting.delete(id);
        void this.#explain(id).then(reject);
      }, END_LIMIT_MS);
      this.#waiting.set(id, (end) => {
        this.#waiting.delete(id);
        clearTimeout(limit);
        resolve(end);
      });
    });
  }

  /** Whether the job has not ended, or only the event of its end is missing. */
  async #explain(id: string): Promise<WrongResults> {
    const job = await this.#client.get(id).catch(messageOf);
    const found = typeof job === "string" ? job : JSON.stringify(job);
    return new WrongResults(`the end of job ${id} has not been heard of within ${END_LIMIT_MS} ms: ${found}`);
  }
}
