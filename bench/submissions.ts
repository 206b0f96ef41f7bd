/** The ways in which a client submits many jobs. All scenarios that need a load get it from here. */
import type { Client } from "../src/client/client.ts";
import { pooled } from "./contenders/nats.ts";

/** As many submissions as a bulk has under way. */
export const BULK_IN_FLIGHT = 1_000;

/** A bulk: as fast as the client can. Resolves when all are acknowledged. */
export function submitBulk(client: Client, count: number, input: (number: number) => unknown): Promise<void> {
  return submitSingly(client, count, BULK_IN_FLIGHT, input);
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
