/** How much of the bucket of states is used, as the server says it. */
import type { Bus } from "./connection.ts";
import { streamInfo } from "./stream-info.ts";
import { KV_JOBS } from "./topology.ts";

const TIMEOUT_MS = 2_000;

/** How much of the bucket of states is used. */
export interface BucketUse {
  bytes: number;
  /** Infinite if it has no limit. */
  maxBytes: number;
  messages: number;
  /** Of the newest message that was ever stored. */
  lastSequence: number;
}

/** @throws AsyncError of the bus */
export async function bucketUse(bus: Bus): Promise<BucketUse> {
  const { config, state } = await streamInfo(bus, KV_JOBS, TIMEOUT_MS);
  const maxBytes = config && config.max_bytes > 0 ? config.max_bytes : Number.POSITIVE_INFINITY;
  const { bytes = 0, messages = 0, last_seq: lastSequence = 0 } = state ?? {};
  return { bytes, maxBytes, messages, lastSequence };
}
