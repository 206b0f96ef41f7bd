/** The interval of a worker's heartbeats, as it is said in headers, announcements and `$SRV.INFO`. */

const SHORTEST_MS = 20;
const LONGEST_MS = 10 * 60_000;

/** Undefined if it is none: whoever says nonsense, says nothing. */
export function readHeartbeatMs(said: unknown): number | undefined {
  const ms = said === undefined || said === null || said === "" ? Number.NaN : Number(said);
  return ms > 0 ? Math.min(LONGEST_MS, Math.max(SHORTEST_MS, ms)) : undefined;
}
