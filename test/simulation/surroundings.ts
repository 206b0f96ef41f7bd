/** What the client of a history has to do with besides its connection. */
import type { Invariants } from "./invariants.ts";
import type { Network } from "./network.ts";
import type { SimProcess, World } from "./world.ts";

/** Which jobs a history has. */
export type Jobs = "any" | JobKind;
/** `sagas` are graphs that undo what they have done, `families` have children, `items` lists of items. */
export const JOB_KINDS = ["chains", "graphs", "sagas", "families", "items"] as const;
export type JobKind = (typeof JOB_KINDS)[number];

export interface Surroundings {
  world: World;
  network: Network;
  invariants: Invariants;
  process: SimProcess;
  /** The bucket of states is too small for all jobs. */
  crowded: boolean;
  jobs: Jobs;
  note: (line: string) => void;
  fail: (error: unknown) => void;
  /** Runs a check whose failure ends the history. */
  check: (check: () => void) => void;
}
