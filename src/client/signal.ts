/** From what a user sends as a signal to a message of `job.signal.<id>.<name>`, and what is answered. */
import type { MsgHdrs, Payload } from "nats";
import { SIGNAL_KEY_HEADER } from "../api/headers.ts";
import type { SignalReply } from "../api/requests.ts";
import { signalSubject } from "../api/subjects.ts";
import { encodeSignal } from "../bus/messages/signal-payload.ts";
import { headersOf } from "../bus/wire/headers.ts";
import type { Encoding } from "../job/encoding.ts";
import { AsyncError } from "../job/errors.ts";
import { requireJobId, signalKeyProblem, signalNameProblem } from "../job/names.ts";
import type { RandomText } from "../util/random-text.ts";
import { unreadable } from "./answers.ts";

export interface SignalOptions {
  /** The same signal again with the same key changes nothing. Default: one that is made up. */
  key?: string;
  /** How the payload is sent; the job gets it in its own encoding. Default: JSON where that can carry it, else MessagePack. */
  encoding?: Encoding;
}

export interface PreparedSignal {
  subject: string;
  body: Payload;
  headers: MsgHdrs;
}

/**
 * With a key in any case, so that it may be tried again when no answer comes.
 *
 * @throws AsyncError `invalid_job_id`, `invalid_request`
 */
export function prepareSignal(
  jobId: string,
  name: string,
  payload: unknown,
  { key, encoding }: SignalOptions,
  keys: RandomText,
): PreparedSignal {
  requireJobId(jobId);
  const problem = signalNameProblem(name);
  if (problem !== undefined) throw new AsyncError("invalid_request", `the name of the signal ${problem}`);
  const keyProblem = key === undefined ? undefined : signalKeyProblem(key);
  if (keyProblem !== undefined) throw new AsyncError("invalid_request", `the key of the signal ${keyProblem}`);
  const headers = headersOf({ [SIGNAL_KEY_HEADER]: key ?? keys.next() });
  return { subject: signalSubject(jobId, name), body: encodeSignal(payload, encoding), headers };
}

/** @throws AsyncError `bus_timeout` if it is no answer to a signal */
export function readSignalReply(answer: object, { key }: SignalOptions): SignalReply {
  const { job_id, name, number, repeated } = answer as Partial<SignalReply>;
  const isReply = typeof job_id === "string" && typeof name === "string" && Number.isSafeInteger(number);
  if (!isReply) throw unreadable("says nothing of a signal");
  // With a key of our own it is this same signal that was tried again.
  return { job_id, name, number: number as number, ...(repeated === true && key !== undefined && { repeated }) };
}
