/**
 * Tells a person who waits for a job what the job waits for, on standard error: once it has taken a few seconds, and then
 * whenever that changes. Example: `waiting: no worker serves fn.greet`.
 */
import type { Client } from "../client/client.ts";
import { type AsyncError, isAsyncError } from "../job/errors.ts";
import type { ExplainedEntry } from "../job/explanation.ts";
import type { JobView } from "../job/view.ts";
import { brief } from "./table.ts";

const LOOK_MS = 2_500;
/** To explain a job may take a question to all workers, so that is asked more rarely where the job looks as it did before. */
const LOOKS_PER_QUESTION = 4;
/** Most entries of which it is said at a time what they wait for. */
const MAX_SAID = 3;

export class WaitNotice {
  readonly #client: Client;
  readonly #jobId: string;
  readonly #say: (line: string) => void;
  #timer: NodeJS.Timeout | undefined;
  /** The keys of what was said last. Of a job that just runs nothing is said. */
  #said = "running";
  /** How the job looked when it was explained last, and how often it has looked so since. */
  #explained: { look: string; looks: number } | undefined;
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
    const reasons = await this.#reasons();
    if (this.#closed) return;
    const key = [...new Set(reasons.map((reason) => reason.key))].join();
    if (key !== "" && key !== this.#said) {
      this.#said = key;
      for (const { text } of reasons) this.#say(text);
    }
    this.#plan();
  }

  /** None if there is nothing new. */
  async #reasons(): Promise<Reason[]> {
    try {
      const look = lookOf(await this.#client.get(this.#jobId));
      const known = this.#explained;
      if (known?.look === look && known.looks < LOOKS_PER_QUESTION) {
        known.looks += 1;
        return [];
      }
      const { entries } = await this.#client.explain(this.#jobId);
      this.#explained = { look, looks: 0 };
      return entries
        .filter(({ reason }) => reason !== "needs" && reason !== "starting")
        .slice(0, MAX_SAID)
        .map(reasonOf);
    } catch (error) {
      if (!isAsyncError(error)) throw error;
      return reasonOfError(error);
    }
  }
}

interface Reason {
  /** What makes it another reason. */
  key: string;
  text: string;
}

/** What of a job shows that it waits for something else. */
function lookOf({ state, waiting_for, current_function, due_at }: JobView): string {
  return `${state} ${waiting_for} ${current_function} ${due_at}`;
}

/** Numbers of those who wait change all the time, so they are no part of the key. */
function reasonOf({ index, reason, until, text, undo }: ExplainedEntry): Reason {
  const isAtWork = reason === "running" || reason === "items";
  const key = reason === "running" ? reason : `${undo ? "undo " : ""}${index} ${reason} ${until}`;
  return { key, text: `${isAtWork ? "running" : "waiting"}: ${brief(text, 300)}` };
}

function reasonOfError(error: AsyncError): Reason[] {
  switch (error.code) {
    case "not_connected":
      return [{ key: error.code, text: "waiting: not connected to NATS; the job goes on without us" }];
    case "job_not_found":
      return []; // told by who waits
    default:
      return [{ key: error.code, text: `waiting: ${error.message} [${error.code}]` }];
  }
}
