/** Several kinds of jobs on one system, in turn: what is compared is the jobs, not the systems. */
import type { AsyncSystem, Batch } from "./contenders/async-system.ts";
import type { Competitor } from "./rounds.ts";

export interface Kind extends Omit<Batch, "jobs"> {
  name: string;
}

/** The system stays open: whoever started it closes it. */
export function competitorsOn(system: AsyncSystem, kinds: readonly Kind[]): Competitor[] {
  return kinds.map(({ name, ...batch }) => ({
    name,
    measurements: [],
    running: {
      processes: system.processes,
      run: ({ jobs }) => system.run({ jobs, ...batch }),
      storedBytes: () => system.storedBytes(),
      close: async () => {},
    },
  }));
}
