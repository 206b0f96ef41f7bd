/** Whether `explain` has a reason for a live state, and one that agrees with what is stored (SIM-11). */
import { explain } from "../../src/job/explain.ts";
import type { ExplainedEntry, ExplainReason } from "../../src/job/explanation.ts";
import { planOf } from "../../src/job/plan.ts";
import { type Branch, type Graph, isGraph, type LiveJob } from "../../src/job/state.ts";
import { certainlyBefore } from "./documents.ts";

/** What is wrong with the reasons of a stored state; undefined if nothing is. */
export function reasonProblem(job: LiveJob, now: number): string | undefined {
  const { entries } = explain(job, () => undefined, now);
  const waiting = entries.filter(({ reason }) => reason !== "needs");
  const reasons = waiting.map(({ index, reason }) => `${index} ${reason}`).join(", ");
  if (waiting.length === 0) return "nothing says why it waits";
  if (isGraph(job) && job.state === "undoing") return undoProblem(job, entries, now);
  if (isGraph(job)) return graphProblem(job, new Map(entries.map((entry) => [entry.index, entry])), now);
  const expected = `${job.current_function} ${reasonOfChain(job, now)}`;
  return reasons === expected ? undefined : `the reasons are ${reasons} where ${expected} is due`;
}

function reasonOfChain(job: LiveJob, now: number): ExplainReason {
  if (job.state === "scheduled" && now < job.scheduled_at) return "scheduled";
  if (job.state === "waiting" && job.waiting_for === "backoff" && now < job.due_at) return "backoff";
  const isStarted = job.functions.at(job.current_function)?.retry_count === job.attempt;
  return job.state === "running" && isStarted ? "running" : "worker";
}

/** What is live has one reason, and nothing else has. */
function undoProblem(job: LiveJob & Graph, entries: readonly ExplainedEntry[], now: number): string | undefined {
  if (entries.length !== job.live.length) return `${entries.length} reasons for ${JSON.stringify(job.live)}`;
  for (const branch of job.live) {
    const { reason, undo } = entries.find(({ index }) => index === branch.index) ?? {};
    if (undo !== branch.undo || !isReasonOf(job, branch, reason, now))
      return `${reason} is given for ${JSON.stringify(branch)}`;
  }
  return undefined;
}

/** Each entry that has not ended has one reason, and what it is said to need has not ended, and it follows that. */
function graphProblem(
  job: LiveJob & Graph,
  entries: ReadonlyMap<number, ExplainedEntry>,
  now: number,
): string | undefined {
  const plan = planOf(job.functions);
  const fns = [...job.functions];
  for (const [index, { finished_at }] of fns.entries()) {
    const { reason, detail } = entries.get(index) ?? {};
    if (finished_at !== undefined) {
      if (reason === undefined) continue;
      return `entry ${index} has ended, and ${reason} is given`;
    }
    const branch = job.live.find((one) => one.index === index);
    if (!isReasonOf(job, branch, reason, now))
      return `of entry ${index} ${reason} is given for ${JSON.stringify(branch)}`;
    if (reason !== "needs") continue;
    const needs = (detail?.needs ?? []).map((name) =>
      typeof name === "number" ? name : (plan.indexOf.get(name) ?? -1),
    );
    const before = certainlyBefore(plan, index);
    const isRight = needs.every((one) => before.includes(one) && fns[one]?.finished_at === undefined);
    if (!isRight || needs.length === 0) return `entry ${index} is said to need ${JSON.stringify(detail?.needs)}`;
  }
  return undefined;
}

function isReasonOf(job: LiveJob, branch: Branch | undefined, reason: string | undefined, now: number): boolean {
  if (reason === undefined || (!branch && reason === "needs")) return reason !== undefined;
  const isUnopened = job.state === "scheduled";
  if (isUnopened) return reason === "scheduled" || job.scheduled_at <= now;
  if (!branch) return false;
  const isPast = branch.due_at !== undefined && branch.due_at <= now;
  const expected = {
    none: ["running", "worker", "starting"],
    worker: ["worker"],
    backoff: isPast ? ["worker"] : ["backoff"],
    sleep: ["sleep"],
    signal: ["signal"],
    items: ["items", "child"],
    child: ["child"],
    stopping: ["stopping"],
  };
  return expected[branch.wait].includes(reason);
}
