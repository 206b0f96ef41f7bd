/**
 * Whether what is stored is what must be. A ledger names the jobs that were submitted; whatever else is on the server
 * belongs to others and is passed over.
 */

import { storedJob } from "../src/bus/store/job-store.ts";
import type { StoredMessage } from "../src/bus/store/stream-read.ts";
import type { EndedJob, JobState } from "../src/job/state.ts";
import { WrongResults } from "./contender.ts";

/** The number of each job by its id. */
export type Ledger = ReadonlyMap<string, number>;

/** What is wrong with a job that has ended as it is to; undefined if nothing is. */
export type Problem = (state: JobState, number: number) => string | undefined;

const SHOWN_CHARACTERS = 1_000;

type Stored = Pick<StoredMessage, "subject" | "data" | "sequence">;

/** The job that a message of any of our streams is about: its id is a part of the subject. */
export function jobIdOf(subject: string): string {
  const tokens = subject.split(".");
  return (subject.startsWith("job.event.") ? tokens[2] : tokens.at(-1)) ?? "";
}

/** Each job of the ledger is stored, has ended as it is to, and has no problem. @throws WrongResults */
export async function checkStates(
  states: AsyncIterable<Stored>,
  ledger: Ledger,
  problem: Problem,
  end: EndedJob["state"] = "completed",
): Promise<void> {
  const missing = new Set(ledger.keys());
  for await (const { subject, sequence, data } of states) {
    const id = jobIdOf(subject);
    const number = ledger.get(id);
    if (number === undefined) continue;
    const { state, problem: unreadable = "deleted" } = storedJob(id, sequence, data);
    if (state?.state !== end) throw new WrongResults(`job ${id} is ${state?.state ?? unreadable}`);
    const wrong = problem(state, number);
    if (wrong !== undefined) throw new WrongResults(`job ${id} (number ${number}): ${wrong}; ${shown(state)}`);
    if (!missing.delete(id)) throw new WrongResults(`job ${id} is stored twice`);
  }
  if (missing.size > 0) throw new WrongResults(`${missing.size} of ${ledger.size} jobs are not stored`);
}

/** Enough of a state to find out what has happened. */
function shown(state: JobState): string {
  return JSON.stringify({ ...state, data: undefined }).slice(0, SHOWN_CHARACTERS);
}

/** Each submission is stored once, byte for byte. Returns their sequences. @throws WrongResults */
export async function checkSubmissions(
  submissions: AsyncIterable<Stored>,
  ledger: Ledger,
  expected: (number: number) => string,
): Promise<number[]> {
  const sequences: number[] = [];
  const missing = new Set(ledger.keys());
  for await (const { subject, data, sequence } of submissions) {
    const id = jobIdOf(subject);
    const number = ledger.get(id);
    if (number === undefined) continue;
    if (!missing.delete(id)) throw new WrongResults(`submission ${id} is stored twice`);
    const text = Buffer.from(data).toString();
    if (text !== expected(number)) throw new WrongResults(`submission ${id} is not as it was sent: ${text}`);
    sequences.push(sequence);
  }
  if (missing.size > 0) throw new WrongResults(`${missing.size} of ${ledger.size} submissions are not stored`);
  return sequences;
}

/** Each body is stored, once, and nothing else is. @throws WrongResults */
export async function checkBodies(
  messages: AsyncIterable<Pick<Stored, "data">>,
  bodies: ReadonlySet<string>,
): Promise<void> {
  const missing = new Set(bodies);
  for await (const { data } of messages) {
    const text = Buffer.from(data).toString();
    if (!missing.delete(text)) throw new WrongResults(`a body is stored twice, or was never sent: ${text}`);
  }
  if (missing.size > 0) throw new WrongResults(`${missing.size} of ${bodies.size} bodies are not stored`);
}
