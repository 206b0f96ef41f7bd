/**
 * The signals of one graph that is live here: which have come for the entries that wait for them.
 *
 * WATCH-1  The inboxes are looked into after each commit that makes the job wait for another signal, or leave memory; when it is taken
 *     over; and when somebody says that something has changed. Who sends a signal stores it first, and looks at the state of the job
 *     after that. So one of the two sees the other.
 * WATCH-2  Before an entry that waits is given up because its time is over, the inboxes are looked into once more: a signal that was
 *     stored in time counts also where we have not heard of it yet, as after a pause of this process.
 */
import { openSignal } from "../bus/messages/signal-payload.ts";
import type { Signal } from "../bus/store/inbox.ts";
import type { Signals } from "../bus/store/signals.ts";
import type { Failure } from "../job/failure.ts";
import { signalNames, usedNumber } from "../job/signals.ts";
import { type Branch, functionAt, type Graph } from "../job/state.ts";
import type { Event } from "../job/transition.ts";

export class SignalWatch {
  readonly #signals: Signals;
  /** For what the inboxes have been looked into. */
  #lookedFor: string | undefined;

  constructor(signals: Signals) {
    this.#signals = signals;
  }

  /** Something may have come. */
  doubt(): void {
    this.#lookedFor = undefined;
  }

  /** Whether the inboxes have to be looked into before the job goes on from this state. */
  isDue(job: Graph): boolean {
    if (!job.live.some(waitsForSignal)) return false;
    return this.#lookedFor !== keyOf(job, job.live.filter(waitsForSignal));
  }

  /** WATCH-2: whether that is about to make an entry give up. */
  isLastCall(job: Graph, events: readonly Event[], now: number): boolean {
    const isOver = (branch: Branch) => waitsForSignal(branch) && branch.due_at !== undefined && branch.due_at <= now;
    return events.some(({ type }) => type === "due") && job.live.some(isOver);
  }

  /** What has come: of several entries that wait for the same signal, the first in the list gets the first. @throws AsyncError of the bus */
  async look(job: Graph): Promise<Event[]> {
    const waiting = job.live.filter(waitsForSignal);
    this.#lookedFor = keyOf(job, waiting); // first: what is said while it looks is a doubt about that look
    const events: Event[] = [];
    const used = new Map<string, number>();
    const exhausted = new Set<string>();
    for (const { index } of waiting) {
      const { wait_for: name = "" } = functionAt(job, index);
      if (exhausted.has(name)) continue;
      const after = used.get(name) ?? usedNumber(job, name);
      const signal = await this.#signals.read(job.job_id, job.created_at, name, after);
      if (!signal) {
        exhausted.add(name);
        continue;
      }
      used.set(name, signal.n);
      events.push({ type: "signalled", index, number: signal.n, ...contentOf(signal, name, job) });
    }
    return events;
  }

  /** The job has ended. */
  async close(job: Graph): Promise<void> {
    const names = signalNames(job);
    if (names.length > 0) await this.#signals.remove(job.job_id, names);
  }
}

/** What somebody else has written there is no payload: the entry that would have got it fails. */
function contentOf(signal: Signal, name: string, { encoding }: Graph): { payload: unknown; unfit?: Failure } {
  const opened = openSignal(signal, encoding);
  if (opened.problem === undefined) return { payload: opened.value };
  const message = `signal ${name}, number ${signal.n}, cannot be read: ${opened.problem}`;
  return { payload: null, unfit: { code: "corrupt_state", name: "CorruptSignal", message } };
}

function waitsForSignal({ wait }: Branch): boolean {
  return wait === "signal";
}

function keyOf({ token }: Graph, waiting: readonly Branch[]): string {
  return `${token}:${waiting.map(({ index }) => index)}`;
}
