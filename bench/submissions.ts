/** The ways in which a client submits many jobs. All scenarios that need a load get it from here. */
import type { Client } from "../src/client/client.ts";
import { pooled } from "./contenders/nats.ts";

/** As many submissions as a bulk has under way. */
export const BULK_IN_FLIGHT = 1_000;

/** Jobs handed over at a time, as by a program that reads them from somewhere. */
const PORTION = 5_000;

/** A bulk: as fast as the client can. Resolves when all are acknowledged. */
export async function submitBulk(client: Client, count: number, input: (number: number) => unknown): Promise<void> {
  for (let first = 0; first < count; first += PORTION) {
    const inputs = Array.from({ length: Math.min(PORTION, count - first) }, (_, index) => input(first + index));
    const outcomes = await client.submitMany(inputs, { inFlight: BULK_IN_FLIGHT });
    for (const { error } of outcomes) if (error) throw error;
  }
}

/** One call for each job, at most `inFlight` of them at a time. */
export function submitSingly(
  client: Client,
  count: number,
  inFlight: number,
  input: (number: number) => unknown,
): Promise<void> {
  return pooled(count, inFlight, async (number) => {
    await client.submit(input(number));
  });
}
