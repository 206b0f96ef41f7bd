import { headers, type MsgHdrs } from "nats";

/** Message headers from plain pairs. */
export function headersOf(pairs: Record<string, string>): MsgHdrs {
  const result = headers();
  for (const key in pairs) result.set(key, pairs[key] as string);
  return result;
}
