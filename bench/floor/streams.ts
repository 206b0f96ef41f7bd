/** The streams of the floor: the same as those of the real thing, under other names, on the same server. */
import {
  AckPolicy,
  DiscardPolicy,
  JetStreamApiError,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import type { NatsConnection } from "nats";

export const FLOOR_JOBS = "FLOOR_JOBS";
export const FLOOR_STATE = "KV_floor";
export const FLOOR_SUBMIT = "floor.submit";
export const FLOOR_KEYS = "$KV.floor";
export const FLOOR_FUNCTION = "floor.fn.add";
/** Returns when it began. */
export const FLOOR_CLOCK = "floor.fn.clock";
/** The result of a job that is to be told of, with its id. */
export const FLOOR_ENDS = "floor.end";
export const FLOOR_CONSUMER = "floor";
const STREAM_NOT_FOUND = 10059;

/** They are empty, also where a run that was killed has left some behind. */
export async function makeFloorStreams(connection: NatsConnection, replicas: number): Promise<void> {
  await removeFloorStreams(connection);
  const manager = await jetstreamManager(connection);
  await manager.streams.add({
    name: FLOOR_JOBS,
    subjects: [`${FLOOR_SUBMIT}.>`],
    storage: StorageType.File,
    num_replicas: replicas,
    retention: RetentionPolicy.Workqueue,
    discard: DiscardPolicy.New,
    allow_direct: true,
  });
  await manager.streams.add({
    name: FLOOR_STATE,
    subjects: [`${FLOOR_KEYS}.>`],
    storage: StorageType.File,
    num_replicas: replicas,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    max_msgs_per_subject: 1,
    allow_direct: true,
    allow_msg_ttl: true,
    allow_rollup_hdrs: true,
    deny_delete: true,
  });
  await manager.consumers.add(FLOOR_JOBS, {
    durable_name: FLOOR_CONSUMER,
    ack_policy: AckPolicy.Explicit,
    ack_wait: 30_000_000_000,
    max_deliver: -1,
    max_ack_pending: 1_000_000,
  });
}

export function removeFloorStreams(connection: NatsConnection): Promise<void> {
  return removeStreams(connection, [FLOOR_JOBS, FLOOR_STATE]);
}

/** Those that there are. */
export async function removeStreams(connection: NatsConnection, names: readonly string[]): Promise<void> {
  const manager = await jetstreamManager(connection);
  for (const name of names) {
    try {
      await manager.streams.delete(name);
    } catch (error) {
      if (!(error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND)) throw error;
    }
  }
}
