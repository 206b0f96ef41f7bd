/** What the bench's own process does with graphile-worker: it submits, and looks whether anything is left. */
import { makeWorkerUtils, type WorkerUtils } from "graphile-worker";
import { Client, type Notification, type Pool } from "pg";
import { monotonicMs } from "../../clock.ts";
import { type Load, payloadOf } from "../../contender.ts";
import { pooled } from "../../contenders/nats.ts";
import { ADD, START, type Step } from "./job.ts";
import { openPool } from "./pool.ts";

const BATCH = 500;
const BATCHES_IN_FLIGHT = 2;
const ONCE_LIMIT_MS = 30_000;

export class GraphileClient {
  readonly #url: string;
  readonly #pool: Pool;
  readonly #utils: WorkerUtils;
  /** Hears of the ends of single jobs, and tells who waits for the one with that number. */
  #listener: Promise<Client> | undefined;
  readonly #waiting = new Map<string, (startedMs: number) => void>();
  #singles = 0;

  private constructor(url: string, pool: Pool, utils: WorkerUtils) {
    this.#url = url;
    this.#pool = pool;
    this.#utils = utils;
  }

  static async on(url: string): Promise<GraphileClient> {
    const pool = await openPool(url, BATCHES_IN_FLIGHT);
    const utils = await makeWorkerUtils({ pgPool: pool });
    await utils.migrate();
    return new GraphileClient(url, pool, utils);
  }

  /** In batches, each a transaction: several times faster than job by job. */
  submit({ jobs, functions, payloadBytes }: Load): Promise<void> {
    const data = payloadOf(payloadBytes);
    return pooled(Math.ceil(jobs / BATCH), BATCHES_IN_FLIGHT, async (batch) => {
      const first = batch * BATCH;
      const specs = Array.from({ length: Math.min(BATCH, jobs - first) }, (_, i) => {
        const payload: Step = { number: first + i, index: 0, functions, args: [first + i, 1], data };
        return { identifier: ADD, payload };
      });
      await this.#utils.addJobs(specs);
    });
  }

  /** How many jobs are not done, or not yet deleted for being done. */
  async left(): Promise<number> {
    const { rows } = await this.#pool.query<{ left: number }>(
      "select count(*)::int as left from graphile_worker._private_jobs",
    );
    return rows[0]?.left ?? Number.NaN;
  }

  /**
   * graphile-worker tells a client nothing: the function notifies, as a user would have it do. So the client knows when
   * the function is done, which is a moment before the job is.
   */
  async once(): Promise<{ startedMs: number; doneMs: number }> {
    this.#listener ??= this.#listen();
    await this.#listener;
    this.#singles += 1;
    const number = String(this.#singles);
    const begun = monotonicMs();
    const [end] = await Promise.all([this.#endOf(number), this.#utils.addJob(START, { number })]);
    return { startedMs: end.startedAt - begun, doneMs: end.heardAt - begun };
  }

  #endOf(number: string): Promise<{ startedAt: number; heardAt: number }> {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => {
        this.#waiting.delete(number);
        reject(new Error(`single job ${number} has not ended within ${ONCE_LIMIT_MS} ms`));
      }, ONCE_LIMIT_MS);
      this.#waiting.set(number, (startedAt) => {
        clearTimeout(limit);
        this.#waiting.delete(number);
        resolve({ startedAt, heardAt: monotonicMs() });
      });
    });
  }

  async #listen(): Promise<Client> {
    const listener = new Client({ connectionString: this.#url });
    await listener.connect();
    listener.on("notification", ({ payload = "" }: Notification) => {
      const [number = "", startedMs] = payload.split(" ");
      this.#waiting.get(number)?.(Number(startedMs));
    });
    await listener.query(`listen ${START}`);
    return listener;
  }

  async close(): Promise<void> {
    await (await this.#listener)?.end();
    await this.#utils.release();
    await this.#pool.end();
  }
}
