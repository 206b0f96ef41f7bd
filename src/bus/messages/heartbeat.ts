/** The interval of a worker's heartbeats, as it is said in headers, announcements and `$SRV.INFO`. */

const SHORTEST_MS = 20;
const LONGEST_MS = 10 * 60_000;

/** Undefined if it is none: whoever says nonsense, says nothing. */
export function readHeartbeatMs(said: unknown): number | undefined {
  // An object may have no number, and throw.
  const ms = typeof said === "number" || (typeof said === "string" && said !== "") ? Number(said) : Number.NaN;
  return ms > 0 ? Math.min(LONGEST_MS, Math.max(SHORTEST_MS, ms)) : undefined;
}
