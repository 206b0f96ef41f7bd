/** What the invariants remember of a job. */
import type { Plan } from "../../src/job/plan.ts";
import { isEnded, isGraph, type JobState } from "../../src/job/state.ts";

export class Violation extends Error {
  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.name = "Violation";
  }
}

/** What is executed: an entry, an item of one, what undoes it, or what is called once the job has failed. */
export interface Executed {
  /** Of the entry, or `ON_FAILURE`. */
  index: number;
  item?: number;
  undo?: true;
  /** It lists the items. */
  list?: true;
}

/** Stands for the index of what is called once the job has failed. */
export const ON_FAILURE = -1;

export function partKey({ index, item, undo, list }: Executed): string {
  const part = index === ON_FAILURE ? "on_failure" : String(index);
  if (list) return `${part}/list`;
  return `${part}${item === undefined ? "" : `/${item}`}${undo ? "/undo" : ""}`;
}

/** What an idempotency key says of that: `<id>/<index>[/<item>][/on_error][/r<n>][/undo]`, or `<id>/<index>/list/<n>`. */
export function executedOf(idempotencyKey: string): Executed {
  const [, first = "", ...rest] = idempotencyKey.split("/");
  if (rest[0] === "list") return { index: Number(first), list: true };
  const item = rest.find((part) => /^\d+$/.test(part));
  return {
    index: first === "on_failure" ? ON_FAILURE : Number(first),
    ...(item !== undefined && { item: Number(item) }),
    ...(rest.includes("undo") && { undo: true }),
  };
}

/** What a handler returns: which execution it was. */
export interface Execution extends Executed {
  jobId: string;
  attempt: number;
  number: number;
}

/** A signal that is sent, maybe several times. */
export interface SentSignal {
  jobId: string;
  name: string;
  key: string;
  /** Its payload; `signal` is the number by which it is known in results. */
  payload: { signal: number; ok: boolean };
}

export interface Seen {
  state: JobState;
  /** How often it has ended, and been retried by hand. */
  ends: number;
  retries: number;
  /** Commits by which a supervisor took it over. */
  takeovers: number;
  /** Those whose events stream EVENTS keeps. */
  keptEnds: number;
  endEvents: number;
  /** The results with which it has completed: once, unless it was retried after that. */
  results: unknown[];
  /** The supervisor that published the newest invocation. */
  invoker: string | undefined;
  /** It was cancelled or retried. */
  byHand: boolean;
  /** When the end of each function was committed, in virtual ms, by its `partKey`. */
  committedAt: Map<string, number>;
  /** For what it was parked last (SIM-8). */
  parkedFor: string | undefined;
  /** Which of the jobs that had this id it is: ended ones expire. */
  generation: number;
  /** When its newest state was stored, in virtual ms. */
  storedAt: number;
  /** It had begun before there was room to store it, was given back, and began once more: these functions (SIM-10). */
  begunInVain: ReadonlySet<number>;
  /** Of a graph. */
  graph: GraphMemory | undefined;
}

/** What is remembered of a graph besides. */
export interface GraphMemory {
  plan: Plan;
  /** By index: what certainly has ended when it begins. */
  before: readonly (readonly number[])[];
  /** Entries that have ended in any of its states. */
  everEnded: Set<number>;
  /** By index: when an entry that had ended was to run again, in virtual ms. */
  resetAt: Map<number, number>;
  /** From which entries it was asked to be run again. */
  asked: Set<number>;
  /** When it was retried last, in virtual ms; 0 if it was not. */
  runBeganAt: number;
  /** By index: until when an entry sleeps, ms since 1970, and what tells whose clock that is. */
  asleep: Map<number, { dueAt: number; takeovers: number }>;
  /** When it began to undo last, in virtual ms; undefined if it has not in this run. */
  undoingSince: number | undefined;
  /** By index: when the undo of an entry was committed as begun last, in virtual ms. */
  undoBegunAt: Map<number, number>;
  /** When another supervisor took it over last, in virtual ms; 0 if none has. */
  takenOverAt: number;
}

/** What it is at, for the log. */
export function whereOf(state: JobState): string {
  const why = state.state === "failed" ? ` ${state.error.code}` : "";
  if (!isGraph(state)) return `fn ${state.current_function} attempt ${state.attempt}${why}`;
  return `[${state.live.map(({ index, undo, attempt, wait }) => `${index}${undo ? "/undo" : ""} ${wait} ${attempt}`).join(", ")}]${why}`;
}

/** Notes when the end of each function was committed. @param now virtual ms */
export function noteEnds({ committedAt }: Seen, state: JobState, now: number): void {
  const note = (executed: Executed, hasEnded: boolean) => {
    const key = partKey(executed);
    if (!hasEnded) committedAt.delete(key);
    else if (!committedAt.has(key)) committedAt.set(key, now);
  };
  // What is live when a job begins to undo ends by that: nothing is invoked again but what undoes.
  const isOver = isEnded(state) || state.state === "undoing";
  for (const [index, { finished_at, undo, undoing }] of [...state.functions].entries()) {
    note({ index }, isOver || (isGraph(state) ? finished_at !== undefined : index < state.current_function));
    if (undo === undefined) continue;
    note({ index, undo: true }, isEnded(state) || (undoing?.finished_at ?? undoing?.given_up) !== undefined);
  }
  if (state.on_failure !== undefined) note({ index: ON_FAILURE }, isEnded(state));
}
