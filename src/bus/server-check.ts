import type { ServerInfo } from "nats";
import { AsyncError } from "../job/errors.ts";

/** Schedules and per-message TTL as we use them came with this version. */
export const SERVER_FLOOR = "2.14.0";

const HOW_TO_GET_ONE = `install nats-server ${SERVER_FLOOR} or newer, or leave NATS_URL unset so that \`async dev\` gets one`;

/**
 * Whether there is JetStream is asked where it is needed: a leaf node without one of its own reaches that of its hub.
 *
 * @throws AsyncError `server_too_old`
 */
export function requireServer(info: ServerInfo | undefined): void {
  if (!info) throw new AsyncError("not_connected", "the server did not introduce itself");
  if (!isAtLeast(info.version, SERVER_FLOOR)) {
    throw new AsyncError("server_too_old", `the NATS server is ${info.version}; ${HOW_TO_GET_ONE}`);
  }
}

/** Compares the numeric parts of two versions; a pre-release counts as its release. */
export function isAtLeast(version: string, floor: string): boolean {
  const [a, b] = [partsOf(version), partsOf(floor)];
  for (let i = 0; i < 3; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

function partsOf(version: string): number[] {
  return (/(\d+)\.(\d+)(?:\.(\d+))?/.exec(version) ?? []).slice(1).map((part) => Number(part ?? 0));
}
