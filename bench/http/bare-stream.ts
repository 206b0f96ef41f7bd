/** Where the bare route publishes to: a stream like that of submissions. */
import { DiscardPolicy, jetstreamManager, RetentionPolicy, StorageType } from "@nats-io/jetstream";
import type { NatsConnection } from "nats";
import { removeStreams } from "../floor/streams.ts";

export const HTTP_STREAM = "FLOOR_HTTP";
export const HTTP_SUBJECT = "floor.http";

export async function makeHttpStream(connection: NatsConnection, replicas: number): Promise<void> {
  await removeHttpStream(connection);
  const manager = await jetstreamManager(connection);
  await manager.streams.add({
    name: HTTP_STREAM,
    subjects: [HTTP_SUBJECT],
    storage: StorageType.File,
    num_replicas: replicas,
    retention: RetentionPolicy.Workqueue,
    discard: DiscardPolicy.New,
    allow_direct: true,
  });
}

export function removeHttpStream(connection: NatsConnection): Promise<void> {
  return removeStreams(connection, [HTTP_STREAM]);
}
