import type { Bus } from "../bus/connection.ts";
import { KV_JOBS } from "../bus/topology.ts";

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
}

const TIMEOUT_MS = 1_000;

interface StreamInfoReply {
  config?: { num_replicas: number };
}

/** Whether jobs can be accepted now. Never throws, takes a second at most. */
export async function readiness(bus: Bus): Promise<Health> {
  const none: Health = { ready: false, nats: bus.connected, jetstream: false };
  if (!bus.connected) return none;
  try {
    const reply = await bus.mux.request(`$JS.API.STREAM.INFO.${KV_JOBS}`, "", TIMEOUT_MS);
    const { config } = reply.json<StreamInfoReply>();
    if (!config) return none;
    const replicas = config.num_replicas;
    const server = bus.nc.info?.version ?? "unknown";
    return { ready: true, nats: true, jetstream: true, server, durability: durabilityOf(replicas), replicas };
  } catch {
    return none; // that JetStream does not answer is the answer
  }
}

/**
 * What can be told from here is the number of copies. How often a server syncs to disk is its own configuration, which
 * clients cannot see: with the one we ship it is once a second (profile `fast`).
 */
export function durabilityOf(replicas: number): string {
  if (replicas >= 3)
    return `replicated: ${replicas} copies; profile \`safe\` if the servers run with sync_interval: always`;
  return "fast: killed processes lose nothing, a power cut can lose the last second";
}
