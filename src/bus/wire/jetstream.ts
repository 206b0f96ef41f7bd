/** What JetStream answers to a publish, and the errors of it. */
import type { Msg } from "nats";
import { AsyncError, isAsyncError } from "../../job/errors.ts";
import { isRecord } from "../../job/plain.ts";

/** JetStream refused; `errorCode` is its own number (10071 is a wrong revision). */
export class JetStreamError extends AsyncError {
  readonly errorCode: number;

  constructor(code: "jetstream_error" | "jobs_full", errorCode: number, description: string) {
    super(code, `JetStream: ${description} (${errorCode})`);
    this.name = "JetStreamError";
    this.errorCode = errorCode;
  }
}

/** The newest message of the subject was another one than expected; 10164 is what a replicated stream says. */
const WRONG_SEQUENCE = new Set([10071, 10164]);

/** Whether JetStream refused because someone else had written. */
export function isWrongSequence(error: unknown): boolean {
  return error instanceof JetStreamError && WRONG_SEQUENCE.has(error.errorCode);
}

const MESSAGE_TOO_LARGE = 10054;

/** Whether it was not stored, and never will be, as it does not fit into a message: the server says so, or we have not even sent it. */
export function isTooLarge(error: unknown): boolean {
  if (error instanceof JetStreamError && error.errorCode === MESSAGE_TOO_LARGE) return true;
  return isAsyncError(error, "payload_too_large");
}

/** Told the sequence of what was stored, or why it is not known to be: exactly once. */
export type OnStored = (error: AsyncError | undefined, sequence: number) => void;

/**
 * What the API answers. Anybody who may subscribe there can answer as well, and anything.
 *
 * @throws AsyncError `jetstream_unavailable` if it is no JSON object
 */
export function apiAnswer<T extends object>(reply: Msg): Partial<T> {
  let read: unknown;
  try {
    read = reply.json<unknown>();
  } catch {
    // told below
  }
  if (isRecord(read)) return read as Partial<T>;
  throw new AsyncError("jetstream_unavailable", "an answer of JetStream cannot be read; try again");
}

export function isNoResponders(message: Msg): boolean {
  return message.headers?.code === 503 && message.data.length === 0;
}

export function jetStreamUnavailable(subject: string): AsyncError {
  return new AsyncError(
    "jetstream_unavailable",
    `no stream takes ${subject} right now: JetStream is down, has no leader, or the streams are not made (async server makes them)`,
  );
}

/**
 * JetStream error codes that say that there is no room: in the stream (10077, `discard: new`), in the account (10002; then in
 * no stream, and not for what would take the place of as much), or on the server (10023, 10028, 10047, 10122).
 */
const NO_ROOM = new Set([10002, 10023, 10028, 10047, 10077, 10122]);

/** What JetStream answers to a publish. */
interface PubAck {
  seq?: number;
  error?: { code: number; err_code?: number; description?: string };
}

/** Tells `done` what the acknowledgement says. */
export function settleAck(message: Msg, done: OnStored): void {
  let ack: PubAck;
  try {
    const read = message.json<unknown>();
    if (!isRecord(read)) throw new TypeError("no JSON object");
    ack = read;
  } catch (cause) {
    const what = "the acknowledgement cannot be read: the message may be stored or not";
    done(new AsyncError("bus_timeout", what, { cause }), 0);
    return;
  }
  if (ack.error) {
    const errorCode = ack.error.err_code ?? ack.error.code;
    const code = NO_ROOM.has(errorCode) ? "jobs_full" : "jetstream_error";
    done(new JetStreamError(code, errorCode, ack.error.description ?? "error"), 0);
  } else done(undefined, ack.seq ?? 0);
}
