import type { Bus } from "../bus/connection.ts";
import { streamInfo } from "../bus/stream-info.ts";
import { fullAt, JOBS, KV_JOBS, lacksConsumer } from "../bus/topology.ts";
import type { WriteProbe } from "../bus/write-probe.ts";
import { type AsyncError, isAsyncError } from "../job/errors.ts";

/** What `/readyz` says. */
export interface Health {
  ready: boolean;
  /** Connected to NATS. */
  nats: boolean;
  /** The bucket of job states answers. */
  jetstream: boolean;
  server?: string;
  /** How durable an acknowledged write is; see the README. */
  durability?: string;
  replicas?: number;
  /** The used share of the bucket of states, from 0 to 1. */
  storage?: number;
  /** Why it is not ready, and what to do. */
  reason?: string;
}

const TIMEOUT_MS = 1_000;

/**
 * Whether jobs can be accepted now. Never throws, takes three seconds at most.
 *
 * @param refusal why submissions are refused just now: they are until there is somewhat more room than when that began
 */
export async function readiness(bus: Bus, probe: WriteProbe, refusal?: AsyncError): Promise<Health> {
  const none: Health = { ready: false, nats: bus.connected, jetstream: false };
  if (!bus.connected) return { ...none, reason: "not connected to NATS" };
  try {
    const { config, state } = await streamInfo(bus, KV_JOBS, TIMEOUT_MS);
    if (!config) return { ...none, reason: "stream KV_jobs is missing: `async server` makes it" };
    const replicas = config.num_replicas;
    const server = bus.nc.info?.version ?? "unknown";
    const storage = config.max_bytes > 0 ? (state?.bytes ?? 0) / config.max_bytes : 0;
    const isFull = refusal !== undefined || storage >= fullAt(config.max_bytes);
    const noConsumer = (await lacksConsumer(bus, JOBS, TIMEOUT_MS).catch(unlessPermitted)) ? NO_CONSUMER : undefined;
    const reason = isFull ? STORAGE_FULL : (noConsumer ?? (await probe.problems())[0]);
    const health = { nats: true, jetstream: true, server, durability: durabilityOf(replicas), replicas, storage };
    return reason === undefined ? { ready: true, ...health } : { ready: false, ...health, reason };
  } catch {
    return { ...none, reason: "JetStream does not answer" };
  }
}

/** Who may not ask does not know of any trouble. */
function unlessPermitted(error: unknown): boolean {
  if (isAsyncError(error, "permission_denied")) return false;
  throw error;
}

const NO_CONSUMER =
  "the consumer of stream JOBS is missing, so nobody gets the jobs: a running `async server` makes it anew";
const STORAGE_FULL =
  "the bucket of states is full: ended jobs expire sooner now; raise the max_bytes of stream KV_jobs";

/**
 * What can be told from here is the number of copies. How often a server syncs to disk is its own configuration, which
 * clients cannot see: with the one we ship it is once a second (profile `fast`).
 */
export function durabilityOf(replicas: number): string {
  if (replicas >= 3)
    return `replicated: ${replicas} copies; profile \`safe\` if the servers run with sync_interval: always`;
  return "fast: killed processes lose nothing, a power cut can lose the last second";
}
