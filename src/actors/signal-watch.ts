/**
 * The signals of one graph that is live here: which have come for the entries that wait for them.
 *
 * WATCH-1  It is looked into after each commit that makes the job wait for another signal, or leave memory; when it is taken over; and
 *     when somebody says that something has changed. Who sends a signal stores it first, and looks at the state of the job after that.
 *     So one of the two sees the other.
 */
import { type Branch, functionAt, type Graph } from "../job/state.ts";
import type { Event } from "../job/transition.ts";

export interface SignalSource {
  /** Those of that name that came after the one with number `after`, in order. @throws AsyncError of the bus */
  unused(job: Graph, name: string, after: number): Promise<{ number: number; payload: unknown }[]>;
  /** Those that are kept of these names are needed no more. */
  remove(job: Graph, names: readonly string[]): void;
}

export class SignalWatch {
  readonly #source: SignalSource;
  /** For what it has been looked into. */
  #lookedFor: string | undefined;

  constructor(source: SignalSource) {
    this.#source = source;
  }

  /** Something may have come. */
  doubt(): void {
    this.#lookedFor = undefined;
  }

  /** Whether it has to be looked into before the job goes on from this state. */
  isDue(job: Graph): boolean {
    const waiting = job.live.filter(waitsForSignal);
    if (waiting.length === 0) return false;
    return this.#lookedFor !== keyOf(job, waiting);
  }

  /** What has come for entries of the job. @throws AsyncError of the bus */
  async look(job: Graph): Promise<Event[]> {
    const waiting = job.live.filter(waitsForSignal);
    const key = keyOf(job, waiting);
    const events: Event[] = [];
    const byName = new Map<string, Branch[]>();
    for (const branch of waiting) {
      const name = functionAt(job, branch.index).wait_for ?? "";
      byName.set(name, [...(byName.get(name) ?? []), branch]);
    }
    for (const [name, branches] of byName) {
      const unused = await this.#source.unused(job, name, job.signals?.[name] ?? 0);
      for (const [at, { number, payload }] of unused.slice(0, branches.length).entries()) {
        events.push({ type: "signalled", index: branches[at]?.index ?? 0, number, payload });
      }
    }
    this.#lookedFor = key;
    return events;
  }

  /** The job has ended. */
  close(job: Graph): void {
    const names = new Set(job.functions.map(({ wait_for }) => wait_for).filter((name) => name !== undefined));
    if (names.size > 0) this.#source.remove(job, [...names]);
  }
}

function waitsForSignal({ wait }: Branch): boolean {
  return wait === "signal";
}

function keyOf({ token }: Graph, waiting: readonly Branch[]): string {
  return `${token}:${waiting.map(({ index }) => index)}`;
}
