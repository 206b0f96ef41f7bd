/** Sends signals to the jobs of a history: before, while and after they wait for them, some twice, and at last those that are missing. */
import type { Client } from "../../src/client/client.ts";
import { isAsyncError } from "../../src/job/errors.ts";
import type { Submission } from "../../src/job/schema.ts";
import type { SentSignal } from "./seen.ts";
import type { Surroundings } from "./surroundings.ts";

export class SignalSender {
  readonly #client: Client;
  readonly #all: Surroundings;
  readonly #request: (what: string, ask: () => Promise<unknown>) => void;
  /** Jobs and names to which something is under way. */
  readonly #underWay = new Map<string, number>();
  #sent = 0;

  constructor(
    client: Client,
    surroundings: Surroundings,
    request: (what: string, ask: () => Promise<unknown>) => void,
  ) {
    this.#client = client;
    this.#all = surroundings;
    this.#request = request;
  }

  /** Some of the signals that the job may wait for, and rarely one that it does not know. @param at when it is submitted, in ms from now */
  plan({ functions }: Submission, jobId: string, at: number): void {
    const { world, process } = this.#all;
    const { random } = world;
    const names = functions.flatMap(({ wait_for }) => wait_for ?? []);
    if (names.length > 0 && random.chance(0.05)) names.push("unknown");
    for (const name of names) {
      if (random.chance(0.3)) continue;
      const signal = this.#make(jobId, name);
      const first = at + random.between(0, random.pick([300, 2_000, 7_000]));
      world.after(first, () => this.#send(signal), process);
      while (random.chance(0.25)) world.after(first + random.between(0, 2_000), () => this.#send(signal), process);
    }
  }

  sendWhatIsMissing(): void {
    const { world, process, invariants } = this.#all;
    for (const [jobId, name] of invariants.missingSignals()) {
      if (this.#underWay.has(`${jobId} ${name}`)) continue;
      world.as(process, () => this.#send(this.#make(jobId, name)));
    }
  }

  #make(jobId: string, name: string): SentSignal {
    this.#sent += 1;
    const payload = { signal: this.#sent, ok: this.#all.world.random.chance(0.8) };
    return { jobId, name, key: `key-${this.#sent}`, payload };
  }

  #send(signal: SentSignal): void {
    const { jobId, name, key, payload } = signal;
    const { world, process, invariants, check } = this.#all;
    const about = `${jobId} ${name}`;
    this.#underWay.set(about, (this.#underWay.get(about) ?? 0) + 1);
    const done = () => {
      const left = (this.#underWay.get(about) ?? 1) - 1;
      if (left > 0) this.#underWay.set(about, left);
      else this.#underWay.delete(about);
    };
    this.#request(`signal ${jobId} ${name} ${payload.signal}`, async () => {
      const sentAt = world.now;
      invariants.signals.sends(signal);
      try {
        const { number } = await this.#client.signal(jobId, name, payload, { key });
        check(() => invariants.signalled(signal, number, sentAt));
      } catch (error) {
        // It may be stored or not; the same key makes that safe.
        if (isAsyncError(error, "bus_timeout") && world.random.chance(0.9)) {
          world.after(world.random.between(10, 500), () => this.#send(signal), process);
        }
        throw error;
      } finally {
        done();
      }
    });
  }
}
