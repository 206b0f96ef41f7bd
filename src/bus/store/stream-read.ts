/**
 * Reads messages of streams directly (`$JS.API.DIRECT.GET`), without a consumer, and removes single ones. Where there
 * are replicas any of them may answer, and it may lag behind: what is decided on such a read must be checked when it is written.
 *
 * READ-1  The server appends its headers to those of the message, which anyone may have chosen: so of each name the last one is the
 *     server's, and a message with a sequence is one that is stored, whatever status its own headers tell.
 */

import type { Msg } from "nats";
import { AsyncError, isAsyncError } from "../../job/errors.ts";
import type { Bus } from "../connection.ts";
import { type StreamFacts, streamInfo } from "../stream-info.ts";

export interface StoredMessage {
  subject: string;
  sequence: number;
  data: Uint8Array;
  /** When the server stored it, ms since 1970. */
  storedAt: number;
  /** It has a time to live. */
  expires: boolean;
  /** Those of the message and those of the server (READ-1). */
  headers?: Msg["headers"];
}

export interface StoredBatch {
  messages: StoredMessage[];
  /** How many more there are after these. */
  pending: number;
}

const TIMEOUT_MS = 2_000;
/** The most that is read in one go, unless less is asked for: a server drops a connection that does not read as fast as it sends. */
const MAX_BATCH_BYTES = 8 * 1024 ** 2;
const NOT_FOUND = 404;
const END_OF_BATCH = 204;

/** The newest message on a subject. @throws AsyncError of the bus */
export async function readLast(bus: Bus, stream: string, subject: string): Promise<StoredMessage | undefined> {
  return messageFrom(stream, await ask(bus, stream, `.${subject}`, ""));
}

/** The message with a sequence. @throws AsyncError of the bus */
export async function readAt(bus: Bus, stream: string, sequence: number): Promise<StoredMessage | undefined> {
  if (sequence < 1) return undefined; // which the server takes for no question at all
  return messageFrom(stream, await ask(bus, stream, "", JSON.stringify({ seq: sequence })));
}

/** The first message from a sequence on, on that subject if one is given. Of single ones much cheaper than {@link readBatch}. @throws AsyncError of the bus */
export async function readNext(
  bus: Bus,
  stream: string,
  from: number,
  subject = ">",
): Promise<StoredMessage | undefined> {
  const query = JSON.stringify({ seq: Math.max(1, from), next_by_subj: subject });
  return messageFrom(stream, await ask(bus, stream, "", query));
}

/** The sequence of the newest message that was ever stored, and how many there are now. @throws AsyncError of the bus */
export async function streamState(bus: Bus, stream: string): Promise<{ lastSequence: number; messages: number }> {
  const { last_seq: lastSequence, messages } = await stateOf(bus, stream);
  return { lastSequence, messages };
}

/** Whether a message that was stored at `at` (ms since 1970) may have been removed by now. @throws AsyncError of the bus */
export async function mayHaveForgotten(bus: Bus, stream: string, at: number): Promise<boolean> {
  const state = await stateOf(bus, stream);
  if (state.last_seq === 0 || state.first_seq === 1) return false; // it still has all that it ever had
  return state.messages === 0 || Date.parse(state.first_ts) > at;
}

async function stateOf(bus: Bus, stream: string): Promise<StreamFacts["state"]> {
  const { state } = await streamInfo(bus, stream, TIMEOUT_MS);
  if (!state) throw unreadable(stream, "no leader, or not made yet");
  return state;
}

/**
 * Removes a message; one that is gone already changes nothing.
 *
 * @throws AsyncError of the bus: it may be removed or not
 */
export async function deleteMessage(bus: Bus, stream: string, sequence: number): Promise<void> {
  const query = JSON.stringify({ seq: sequence, no_erase: true });
  await bus.mux.request(`${bus.apiPrefix}.STREAM.MSG.DELETE.${stream}`, query, TIMEOUT_MS);
}

/**
 * At most `batch` messages from sequence `from` on, of all subjects or of those that fit `filter`; fewer if these have
 * `maxBytes` (default 8 MiB) together, and one at least. So what is left is told by `pending`, not by how many have come.
 *
 * Before it answers, the server counts how many messages are left. That takes 30 ms where 50,000 messages fit a filter, so
 * leave out a filter that all messages fit. Without a filter it takes as long where 50,000 messages have been replaced or
 * removed. So few large batches are better than many small ones.
 *
 * @throws AsyncError of the bus
 */
export function readBatch(
  bus: Bus,
  stream: string,
  {
    filter = ">",
    from,
    batch,
    maxBytes = MAX_BATCH_BYTES,
  }: { filter?: string; from: number; batch: number; maxBytes?: number },
): Promise<StoredBatch> {
  const query = JSON.stringify({ seq: Math.max(1, from), batch, max_bytes: maxBytes, next_by_subj: filter });
  return new Promise((resolve, reject) => {
    const messages: StoredMessage[] = [];
    let pending = 0;
    const onReply = (message: Msg) => {
      const code = statusOf(message);
      if (code === NOT_FOUND && messages.length === 0) {
        resolve({ messages, pending });
        return true;
      }
      if (code !== 0 && code !== END_OF_BATCH) {
        reject(unreadable(stream, `${code} ${message.headers?.description ?? ""}`));
        return true;
      }
      // Each message names the one before it in the answer.
      if (Number(message.headers?.last("Nats-Last-Sequence")) !== (messages.at(-1)?.sequence ?? 0)) {
        reject(unreadable(stream, "a part of the answer got lost"));
        return true;
      }
      if (code === END_OF_BATCH) {
        resolve({ messages, pending });
        return true;
      }
      messages.push(storedFrom(message));
      pending = Number(message.headers?.last("Nats-Num-Pending") || 0);
      return false;
    };
    const onTimeout = () => reject(new AsyncError("bus_timeout", `stream ${stream} did not answer in time`));
    try {
      const waiter = { onReply, onTimeout, onDenied: reject };
      bus.mux.open(`${bus.apiPrefix}.DIRECT.GET.${stream}`, query, TIMEOUT_MS, waiter);
    } catch (error) {
      reject(error);
    }
  });
}

async function ask(bus: Bus, stream: string, suffix: string, query: string): Promise<Msg> {
  try {
    return await bus.mux.request(`${bus.apiPrefix}.DIRECT.GET.${stream}${suffix}`, query, TIMEOUT_MS);
  } catch (error) {
    if (!isAsyncError(error, "no_responders")) throw error;
    throw unreadable(stream, "no leader, or not made yet", error);
  }
}

function messageFrom(stream: string, message: Msg): StoredMessage | undefined {
  const code = statusOf(message);
  if (code === NOT_FOUND) return undefined;
  if (code !== 0) throw unreadable(stream, `${code} ${message.headers?.description ?? ""}`);
  return storedFrom(message);
}

/** Of the answer; 0 if it is a stored message (READ-1). */
function statusOf({ headers }: Msg): number {
  return headers?.has("Nats-Sequence") ? 0 : (headers?.code ?? 0);
}

function storedFrom({ headers, data }: Msg): StoredMessage {
  return {
    subject: headers?.last("Nats-Subject") ?? "",
    sequence: Number(headers?.last("Nats-Sequence")),
    data,
    storedAt: Date.parse(headers?.last("Nats-Time-Stamp") ?? ""),
    expires: headers?.has("Nats-TTL") ?? false,
    headers,
  };
}

function unreadable(stream: string, why: string, cause?: unknown): AsyncError {
  return new AsyncError("jetstream_unavailable", `stream ${stream} cannot be read right now: ${why}`, { cause });
}
