/** A saga and all its children as their judges see them: what holds for the whole family is found out here. */
import type { Failure } from "../../src/job/failure.ts";
import { type EndedJob, isEnded, type JobState } from "../../src/job/state.ts";
import type { Case } from "./case.ts";
import { Excuses } from "./excuses.ts";
import type { Evidence } from "./findings.ts";
import type { SagaPlan } from "./plan.ts";
import type { SagaCase } from "./saga-case.ts";
import { outcomeOfSaga } from "./saga-end.ts";
import { dataOf, mendedDataOf } from "./saga-plan.ts";
import { judgeSaga } from "./saga-verdict.ts";

export function judgeFamily(plan: SagaPlan, state: EndedJob, executors: ReadonlySet<string>, top: Case): void {
  const { evidence, find, verdict } = top;
  const { id, saga } = plan;
  const family = [state, ...descendantsOf(id, evidence)];
  const retries = state.retries ?? 0;
  const givenUp = family.some(hasLost) && top.excuses.mayHaveLost(state.created_at, state.finished_at);
  const cancels = evidence.cancels.get(id) ?? [];
  const whole = { retries, givenUp, mayBeSkipped: cancels.some(({ skip }) => skip) };

  const caseOf: SagaCase["caseOf"] = (childId, part) => {
    const child = evidence.states.get(childId);
    if (!child || !isEnded(child)) return undefined; // that is found by its parent
    const executions = evidence.executions.get(childId) ?? [];
    verdict.executions += executions.length;
    return {
      ...{ evidence, verdict, caseOf, executions, state: child, ...whole, ...part },
      excuses: new Excuses(childId, evidence, executors),
      storedAt: evidence.storedAt.get(childId) ?? Number.POSITIVE_INFINITY,
      find: (kind, details) => find(kind, `in ${childId}: ${details}`),
    };
  };
  const planned = outcomeOfSaga(saga, retries > 0 ? mendedDataOf(saga) : dataOf(saga));
  const mayBeCancelled = cancels.length > 0;
  judgeRetry(plan, retries, givenUp, top);
  const isCancelAnswered = cancels.some(({ answer }) => answer === "cancelled" || answer === "undoing");
  if (isCancelAnswered && state.state !== "cancelled" && !givenUp)
    find("lost", `it was cancelled, as was answered, and has ${state.state}`);
  judgeSaga({ ...top, saga, state, planned, mayBeCancelled, caseOf, ...whole });
  if (givenUp) verdict.givenUp += 1;
  else verdict[state.state] += 1;
}

function judgeRetry({ id, saga }: SagaPlan, retries: number, givenUp: boolean, { evidence, find }: Case): void {
  const outcome = evidence.retries.get(id);
  if (outcome === "answered" && retries === 0) find("lost", "a retry by hand was answered, and has not been done");
  if (retries > (saga.retried ? 1 : 0)) find("unexplained", `${retries} retries`);
  if (outcome === "undo_first" && !givenUp) find("wrong", "it cannot be retried, as something of it is not undone");
}

function descendantsOf(id: string, evidence: Evidence): JobState[] {
  return (evidence.children.get(id) ?? []).flatMap((child) => [child, ...descendantsOf(child.job_id, evidence)]);
}

/** Something of it has failed as five attempts were lost. */
function hasLost(job: JobState): boolean {
  const isLoss = (failure: Failure | undefined) => failure?.code === "attempt_lost";
  return [...job.functions].some(({ error, caught, undoing }) => [error, caught, undoing?.error].some(isLoss));
}
