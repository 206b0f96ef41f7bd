/** What the bench's own process does with BullMQ: it submits, looks how far it is, and checks what came of it. */
import { FlowProducer, Queue, QueueEvents } from "bullmq";
import { monotonicMs } from "../../clock.ts";
import { type Load, WrongResults } from "../../contender.ts";
import { checkOutcomes, type Outcome } from "../outcomes.ts";
import { QUEUE, START, type Step } from "./job.ts";

const PAGE = 1_000;
const ONCE_LIMIT_MS = 30_000;

export class BullClient {
  readonly queue: Queue;
  readonly flows: FlowProducer;
  readonly #connection: { host: string; port: number };
  /** Only while single jobs are submitted: whoever listens is told of every job of the queue. */
  #events: QueueEvents | undefined;

  constructor(port: number) {
    this.#connection = { host: "127.0.0.1", port };
    this.queue = new Queue(QUEUE, { connection: this.#connection });
    this.queue.setMaxListeners(0); // whoever waits for a job adds one
    this.flows = new FlowProducer({ connection: this.#connection });
  }

  /** How many functions have ended well so far. */
  completed(): Promise<number> {
    return this.queue.getCompletedCount();
  }

  /** In memory: what the data takes, without buffers. The append-only file has a multiple of it until it is rewritten. */
  async storedBytes(): Promise<number> {
    const redis = await this.queue.backend.client;
    const info = await redis.info();
    const bytes = /^used_memory_dataset:(\d+)/m.exec(info)?.[1];
    if (bytes === undefined) throw new Error("redis does not say how much memory it uses");
    return Number(bytes);
  }

  /** Completed jobs are in the order of their ends: those of the load are all from `before` on. */
  async check(before: number, label: string, load: Load): Promise<void> {
    const outcomes: Outcome[] = [];
    for (let start = before; ; start += PAGE) {
      const jobs = await this.queue.getJobs(["completed"], start, start + PAGE - 1, true);
      for (const { id, data, returnvalue, attemptsStarted } of jobs) {
        const step = data as Step;
        if (step.load !== label) throw new WrongResults(`job ${id} belongs to another load`);
        if (attemptsStarted !== 1) throw new WrongResults(`job ${id} was begun ${attemptsStarted} times`);
        outcomes.push({ number: step.number, index: step.index, result: returnvalue });
      }
      if (jobs.length < PAGE) break;
    }
    checkOutcomes(outcomes, load);
  }

  /** The client learns of the end by the queue's events, as BullMQ has it for whoever waits. */
  async once(): Promise<{ startedMs: number; doneMs: number }> {
    const events = this.#listen();
    await events.waitUntilReady();
    const begun = monotonicMs();
    const job = await this.queue.add(START, null);
    const started = Number(await job.waitUntilFinished(events, ONCE_LIMIT_MS));
    return { startedMs: started - begun, doneMs: monotonicMs() - begun };
  }

  /** From now on, rather than from when Redis is first asked: that may be after the job. Events are numbered by time. */
  #listen(): QueueEvents {
    this.#events ??= new QueueEvents(QUEUE, { connection: this.#connection, lastEventId: String(Date.now()) });
    return this.#events;
  }

  async stopListening(): Promise<void> {
    const events = this.#events;
    this.#events = undefined;
    await events?.close();
  }

  async close(): Promise<void> {
    await this.stopListening();
    await this.flows.close();
    await this.queue.close();
  }
}
