/**
 * Documents of the second kind, as the chaos test plans them: entries that need each other, conditions, entries that fail, sleeps, and
 * waits for signals. What an entry is handed and returns follows from the document (see `graph-end.ts`), but for signals.
 */
import type { Backoff, FunctionSpec, Submission } from "../../src/job/schema.ts";

/** More attempts than there will ever be. */
export const ALWAYS = 1_000_000;

export interface GraphData {
  n: number;
  /** How many attempts of an entry fail that says so. */
  failures: number;
}

/** What an entry reads by an expression. */
export type Input =
  | { of: "data" }
  | { of: "result"; index: number }
  /** Whether that entry was skipped. */
  | { of: "skipped"; index: number };

export interface Work {
  type: "work";
  /** How long an execution takes. */
  ms: number;
  /** Makes the result another one than that of every other entry. */
  salt: number;
  inputs: Input[];
  /** The first so many attempts throw; "data" is what the data of the job says. */
  failures: number | "data";
  /** What they throw is not tried again. */
  fatal: boolean;
  retryLimit: number;
  backoff?: Backoff;
  /** Its result is not what it expects. */
  unexpected: boolean;
}

export type Action =
  | Work
  | { type: "sleep"; ms: number }
  | { type: "wait"; signal: string; timeoutMs: number | undefined };

export interface Entry {
  action: Action;
  /** Indexes; undefined is "all before it in the list". */
  needs: number[] | undefined;
  /** It is skipped unless that is greater. */
  when?: { of: Exclude<Input, { of: "skipped" }>; above: number };
  onError: "fail" | "continue" | { salt: number; ms: number; fails: boolean } | undefined;
}

/** Sent while the job lives. */
export interface SignalPlan {
  name: string;
  /** Its payload, `{n}`: no other signal of the job has it. */
  n: number;
  /** After the acknowledgement of the job. */
  afterMs: number;
  /** It is sent once more with the same key although it was answered. */
  again: boolean;
}

/** What is asked for by hand when the job has ended. */
export interface RetryPlan {
  /** From that entry on; or what has failed. */
  from: number | "failed";
  data: GraphData;
}

export interface Graph {
  data: GraphData;
  entries: Entry[];
  signals: SignalPlan[];
  retry?: RetryPlan;
}

/** What a worker is told to do in an attempt of an entry. */
export interface EntryArgs {
  ms: number;
  salt: number;
  inputs: unknown[];
  failures: number;
  fatal: boolean;
  /** Of sagas: it goes on when it is told to stop; and its result is made so much larger. */
  stubborn?: boolean;
  pad_bytes?: number;
}

export const WORK = "work";
/** Runs in place of an entry that has failed. */
export const MEND = "mend";

export const idOf = (index: number) => `e${index}`;

/** The indexes of what it follows. */
export function neededBy({ entries }: { entries: readonly Pick<Entry, "needs">[] }, index: number): number[] {
  return entries[index]?.needs ?? Array.from({ length: index }, (_, before) => before);
}

/** All that it follows by any way, without itself; entries need those before them in the list only. */
export function ancestorsOf(graph: Pick<Graph, "entries">, index: number): Set<number> {
  const found = new Set<number>();
  const open = [...neededBy(graph, index)];
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    if (found.has(one)) continue;
    found.add(one);
    open.push(...neededBy(graph, one));
  }
  return found;
}

/** The entry and all that follow it. */
export function fromOn(graph: Pick<Graph, "entries">, index: number): Set<number> {
  const all = graph.entries.map((_, other) => other);
  return new Set(all.filter((other) => other === index || ancestorsOf(graph, other).has(index)));
}

export function documentOf({ data, entries }: Graph): Pick<Submission, "data" | "functions"> {
  return { data, functions: entries.map((entry, index) => specOf(entry, index)) };
}

function specOf({ action, needs, when, onError }: Entry, index: number): FunctionSpec {
  return {
    id: idOf(index),
    ...actionOf(action),
    ...(needs && { needs: needs.map(idOf) }),
    ...(when && { when: `${textOf(when.of)} > ${when.above}` }),
    ...(onError !== undefined && { on_error: typeof onError === "string" ? onError : handlerOf(onError) }),
  };
}

function actionOf(action: Action): FunctionSpec {
  switch (action.type) {
    case "sleep":
      return { sleep_ms: action.ms };
    case "wait":
      return {
        wait_for: action.signal,
        ...(action.timeoutMs !== undefined && { timeout_ms: action.timeoutMs }),
      };
    case "work": {
      const { ms, salt, inputs, failures, fatal, retryLimit, backoff, unexpected } = action;
      return {
        name: WORK,
        args: {
          ms,
          salt,
          inputs: inputs.map((input) => ({ $: textOf(input) })),
          failures: failures === "data" ? { $: "data.failures" } : failures,
          fatal,
        },
        retry_options: { retry_limit: retryLimit, ...(backoff && { backoff }) },
        ...(unexpected && { expect: "result < 0" }),
      };
    }
  }
}

function handlerOf({ salt, ms, fails }: Exclude<Entry["onError"], string | undefined>) {
  const args = { ms, salt, inputs: [{ $: "error.code" }], failures: fails ? ALWAYS : 0, fatal: fails };
  return { name: MEND, args, retry_options: { retry_limit: 3 } };
}

function textOf(input: Input): string {
  switch (input.of) {
    case "data":
      return "data.n";
    case "result":
      return `results.${idOf(input.index)}`;
    case "skipped":
      return `skipped.${idOf(input.index)}`;
  }
}
