/**
 * Tells a person who waits for a job what the job waits for, on standard error: once it has taken a few seconds, and then
 * whenever that changes. Example: `waiting: no worker serves greet (3 jobs wait)`.
 */
import type { Client } from "../client/client.ts";
import { type AsyncError, isAsyncError } from "../job/errors.ts";
import type { JobView } from "../job/view.ts";
import { brief } from "./table.ts";

const LOOK_MS = 2_500;
/** Asking for all functions takes supervisors a second, so it is asked more rarely whether their answer has changed. */
const LOOKS_PER_QUESTION = 4;

export class WaitNotice {
  readonly #client: Client;
  readonly #jobId: string;
  readonly #say: (line: string) => void;
  #timer: NodeJS.Timeout | undefined;
  /** The key of what was said last. Of a job that just runs nothing is said. */
  #said = "running";
  /** What the function was last known to wait for. */
  #worker: { functionName: string; why: Reason; looks: number } | undefined;
  #closed = false;

  constructor(client: Client, jobId: string, say = (line: string) => void process.stderr.write(`${line}\n`)) {
    this.#client = client;
    this.#jobId = jobId;
    this.#say = say;
    this.#plan();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #plan(): void {
    if (!this.#closed) this.#timer = setTimeout(() => void this.#look(), LOOK_MS);
  }

  async #look(): Promise<void> {
    const { key, text } = await this.#reason();
    if (this.#closed) return;
    if (text !== "" && key !== this.#said) {
      this.#said = key;
      this.#say(text);
    }
    this.#plan();
  }

  async #reason(): Promise<Reason> {
    try {
      return await this.#reasonOf(await this.#client.get(this.#jobId));
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      return reasonOfError(error);
    }
  }

  async #reasonOf(job: JobView): Promise<Reason> {
    const name = job.functions[job.current_function]?.name ?? "";
    switch (job.state) {
      case "scheduled":
        return reason(`scheduled ${job.scheduled_at}`, `waiting: the job starts at ${job.scheduled_at}`);
      case "pending":
        return reason(
          "pending",
          "waiting: no supervisor has taken the job yet: they are full, or have no room in storage",
        );
      case "waiting":
        return job.waiting_for === "backoff" ? backoffReason(job, name) : this.#workerReason(name);
      case "running":
        return reason("running", `running: ${name}`);
      default:
        return NOTHING; // it has ended, which is told by who waits
    }
  }

  /** Whether nobody serves the function or everybody is busy. */
  async #workerReason(name: string): Promise<Reason> {
    const known = this.#worker;
    if (known?.functionName === name && known.looks < LOOKS_PER_QUESTION) {
      known.looks += 1;
      return known.why;
    }
    const { functions, omitted } = await this.#client.functions();
    const depth = functions.find((one) => one.name === name);
    if (!depth && omitted !== undefined) return reason(`waiting ${name}`, `waiting: for a worker that serves ${name}`);
    if (!depth || depth.waiting === 0) return NOTHING; // it has gone on meanwhile
    const others = depth.waiting === 1 ? "" : ` (${depth.waiting} jobs wait for it)`;
    const why = depth.unserved
      ? reason(`unserved ${name}`, `waiting: no worker serves ${name}${others}; start one`)
      : reason(`busy ${name}`, `waiting: the workers of ${name} are busy${others}`);
    this.#worker = { functionName: name, why, looks: 0 };
    return why;
  }
}

interface Reason {
  /** What makes it another reason. */
  key: string;
  /** Empty if there is nothing to be said. */
  text: string;
}

const NOTHING: Reason = { key: "", text: "" };

function reason(key: string, text: string): Reason {
  return { key, text };
}

function backoffReason({ due_at, functions, current_function }: JobView, name: string): Reason {
  const error = functions[current_function]?.error;
  const why = error ? ` (${brief(error.message)})` : "";
  return reason(`backoff ${due_at}`, `waiting: ${name} has failed${why}; tried again at ${due_at}`);
}

function reasonOfError(error: AsyncError): Reason {
  switch (error.code) {
    case "not_connected":
      return reason(error.code, "waiting: not connected to NATS; the job goes on without us");
    case "job_not_found":
      return NOTHING; // told by who waits
    default:
      return reason(error.code, `waiting: ${error.message} [${error.code}]`);
  }
}
