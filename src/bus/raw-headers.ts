import { headers, type MsgHdrs } from "nats";

/** Message headers from plain pairs. */
export function headersOf(pairs: Record<string, string>): MsgHdrs {
  const result = headers();
  for (const key in pairs) result.set(key, pairs[key] as string);
  return result;
}

/** Store only if the newest message of the subject has that sequence (0: if there is none). */
export function expectSequence(sequence: number): MsgHdrs {
  return headersOf({ "Nats-Expected-Last-Subject-Sequence": String(sequence) });
}
