/** One job of a family of a saga, as its judges see it. */
import type { EndedJob } from "../../src/job/state.ts";
import type { Case } from "./case.ts";
import type { Execution } from "./evidence.ts";
import { WORK } from "./graph-plan.ts";
import type { SagaOutcome } from "./saga-end.ts";
import { ITEM, type Saga } from "./saga-plan.ts";

export interface SagaCase extends Case {
  saga: Saga;
  state: EndedJob;
  /** How it ends if nobody cancels it. */
  planned: SagaOutcome;
  /** It may have been cancelled, by hand or as its parent has ended. */
  mayBeCancelled: boolean;
  /** Somebody did not want it undone, or may have. */
  mayBeSkipped: boolean;
  /** Retries by hand of the job at the top. */
  retries: number;
  /** Somewhere in the family attempts were lost so often that it fails by that, with faults around. */
  givenUp: boolean;
  /** The judge of another job of the family. */
  caseOf: (id: string, part: Pick<SagaCase, "saga" | "planned" | "mayBeCancelled">) => SagaCase | undefined;
}

/** Whether a call does what an entry does, and does not undo it. */
export function isForward({ call }: Pick<Execution, "call">): boolean {
  return call === WORK || call === ITEM;
}
