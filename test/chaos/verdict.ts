/**
 * Judges a run: what is promised in README.md under "Guarantees", job by job. Pure: evidence in, findings out.
 *
 * Every execution of a step must be accounted for: either its outcome is in the state of the job, or a fault hit it, and
 * so one of its worker, of a supervisor that owned the job, or of NATS, near its time, or another supervisor took the job
 * over within a lease of it. A fault elsewhere is no excuse.
 */
import { isEndEvent } from "../../src/job/events.ts";
import type { FunctionState } from "../../src/job/function-state.ts";
import { LOST_LIMIT } from "../../src/job/outcome.ts";
import { isEnded, type JobState } from "../../src/job/state.ts";
import { LEASE_MS } from "./cluster.ts";
import type { Execution, OwnerChange, StoredEvent } from "./evidence.ts";
import type { Fault } from "./faults.ts";
import type { JobPlan, Step } from "./plan.ts";

export interface Evidence {
  plans: JobPlan[];
  acknowledged: ReadonlyMap<string, number>;
  states: ReadonlyMap<string, JobState>;
  /** When they were stored, ms since 1970. */
  storedAt: ReadonlyMap<string, number>;
  /** What is stored as a job and is none. */
  problems: ReadonlyMap<string, string>;
  events: ReadonlyMap<string, StoredEvent[]>;
  executions: ReadonlyMap<string, Execution[]>;
  owners: ReadonlyMap<string, OwnerChange[]>;
  faults: Fault[];
}

export const FINDINGS = {
  lost: "acknowledged, and not there",
  unfinished: "not ended",
  wrong: "ended otherwise than planned",
  "ended twice": "more than one end event",
  "end not told": "no end event, or another one than the state says",
  unfounded: "an outcome without an execution that had it",
  unexplained: "an execution neither counted nor hit by a fault",
  "begun again": "a committed step begun again, and no fault around",
  "too early": "begun before its start time",
} as const;

export type FindingKind = keyof typeof FINDINGS;

export interface Finding {
  kind: FindingKind;
  job: string;
  details: string;
}

export interface Verdict {
  findings: Finding[];
  completed: number;
  /** As planned. */
  failed: number;
  /** Failed since five attempts of one step were lost, each with a fault around: by contract. */
  givenUp: number;
  executions: number;
  /** Attempts that threw as planned, and so had to be repeated, included. */
  accepted: number;
  /** Not accepted, and hit by a fault. */
  wasted: number;
  /** As the states count them. */
  lostAttempts: number;
}

/** How long after its end an execution's outcome may be on its way, and before its beginning its invocation. */
const TRANSIT_MS = 1_000;
/** After an outage of a server leases may have run out; who has lost one finds out within two leases. */
const RECOVERY_MS = 2 * LEASE_MS + 2_000;
/** A process that goes on after a pause works off what had piled up. */
const CATCH_UP_MS = 3_000;

export function judge(evidence: Evidence): Verdict {
  const verdict: Verdict = {
    findings: [],
    completed: 0,
    failed: 0,
    givenUp: 0,
    executions: 0,
    accepted: 0,
    wasted: 0,
    lostAttempts: 0,
  };
  const executors = new Set([...evidence.executions.values()].flat().map(({ process }) => process));
  for (const plan of evidence.plans) new JobJudge(plan, evidence, executors, verdict).judge();
  return verdict;
}

class JobJudge {
  readonly #plan: JobPlan;
  readonly #verdict: Verdict;
  readonly #faults: Fault[];
  readonly #acknowledged: boolean;
  readonly #problem: string | undefined;
  readonly #state: JobState | undefined;
  readonly #ends: StoredEvent[];
  readonly #storedAt: number;
  readonly #executions: Execution[];
  readonly #owners: ReadonlySet<string>;
  /** Processes that execute functions. */
  readonly #executors: ReadonlySet<string>;
  /** When a supervisor took it over from another. */
  readonly #takeovers: number[];

  constructor(plan: JobPlan, evidence: Evidence, executors: ReadonlySet<string>, verdict: Verdict) {
    const { id } = plan;
    this.#plan = plan;
    this.#verdict = verdict;
    this.#executors = executors;
    this.#faults = evidence.faults;
    this.#acknowledged = evidence.acknowledged.has(id);
    this.#problem = evidence.problems.get(id);
    this.#state = evidence.states.get(id);
    this.#storedAt = evidence.storedAt.get(id) ?? Number.POSITIVE_INFINITY;
    this.#ends = (evidence.events.get(id) ?? []).filter(({ event }) => isEndEvent(event));
    this.#executions = evidence.executions.get(id) ?? [];
    const changes = evidence.owners.get(id) ?? [];
    this.#owners = new Set(changes.map(({ process }) => process));
    this.#takeovers = changes.filter(({ what }) => what === "claimed resumed").map(({ at }) => at);
  }

  judge(): void {
    const state = this.#state;
    this.#verdict.executions += this.#executions.length;
    if (this.#problem !== undefined) this.#find("wrong", `what is stored is no job: ${this.#problem}`);
    if (!state) {
      if (this.#acknowledged) this.#find("lost", "its submission was acknowledged");
      else if (this.#executions.length > 0) this.#find("lost", "it was executed");
      return;
    }
    if (!isEnded(state)) {
      this.#find("unfinished", `it is ${state.state}`);
      return;
    }
    this.#judgeEnd(state);
    this.#judgeEndEvents(state);
    for (const [index, step] of this.#plan.steps.entries()) {
      const fn = state.functions.at(index);
      if (fn) this.#judgeStep(step, index, fn);
    }
    const first = this.#executions[0];
    if (first && first.begun < state.scheduled_at) this.#find("too early", `at ${first.begun}`);
  }

  #judgeEnd(state: JobState): void {
    const { expected } = this.#plan;
    if (this.#isGivenUp(state)) {
      this.#verdict.givenUp += 1;
      return;
    }
    const results = [...state.functions].flatMap((fn) => (fn.result === undefined ? [] : [fn.result]));
    const right =
      state.state === expected.state &&
      JSON.stringify(results) === JSON.stringify(expected.results) &&
      (state.state !== "failed" || state.error.code === "function_failed");
    if (!right) {
      const error = state.state === "failed" ? ` by ${state.error.code}` : "";
      this.#find(
        "wrong",
        `${state.state}${error} with ${JSON.stringify(results)}, not ${expected.state} with ${JSON.stringify(expected.results)}`,
      );
    }
    if (expected.state === "failed") {
      const failures = state.functions.at(expected.index)?.failures ?? 0;
      if (failures !== expected.failures) this.#find("wrong", `${failures} failures, not ${expected.failures}`);
    }
    this.#verdict[state.state === "completed" ? "completed" : "failed"] += 1;
  }

  /** Each lost attempt needs an executor or a server that was hit; one pause can swallow two, before it is noticed. */
  #isGivenUp(state: JobState): boolean {
    if (state.state !== "failed" || state.error.code !== "attempt_lost") return false;
    const { created_at: from, finished_at: to } = state;
    const mayLose = ({ role, process }: Fault) => role !== "supervisor" || this.#executors.has(process);
    const around = this.#faults.filter((fault) => mayLose(fault) && overlaps(fault, from, to));
    return state.functions.at(state.current_function)?.lost === LOST_LIMIT && 2 * around.length >= LOST_LIMIT;
  }

  #judgeEndEvents(state: JobState): void {
    const told = this.#ends.map(({ event }) => event.type);
    // Of a job that has completed, the state is the only record.
    const kept = state.state === "completed" ? 0 : 1;
    if (told.length > kept) this.#find("ended twice", told.join(", "));
    if (kept === 1 && !told.includes(state.state as (typeof told)[number])) {
      this.#find("end not told", `the state is ${state.state}, the end events are [${told.join(", ")}]`);
    }
  }

  #judgeStep({ args }: Step, index: number, fn: FunctionState): void {
    const executions = this.#executions.filter((execution) => execution.index === index);
    const failures = fn.failures ?? 0;
    const succeeded = fn.result !== undefined;
    const accepted = failures + (succeeded ? 1 : 0);
    const unhit = executions.filter((execution) => !this.#wasHit(execution));
    this.#verdict.accepted += accepted;
    this.#verdict.wasted += Math.max(0, executions.length - accepted);
    this.#verdict.lostAttempts += fn.lost ?? 0;
    this.#judgeOutcomes(executions, index, fn);

    const threw = count(unhit, "threw");
    if (threw > failures) {
      this.#find(
        "unexplained",
        `step ${index}: ${threw} attempts threw and no fault hit them, ${failures} are counted`,
      );
    }
    const others = unhit.length - threw;
    if (others > (succeeded ? 1 : 0)) {
      this.#find("unexplained", `step ${index}: ${others} executions that did not throw, and no fault hit them`);
    }
    if (failures > args.failures) this.#find("wrong", `step ${index}: ${failures} failures, ${args.failures} planned`);

    const committedAt = this.#committedAt(index);
    for (const execution of executions) {
      if (execution.begun > committedAt && !this.#wasHeldUp(execution, committedAt) && !this.#wasHit(execution)) {
        this.#find("begun again", `step ${index}: at ${execution.begun}, committed by ${committedAt}`);
      }
    }
  }

  /** What the state says has happened in an execution that was written down. */
  #judgeOutcomes(executions: Execution[], index: number, fn: FunctionState): void {
    const threw = new Set(executions.filter(({ outcome }) => outcome === "threw").map(({ attempt }) => attempt));
    if ((fn.failures ?? 0) > threw.size) {
      this.#find("unfounded", `step ${index}: ${fn.failures} failures, ${threw.size} attempts have thrown`);
    }
    const returned = executions.some(({ attempt, outcome }) => attempt === fn.retry_count && outcome === "returned");
    if (fn.result !== undefined && !returned) {
      this.#find("unfounded", `step ${index}: attempt ${fn.retry_count} has a result and did not return`);
    }
  }

  /** When the end of the step was stored at the latest. */
  #committedAt(index: number): number {
    const next = this.#executions.find((execution) => execution.index > index);
    return next?.begun ?? this.#storedAt;
  }

  #wasHit(execution: Execution): boolean {
    const from = execution.begun - TRANSIT_MS;
    const to = (execution.ended ?? execution.begun) + TRANSIT_MS;
    // On a machine that is overloaded a lease may run out without a fault: that a job was taken over is on record, and
    // it takes a while until the owner before hears of it.
    const takenOver = this.#takeovers.some((at) => at >= from - LEASE_MS && at <= to + LEASE_MS);
    return (
      takenOver ||
      this.#faults.some((fault) => {
        if (fault.role === "server") return overlaps(fault, from - RECOVERY_MS, to);
        if (fault.kind === "drain") return false; // nothing is to be lost by it
        const isExecutor = fault.process === execution.process;
        if (isExecutor && !execution.ended) return true;
        return (isExecutor || this.#owners.has(fault.process)) && this.#isBy(fault, from, to);
      })
    );
  }

  /** A killed process is gone, and its successor is another one; a paused one comes back, with what had piled up. */
  #isBy(fault: Fault, from: number, to: number): boolean {
    if (fault.kind === "kill") return fault.from >= from && fault.from <= to;
    return overlaps(fault, from - CATCH_UP_MS, to);
  }

  /** Its invocation was on its way before, and had to wait for its worker, or for a server, to go on. */
  #wasHeldUp(execution: Execution, committedAt: number): boolean {
    return this.#faults.some(
      (fault) =>
        fault.kind === "pause" &&
        (fault.role === "server" || fault.process === execution.process) &&
        fault.from <= committedAt + TRANSIT_MS &&
        overlaps(fault, execution.begun - CATCH_UP_MS, execution.begun),
    );
  }

  #find(kind: FindingKind, details: string): void {
    this.#verdict.findings.push({ kind, job: this.#plan.id, details });
  }
}

/** Whether the fault was going on at some time from `from` to `to`. */
export function overlaps(fault: Fault, from: number, to: number): boolean {
  return fault.from <= to && (fault.to ?? Number.POSITIVE_INFINITY) >= from;
}

function count(executions: Execution[], outcome: Execution["outcome"]): number {
  return executions.filter((execution) => execution.outcome === outcome).length;
}
