/** What was accepted, and whether all of it has got an end. */
import { readSubmission } from "../../../src/actors/submission.ts";
import { readBatch } from "../../../src/bus/store/stream-read.ts";
import { EVENTS } from "../../../src/bus/topology.ts";
import { isAsyncError } from "../../../src/job/errors.ts";
import type { Random } from "../../simulation/random.ts";
import type { Target } from "../target.ts";

/** Answers from the bus and over HTTP that must not have been given, and jobs without an end. */
export class Ledger {
  readonly problems: string[] = [];
  readonly #accepted = new Set<string>();
  /** Submissions whose subject names an impossible id. */
  readonly #rejected = new Set<string>();
  /** Whose state somebody has written by hand: since the system was started, as such states stay. */
  readonly forged: Set<string>;
  answers = 0;

  constructor(forged: Set<string>) {
    this.forged = forged;
  }

  get size(): number {
    return this.#accepted.size + this.#rejected.size;
  }

  accept(jobId: string): void {
    this.#accepted.add(jobId);
  }

  /** A submission that was published and acknowledged with this sequence. */
  acknowledged(subject: string, data: Buffer, sequence: number): void {
    const read = readSubmission({ subject, data, sequence, storedAt: Date.now() });
    if (read.type === "job") this.#accepted.add(read.jobId);
    else this.#rejected.add(read.jobId);
  }

  /** Mostly one that was accepted. */
  anId(random: Random, otherwise: () => string): string {
    if (this.#accepted.size === 0 || random.chance(0.3)) return otherwise();
    return random.pick([...this.#accepted].slice(-50));
  }

  /** The text of an answer to anybody: of what is in it nothing may be of this machine. */
  checkText(what: string, text: string): void {
    this.answers += 1;
    const leak = LEAK.exec(text);
    if (leak) this.problems.push(`${what} shows ${JSON.stringify(leak[0])}: ${text.slice(0, 300)}`);
  }

  /** Everything that was accepted has an end, or gets one by being cancelled. */
  async settle(target: Target, limitMs: number): Promise<void> {
    const end = performance.now() + limitMs;
    let open = [...this.#accepted];
    for (let round = 0; open.length > 0; round++) {
      const outcomes = await Promise.all(open.map((jobId) => this.#end(target, jobId, round > 2)));
      const left = open.filter((_, index) => outcomes[index] !== "ended");
      if (left.length > 0 && performance.now() > end) {
        const some = left.slice(0, 5).map((jobId) => `${jobId} (${outcomes[open.indexOf(jobId)]})`);
        this.problems.push(`${left.length} of ${this.#accepted.size} have no end: ${some.join("; ")}`);
        return;
      }
      open = left;
      if (open.length > 0) await new Promise((resolve) => setTimeout(resolve, 250));
    }
    for (const jobId of this.#rejected) await this.#checkRejected(target, jobId);
  }

  async #end({ client }: Target, jobId: string, cancel: boolean): Promise<string> {
    try {
      const { state, finished_at } = cancel ? await client.cancel(jobId) : await client.get(jobId);
      return finished_at === undefined ? state : "ended";
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      if (error.code === "job_ended" || error.code === "payload_too_large") return "ended";
      // What somebody has written over or removed is no job any more: the next sweep makes it a failed one (`doctor.test`).
      const isNone = error.code === "job_not_found" || error.code === "corrupt_state" || error.code === "newer_format";
      if (isNone && this.forged.has(jobId)) return "ended";
      return `${error.code}: ${error.message}`;
    }
  }

  async #checkRejected({ bus }: Target, jobId: string): Promise<void> {
    const filter = `job.event.${jobId}.rejected`;
    const { messages } = await readBatch(bus, EVENTS, { filter, from: 1, batch: 1 });
    if (messages.length === 0)
      this.problems.push(`submission ${jobId} was acknowledged, and neither made a job nor was rejected`);
  }
}

/** Folders of this installation, and places in code. */
const LEAK = new RegExp(
  [process.cwd(), "node_modules", "node:internal", '\\bat [\\w.<>]* ?\\(?[^\\s"]+:\\d+:\\d+', "/home/", "/root/"]
    .map((one, index) => (index === 0 ? one.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&") : one))
    .join("|"),
);
