/** One job at a time, as users have it who wait for the result. */
import type { Client } from "../../src/client/client.ts";
import { monotonicUs } from "../clock.ts";
import { WrongResults } from "../contender.ts";

/** Returns when it began, by the clock that all processes have in common. */
export const CLOCK_FUNCTION = "bench.clock";
const END_LIMIT_MS = 60_000;

export interface Timed {
  id: string;
  /** In ms from the call. */
  startedMs: number;
  doneMs: number;
}

/** @throws WrongResults, or what the client throws */
export async function runOnce(client: Client): Promise<Timed> {
  const job = { name: "bench-once", functions: [{ name: CLOCK_FUNCTION }], data: null };
  let id = "";
  const onSubmitted = (jobId: string) => {
    id = jobId;
  };
  const calledUs = monotonicUs();
  const startedUs = await client.run<number>(job, { timeoutMs: END_LIMIT_MS, onSubmitted });
  const atUs = monotonicUs();
  if (!(startedUs >= calledUs && startedUs <= atUs)) {
    throw new WrongResults(`job ${id} has a wrong result: ${JSON.stringify(startedUs)}`);
  }
  return { id, startedMs: (startedUs - calledUs) / 1_000, doneMs: (atUs - calledUs) / 1_000 };
}
