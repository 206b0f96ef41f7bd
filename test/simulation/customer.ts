/** The client of a history: what it submits, changes by hand and sends, and when. */

import type { Bus } from "../../src/bus/connection.ts";
import { Client } from "../../src/client/client.ts";
import type { Encoding } from "../../src/job/encoding.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { RetryPatch } from "../../src/job/retry-patch.ts";
import type { Submission } from "../../src/job/schema.ts";
import { chainDocument, type Features, graphData, graphDocument } from "./documents.ts";
import { MAY_BE_STORED, REFUSALS } from "./kinds.ts";
import type { Random } from "./random.ts";
import { Violation } from "./seen.ts";
import { SignalSender } from "./signal-sender.ts";
import type { JobKind, Surroundings } from "./surroundings.ts";

const SUBMIT_LIMIT_MS = 60_000;
/** Of twenty jobs of a history, if they may be any. Those with children and items take five times as long to simulate as a chain. */
const SHARES: JobKind[] = [
  ...Array<JobKind>(8).fill("chains"),
  ...Array<JobKind>(6).fill("graphs"),
  ...Array<JobKind>(4).fill("sagas"),
  ...(["families", "items"] as const),
];

/** What the entries of a graph of that kind may have besides. */
function featuresOf(kind: JobKind, random: Random): Features {
  switch (kind) {
    case "sagas":
      return { undo: true };
    case "families":
      return { undo: random.chance(0.6), children: 2 };
    case "items":
      return { undo: random.chance(0.4), items: true, children: random.chance(0.3) ? 1 : 0 };
    default:
      return {};
  }
}

/** Far more than any job takes, faults included. */
const RUN_LIMIT_MS = 300_000;

export class Customer {
  readonly #client: Client;
  readonly #all: Surroundings;
  readonly #signals: SignalSender;
  #submitted = 0;
  #openRequests = 0;

  constructor(bus: Bus, surroundings: Surroundings) {
    this.#client = new Client(bus);
    this.#all = surroundings;
    this.#signals = new SignalSender(this.#client, surroundings, (what, ask) => this.#request(what, ask));
  }

  /** All that it wanted is acknowledged, and it waits for nothing. */
  get isDone(): boolean {
    return this.#openRequests === 0 && this.#all.invariants.acknowledged.size >= this.#submitted;
  }

  begin(): void {
    const { crowded, world } = this.#all;
    const { random } = world;
    const count = crowded ? random.int(8, 20) : random.int(2, 5);
    for (let i = 0; i < count; i++) {
      const kind = random.pick(["chosen", "chosen", "made up", "run"] as const);
      if (kind === "chosen") this.#planJob(`j${i}`);
      else if (kind === "made up") this.#planMadeUp(`m${i}`);
      else this.#planRun(`r${i}`);
    }
  }

  /** Sends what jobs wait for without end. To be called now and then when the faults are over. */
  sendWhatIsMissing(): void {
    this.#signals.sendWhatIsMissing();
  }

  /** A job with an id of its own, which may be submitted again and again. */
  #planJob(jobId: string): void {
    const { world, process, invariants } = this.#all;
    const { random } = world;
    const { at, submit, job } = this.#planSubmission(`submit ${jobId}`, async (job, encoding) => {
      await this.#client.submit(job as unknown, { jobId, encoding, timeoutMs: SUBMIT_LIMIT_MS });
      invariants.acknowledged.add(jobId);
    });
    while (random.chance(0.25)) world.after(at + random.between(0, 4_000), submit, process);
    this.#planChanges(job, jobId, at);
  }

  /** A job whose id the client makes up: it is begun before anything is stored of it. */
  #planMadeUp(label: string): void {
    this.#planSubmission(`submit ${label}`, async (job, encoding) => {
      const { job_id } = await this.#client.submit(job as unknown, { encoding, timeoutMs: SUBMIT_LIMIT_MS });
      this.#all.invariants.acknowledged.add(job_id);
      this.#planChanges(job, job_id, 0);
    });
  }

  /** The same for somebody who waits for the result. */
  #planRun(label: string): void {
    const { invariants, check } = this.#all;
    this.#planSubmission(`run ${label}`, async (job, encoding) => {
      let id = label;
      const onSubmitted = (jobId: string) => {
        id = jobId;
        invariants.acknowledged.add(jobId);
        this.#planChanges(job, jobId, 0);
      };
      try {
        const result = await this.#client.run(job, { encoding, timeoutMs: RUN_LIMIT_MS, onSubmitted });
        check(() => invariants.ran(id, result));
      } catch (error) {
        if (id === label && isAsyncError(error) && REFUSALS.has(error.code)) throw error;
        check(() => invariants.ranInVain(id, error));
        throw error;
      }
    });
  }

  /** Returns when it is submitted, and how to do so once more. */
  #planSubmission(
    what: string,
    ask: (job: Submission, encoding: Encoding) => Promise<void>,
  ): { at: number; submit: () => void; job: Submission } {
    const { world, process, network, fail } = this.#all;
    const { random } = world;
    this.#submitted += 1;
    const job = this.#randomJob();
    const encoding = random.pick(["json", "msgpack"] as const);
    const submit = () =>
      this.#request(what, async () => {
        try {
          await ask(job, encoding);
        } catch (error) {
          // Whoever is told that there is no room or no permission tries again later.
          if (isAsyncError(error) && REFUSALS.has(error.code)) {
            network.strikes(`told ${error.code}`, 1);
            world.after(random.between(300, 1_500), submit, process);
          } else if (isAsyncError(error) && !MAY_BE_STORED.has(error.code)) {
            fail(new Violation("SIM-10", `${what}: refused with ${error.code}, which does not say what to do`));
          }
          throw error;
        }
      });
    const at = random.between(10, 2_000);
    world.after(at, submit, process);
    return { at, submit, job };
  }

  /** It may be cancelled, retried by hand and sent signals, some time after `at`, in ms from now. */
  #planChanges(job: Submission, jobId: string, at: number): void {
    const { world, process, invariants } = this.#all;
    const { random } = world;
    if (random.chance(0.2)) {
      const cancel = () => this.#request(`cancel ${jobId}`, () => this.#client.cancel(jobId));
      world.after(at + random.between(0, 3_000), cancel, process);
    }
    if (job.warn_after_ms !== undefined && random.chance(0.1)) {
      const skip = () => {
        invariants.undo.asksToSkip(jobId);
        this.#request(`cancel ${jobId} without undo`, () => this.#client.cancel(jobId, { undo: "skip" }));
      };
      world.after(at + random.between(0, 5_000), skip, process);
    }
    while (random.chance(job.warn_after_ms === undefined ? 0.25 : 0.4)) {
      const again = () => {
        const patch = this.#randomPatch(job);
        if (typeof patch.from === "string") invariants.asks(jobId, Number(patch.from.slice(1)));
        if (typeof patch.from === "number") invariants.asks(jobId, patch.from);
        this.#request(`retry ${jobId} ${JSON.stringify(patch)}`, () => this.#client.retry(jobId, patch));
      };
      world.after(at + random.between(500, 6_000), again, process);
      if (job.warn_after_ms === undefined) break;
    }
    this.#signals.plan(job, jobId, at);
  }

  #randomPatch({ functions, warn_after_ms }: Submission): RetryPatch {
    const { random, wallClock } = this.#all.world;
    if (warn_after_ms === undefined) return random.chance(0.5) ? { data: "new" } : {};
    const patch: RetryPatch = {};
    const index = random.int(0, functions.length - 1);
    const id = functions[index]?.id;
    const where = random.pick(["from", "from", "failed", "on"] as const);
    if (where === "from") patch.from = id ?? index;
    // Although what it has done is not undone.
    if (where === "from" && random.chance(0.3)) patch.force = true;
    else if (where === "failed") patch.failed = true;
    if (random.chance(0.5)) patch.data = graphData(random, wallClock);
    if (random.chance(0.2) && id !== undefined) patch.args_by_id = { [id]: { seen: "other" } };
    if (random.chance(0.3)) patch.by = "somebody";
    return patch;
  }

  #randomJob(): Submission {
    const { world, crowded, jobs } = this.#all;
    const { random } = world;
    const options = { crowded, now: world.wallClock };
    const kind = jobs === "any" ? random.pick(SHARES) : jobs;
    if (kind === "chains") return chainDocument(random, options);
    return graphDocument(random, options, featuresOf(kind, random));
  }

  /** A request of the client: it may fail, as NATS or the supervisors may be away, or because it comes too late. */
  #request(what: string, ask: () => Promise<unknown>): void {
    const { note, fail } = this.#all;
    note(what);
    this.#openRequests += 1;
    ask()
      .then(() => note(`${what}: done`))
      .catch((error) => {
        if (!isAsyncError(error)) fail(error);
        note(`${what}: ${error}`);
      })
      .finally(() => {
        this.#openRequests -= 1;
      });
  }
}
