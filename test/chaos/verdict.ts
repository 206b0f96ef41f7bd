/**
 * Judges a run: what is promised in README.md under "Guarantees", job by job. Pure: evidence in, findings out.
 *
 * Every execution of a step must be accounted for: either its outcome is in the state of the job, or it is excused (`excuses.ts`).
 * What is promised of graphs besides is in `graph-verdict.ts`.
 */
import { isNamedValue } from "../../src/bus/store/named-values.ts";
import type { FunctionState } from "../../src/job/function-state.ts";
import { LOST_LIMIT } from "../../src/job/outcome.ts";
import { type EndedJob, isEnded } from "../../src/job/state.ts";
import { type Case, judgeEndEvents } from "./case.ts";
import type { Execution } from "./evidence.ts";
import { Excuses } from "./excuses.ts";
import type { Evidence, Finding, FindingKind, Verdict } from "./findings.ts";
import { GraphJudge } from "./graph-verdict.ts";
import { type ChainPlan, isGraphPlan, isSagaPlan, type JobPlan, type Step } from "./plan.ts";
import { judgeFamily } from "./saga-family.ts";

export function judge(evidence: Evidence): Verdict {
  const verdict: Verdict = {
    findings: [],
    completed: 0,
    failed: 0,
    cancelled: 0,
    givenUp: 0,
    executions: 0,
    accepted: 0,
    wasted: 0,
    lostAttempts: 0,
  };
  const executors = new Set([...evidence.executions.values()].flat().map(({ process }) => process));
  for (const plan of evidence.plans) new JobJudge(plan, evidence, executors, verdict).judge();
  verdict.findings.push(...leftOver(evidence));
  return verdict;
}

/** What is stored besides jobs that are not there, and ends of children that no parent waits for any more. */
function* leftOver({ parts, states }: Evidence): Generator<Finding> {
  for (const key of parts) {
    const [job = "", what] = key.split(".");
    if (isNamedValue(key)) continue;
    if (!states.has(job)) yield { kind: "left over", job, details: `${key}, and there is no such job` };
    else if (what === "end") yield { kind: "left over", job, details: key };
  }
}

class JobJudge {
  readonly #plan: JobPlan;
  readonly #verdict: Verdict;
  readonly #evidence: Evidence;
  readonly #storedAt: number;
  readonly #executions: Execution[];
  readonly #executors: ReadonlySet<string>;
  readonly #excuses: Excuses;

  constructor(plan: JobPlan, evidence: Evidence, executors: ReadonlySet<string>, verdict: Verdict) {
    const { id } = plan;
    this.#plan = plan;
    this.#verdict = verdict;
    this.#evidence = evidence;
    this.#storedAt = evidence.storedAt.get(id) ?? Number.POSITIVE_INFINITY;
    this.#executions = evidence.executions.get(id) ?? [];
    this.#executors = executors;
    this.#excuses = new Excuses(id, evidence, executors);
  }

  judge(): void {
    const { id } = this.#plan;
    const state = this.#evidence.states.get(id);
    this.#verdict.executions += this.#executions.length;
    const problem = this.#evidence.problems.get(id);
    if (problem !== undefined) this.#find("wrong", `what is stored is no job: ${problem}`);
    if (!state) {
      if (this.#evidence.acknowledged.has(id)) this.#find("lost", "its submission was acknowledged");
      else if (this.#executions.length > 0) this.#find("lost", "it was executed");
      return;
    }
    if (!isEnded(state)) {
      this.#find("unfinished", `it is ${state.state}`);
      return;
    }
    if (isSagaPlan(this.#plan)) judgeFamily(this.#plan, state, this.#executors, this.#case);
    else if (isGraphPlan(this.#plan)) new GraphJudge(this.#plan, state, this.#case).judge();
    else this.#judgeChain(this.#plan, state);
    const first = this.#executions[0];
    if (first && first.begun < state.scheduled_at) this.#find("too early", `at ${first.begun}`);
  }

  get #case(): Case {
    return {
      evidence: this.#evidence,
      executions: this.#executions,
      excuses: this.#excuses,
      storedAt: this.#storedAt,
      verdict: this.#verdict,
      find: (kind, details) => this.#find(kind, details),
    };
  }

  #judgeChain(plan: ChainPlan, state: EndedJob): void {
    this.#judgeEnd(plan, state);
    judgeEndEvents(plan.id, state, state.state === "completed" ? 0 : 1, this.#case);
    for (const [index, step] of plan.steps.entries()) {
      const fn = state.functions.at(index);
      if (fn) this.#judgeStep(step, index, fn);
    }
  }

  #judgeEnd({ expected }: ChainPlan, state: EndedJob): void {
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

  #isGivenUp(state: EndedJob): boolean {
    if (state.state !== "failed" || state.error.code !== "attempt_lost") return false;
    const { created_at: from, finished_at: to } = state;
    return state.functions.at(state.current_function)?.lost === LOST_LIMIT && this.#excuses.mayHaveLost(from, to);
  }

  #judgeStep({ args }: Step, index: number, fn: FunctionState): void {
    const executions = this.#executions.filter((execution) => execution.index === index);
    const failures = fn.failures ?? 0;
    const succeeded = fn.result !== undefined;
    const accepted = failures + (succeeded ? 1 : 0);
    const unhit = executions.filter((execution) => !this.#excuses.wasHit(execution));
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
      if (
        execution.begun > committedAt &&
        !this.#excuses.wasHeldUp(execution, committedAt) &&
        !this.#excuses.wasHit(execution)
      ) {
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

  #find(kind: FindingKind, details: string): void {
    this.#verdict.findings.push({ kind, job: this.#plan.id, details });
  }
}

function count(executions: Execution[], outcome: Execution["outcome"]): number {
  return executions.filter((execution) => execution.outcome === outcome).length;
}
