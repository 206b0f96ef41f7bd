/** What came of the functions of a load, and whether it is what should have. */
import { type Load, resultOf, WrongResults } from "../contender.ts";

export interface Outcome {
  number: number;
  index: number;
  result: unknown;
}

/** @throws WrongResults unless each function of each job has run once, with the right result */
export function checkOutcomes(outcomes: readonly Outcome[], { jobs, functions }: Load): void {
  const seen = new Set<number>();
  for (const { number, index, result } of outcomes) {
    if (index >= functions || result !== resultOf(number, index)) {
      throw new WrongResults(`function ${index} of job ${number} has the result ${result}`);
    }
    seen.add(number * functions + index);
  }
  if (seen.size !== outcomes.length) throw new WrongResults(`${outcomes.length - seen.size} functions have run twice`);
  if (seen.size !== jobs * functions) {
    throw new WrongResults(`${seen.size} functions have run, ${jobs * functions} were to run`);
  }
}
