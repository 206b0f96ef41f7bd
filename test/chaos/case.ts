/** One job as its judges see it, and what they all look for. */
import { isEndEvent } from "../../src/job/events.ts";
import type { EndedJob } from "../../src/job/state.ts";
import type { Execution } from "./evidence.ts";
import type { Excuses } from "./excuses.ts";
import type { Evidence, FindingKind, Verdict } from "./findings.ts";

/** Of one job, what it is judged by and to whom it is told. */
export interface Case {
  evidence: Evidence;
  executions: Execution[];
  excuses: Excuses;
  /** When its state was stored, ms since 1970. */
  storedAt: number;
  verdict: Verdict;
  find: (kind: FindingKind, details: string) => void;
}

/**
 * Of a job that has completed, the state is the only record of that; other ends are kept.
 *
 * @param kept how many of those there are to be, retries by hand considered
 */
export function judgeEndEvents(id: string, state: EndedJob, kept: number, { evidence, find }: Case): void {
  const ends = (evidence.events.get(id) ?? []).filter(({ event }) => isEndEvent(event));
  const told = ends.map(({ event }) => event.type);
  if (told.length > kept) find("ended twice", told.join(", "));
  const isTold = state.state === "completed" ? told.length >= kept : told.some((type) => type === state.state);
  if (kept > 0 && !isTold) find("end not told", `the state is ${state.state}, the end events are [${told.join(", ")}]`);
}
