/**
 * What must be true of signals.
 *
 * SIM-12 A signal that was answered is used at most once, by an entry that waits for its name, in the order of the numbers; and it is
 *     used, if the job stays live and waits for it: a job that waits for nothing but a signal ends when that is sent (SIM-6), and
 *     none times out while there is one for it. The same key stands for the same number as long as the job has not ended.
 */
import { type Graph, isEnded, isGraph } from "../../src/job/state.ts";
import { type Seen, type SentSignal, Violation } from "./seen.ts";

/** One that was stored so long before, without faults since, is there for whoever waits for it. */
const CERTAIN_MS = 6_000;

interface Answer {
  number: number;
  sentAt: number;
  at: number;
  retries: number;
  /** Of the job, among those that had its id. */
  generation: number;
  /** Nothing was stored of the job but its submission. */
  untaken: boolean;
}

interface Known {
  signal: SentSignal;
  answers: Answer[];
}

export class SignalInvariants {
  /** When faults have stopped, in virtual ms. */
  calmAt = 0;
  readonly #now: () => number;
  readonly #known = new Map<number, Known>();
  /** By job, generation, run and signal: the entry that has used it. */
  readonly #users = new Map<string, number>();

  /** The bucket of states is too small, so that commits may have to wait for longer than a signal is waited for. */
  crowded = false;
  /** Which of several submissions makes the job is not known before it is taken: a signal to the other ones is lost with them. */
  readonly #isSubmittedTwice: (jobId: string) => boolean;

  constructor(now: () => number, isSubmittedTwice: (jobId: string) => boolean) {
    this.#now = now;
    this.#isSubmittedTwice = isSubmittedTwice;
  }

  /** It is about to be sent. */
  sends(signal: SentSignal): void {
    if (!this.#known.has(signal.payload.signal)) this.#known.set(signal.payload.signal, { signal, answers: [] });
  }

  /** It was answered with that number. */
  answered(
    { payload, jobId, name }: SentSignal,
    number: number,
    sentAt: number,
    seen: Seen | undefined,
    generation: number,
  ): void {
    const known = this.#known.get(payload.signal);
    if (!known) throw new Violation("SIM-12", `signal ${name} of ${jobId} was answered, and nobody has sent it`);
    const retries = seen?.retries ?? 0; // it may be a submission yet
    const other = known.answers.find(
      (one) => one.retries === retries && one.generation === generation && one.number !== number,
    );
    // The inbox of a job that had ended in between is a new one.
    if (other && seen && !isEnded(seen.state) && other.sentAt > (seen.graph?.runBeganAt ?? 0)) {
      throw new Violation(
        "SIM-12",
        `signal ${payload.signal} of ${jobId} has the numbers ${other.number} and ${number}`,
      );
    }
    known.answers.push({ number, sentAt, at: this.#now(), retries, generation, untaken: seen === undefined });
  }

  /** Checks which signals have been used from one state of a run to the next. */
  compare(seen: Seen, before: Graph | undefined, after: Graph): void {
    const used = new Map<string, number>();
    for (const [index, fn] of [...after.functions].entries()) {
      const { wait_for: name } = fn;
      if (name === undefined) continue;
      const earlier = before?.functions.at(index);
      if (fn.finished_at !== undefined && earlier?.finished_at === undefined && !fn.skipped && !fn.caught) {
        this.#requireOwn(seen, after, index, name, fn.result);
        used.set(name, (used.get(name) ?? 0) + 1);
      }
      const timedOut = (fn.caught ?? fn.error)?.code === "signal_timeout";
      if (timedOut && (earlier?.caught ?? earlier?.error)?.code !== "signal_timeout")
        this.#requireNone(seen, before ?? after, name);
    }
    for (const [name, number] of Object.entries(before?.signals ?? {})) {
      if ((after.signals?.[name] ?? 0) < number)
        throw new Violation("SIM-12", `${after.job_id} has forgotten that it used ${name}`);
    }
    for (const [name, count] of used) {
      if ((after.signals?.[name] ?? 0) < (before?.signals?.[name] ?? 0) + count) {
        throw new Violation("SIM-12", `${after.job_id} has used ${count} signals ${name}, and does not say so`);
      }
    }
  }

  /** The result of an entry is what was sent for it, and nobody else has had it in this run. */
  #requireOwn(seen: Seen, job: Graph, index: number, name: string, result: unknown): void {
    const id = (result as { signal?: number } | null)?.signal ?? -1;
    const known = this.#known.get(id);
    if (known?.signal.jobId !== job.job_id || known.signal.name !== name) {
      throw new Violation(
        "SIM-12",
        `entry ${index} of ${job.job_id} has used ${JSON.stringify(result)}, which was not sent`,
      );
    }
    const key = `${job.job_id}~${seen.generation}#${seen.retries}/${id}`;
    const other = this.#users.get(key);
    if (other !== undefined) {
      throw new Violation("SIM-12", `signal ${id} of ${job.job_id} was used by entry ${other}, and by entry ${index}`);
    }
    this.#users.set(key, index);
  }

  /** Nothing had come that it could have used. */
  #requireNone(seen: Seen, before: Graph, name: string): void {
    const latest = this.#now() - CERTAIN_MS;
    if (this.calmAt > latest || this.crowded) return;
    const numbers = this.#unused(seen, before, name).filter(({ at, sentAt }) => at < latest && sentAt > this.calmAt);
    if (numbers.length === 0) return;
    throw new Violation(
      "SIM-12",
      `${before.job_id} waited for ${name} in vain, but number ${numbers[0]?.number} had come`,
    );
  }

  /** The names of signals that jobs wait for without end, and that nobody has sent. */
  missing(jobs: Iterable<Seen>): [jobId: string, name: string][] {
    const missing: [string, string][] = [];
    for (const seen of jobs) {
      const { state } = seen;
      if (isEnded(state) || !isGraph(state)) continue;
      const waiting = new Map<string, number>();
      for (const { index, wait } of state.live) {
        const name = state.functions.at(index)?.wait_for;
        if (wait === "signal" && name !== undefined) waiting.set(name, (waiting.get(name) ?? 0) + 1);
      }
      for (const [name, count] of waiting) {
        if (this.#unused(seen, state, name).length < count) missing.push([state.job_id, name]);
      }
    }
    return missing;
  }

  /** What was answered in this run, and is not used, by numbers. */
  #unused(seen: Seen, job: Graph, name: string): Answer[] {
    const found = new Map<number, Answer>();
    const used = job.signals?.[name] ?? 0;
    for (const { signal, answers } of this.#known.values()) {
      if (signal.jobId !== job.job_id || signal.name !== name) continue;
      for (const answer of answers) {
        if (answer.generation !== seen.generation) continue;
        if (answer.untaken && this.#isSubmittedTwice(job.job_id)) continue;
        if (answer.number > used && answer.retries === seen.retries && answer.sentAt > (seen.graph?.runBeganAt ?? 0)) {
          found.set(answer.number, answer);
        }
      }
    }
    return [...found.values()];
  }
}
