/** What a job says of the signals that it waits for. The signals themselves are in its inboxes: see `bus/store/inbox.ts`. */
import type { JobState } from "./state.ts";

/** The signals that entries of the job wait for, each once, in the order of the list. */
export function signalNames({ functions }: Pick<JobState, "functions">): string[] {
  const names = new Set<string>();
  for (const { wait_for } of functions) if (wait_for !== undefined) names.add(wait_for);
  return [...names];
}

/** The number of the last signal of that name that the job has used; 0 if it has used none. */
export function usedNumber({ signals }: Pick<JobState, "signals">, name: string): number {
  // A signal may be named as something that every object has, such as `constructor`.
  const used = signals !== undefined && Object.hasOwn(signals, name) ? signals[name] : undefined;
  return Number.isSafeInteger(used) ? (used as number) : 0;
}

/** Whether an entry waits for that signal right now. */
export function waitsForSignal({ live = [], functions }: Pick<JobState, "live" | "functions">, name: string): boolean {
  return live.some(({ index, wait }) => wait === "signal" && functions.at(index)?.wait_for === name);
}
