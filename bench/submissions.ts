/** The ways in which a client submits many jobs. All scenarios that need a load get it from here. */
import type { Client } from "../src/client/client.ts";
import { pooled } from "./contenders/nats.ts";

/** As many submissions as a bulk has under way. */
export const BULK_IN_FLIGHT = 1_000;

/** Jobs handed over at a time, as by a program that reads them from somewhere. */
const PORTION = 1_000;
/** While one is checked and encoded, the server has another one to do. */
const PORTIONS_IN_FLIGHT = 2;

/** A bulk: as fast as the client can. Resolves to the ids, in order, when all are acknowledged. */
export async function submitBulk(client: Client, count: number, input: (number: number) => unknown): Promise<string[]> {
  const ids = new Array<string>(count);
  const inFlight = BULK_IN_FLIGHT / PORTIONS_IN_FLIGHT;
  await pooled(Math.ceil(count / PORTION), PORTIONS_IN_FLIGHT, async (portion) => {
    const first = portion * PORTION;
    const inputs = Array.from({ length: Math.min(PORTION, count - first) }, (_, index) => input(first + index));
    for (const [index, { job_id, error }] of (await client.submitMany(inputs, { inFlight })).entries()) {
      if (error) throw error;
      ids[first + index] = job_id;
    }
  });
  return ids;
}

/** One call for each job, at most `inFlight` of them at a time. Resolves to the ids, in order. */
export async function submitSingly(
  client: Client,
  count: number,
  inFlight: number,
  input: (number: number) => unknown,
): Promise<string[]> {
  const ids = new Array<string>(count);
  await pooled(count, inFlight, async (number) => {
    ids[number] = (await client.submit(input(number))).job_id;
  });
  return ids;
}
