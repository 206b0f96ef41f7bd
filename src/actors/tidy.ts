/** What the sweep does about what is stored of a job besides its state: definitions, inboxes of signals, large results, ends of children. */
import { afterPrefix } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { endOf } from "../bus/store/child-ends.ts";
import { ownerOfDefinition } from "../bus/store/definition.ts";
import { inboxOf, isInboxOf, nextSignal, readInbox, SAME_TIME_MS } from "../bus/store/inbox.ts";
import { isUnreadable, type JobStore, type StoredJob } from "../bus/store/job-store.ts";
import { isNamed, readResult, resultOf } from "../bus/store/results.ts";
import { settle } from "../bus/store/signals.ts";
import { mayHaveForgotten, type StoredMessage } from "../bus/store/stream-read.ts";
import type { Tokens } from "../bus/tokens/tokens.ts";
import { JOBS, KV_PREFIX } from "../bus/topology.ts";
import { usedNumber, waitsForSignal } from "../job/signals.ts";
import { isEnded, type JobState, type LiveJob } from "../job/state.ts";
import { untidyEnd } from "./tidy-children.ts";
import type { Untidy } from "./untidy.ts";

export interface TidyContext {
  bus: Bus;
  store: JobStore;
  tokens: Tokens;
}

/**
 * Removes a part that nothing leans on, as its job has ended or is gone (DEFINITION-2, SIGNALS-2); wakes a job that has not been told of
 * a signal, as its sender has died in between.
 *
 * @throws AsyncError of the bus
 */
export async function tidy(context: TidyContext, message: StoredMessage): Promise<void> {
  await (await untidy(context, message))?.mend();
}

/**
 * What is to be done about a part; undefined if it is as it has to be. The part is looked at first, and the state after that.
 *
 * @throws AsyncError of the bus
 */
export async function untidy(context: TidyContext, message: StoredMessage): Promise<Untidy | undefined> {
  const { store } = context;
  const key = afterPrefix(message.subject, KV_PREFIX) ?? "";
  const inbox = inboxOf(key);
  if (inbox) return untidyInbox(context, inbox, key, message);
  const result = resultOf(key);
  if (result) return untidyResult(context, result, key, message);
  const end = endOf(key);
  if (end) return untidyEnd(context, end, message);
  const jobId = ownerOfDefinition(key);
  if (jobId === undefined) return undefined; // none of ours
  const stored = await store.get(jobId);
  if (isUnreadable(stored) || (stored?.state && !isEnded(stored.state))) return undefined;
  const what = `the definition of job ${jobId}, which ${endedOrGone(stored?.state)}`;
  return { what, mend: () => store.removeDefinition(jobId, message.sequence) };
}

function endedOrGone(state: JobState | undefined): string {
  return state ? "has ended" : "is gone";
}

/**
 * A result that is stored besides its job is kept for as long as the state that names it (RESULTS-3). While the job is live its owner
 * sees to it, who stores it before the state.
 */
async function untidyResult(
  { bus, store }: TidyContext,
  { jobId, index }: { jobId: string; index: number },
  key: string,
  { data, sequence, storedAt }: StoredMessage,
): Promise<Untidy | undefined> {
  const found = await ownerOfPart({ bus, store }, jobId, readResult(data)?.created_at ?? storedAt);
  if (!found) return undefined;
  const { state } = found;
  if (state && !isEnded(state)) return undefined;
  const what = `the result of entry ${index} of job ${jobId}, which ${endedOrGone(state)}`;
  if (state && isNamed(state, index, data))
    return { what, mend: () => store.expirePart(key, data, sequence, state.keep_ms) };
  return { what, mend: () => store.removePart(key, sequence) };
}

async function untidyInbox(
  { bus, store, tokens }: TidyContext,
  { jobId, name }: { jobId: string; name: string },
  key: string,
  { data, sequence, storedAt }: StoredMessage,
): Promise<Untidy | undefined> {
  const found = await ownerOfPart({ bus, store }, jobId, readInbox(data)?.created_at ?? storedAt);
  if (!found) return undefined;
  const { state } = found;
  const what = `signals ${name} of job ${jobId}`;
  if (!state) return { what: `${what}, which is gone`, mend: () => store.removePart(key, sequence) };
  if (isEnded(state))
    return { what: `${what}, which has ended`, mend: () => settle(store, state, name, { data, sequence }) };
  if (!isForgotten(state, name, data)) return undefined;
  return { what: `${what}, which waits for them and was not told`, mend: async () => void (await tokens.wake(state)) };
}

/**
 * The state of the job of a part that was made at that time; without one if the job is gone. Undefined if that cannot be said: it cannot be
 * read, or it may be a submission of which nothing is stored yet. When that is gone, the job is stored, or gone as well.
 */
async function ownerOfPart(
  { bus, store }: Pick<TidyContext, "bus" | "store">,
  jobId: string,
  createdAt: number,
): Promise<Pick<StoredJob, "state"> | undefined> {
  let stored = await store.get(jobId);
  if (!stored?.state) {
    if (await maybeSubmitted(bus, createdAt)) return undefined;
    stored = await store.get(jobId);
  }
  return isUnreadable(stored) ? undefined : { state: stored?.state };
}

/** Whether a submission of that time, or an older one, is left in stream JOBS. */
async function maybeSubmitted(bus: Bus, createdAt: number): Promise<boolean> {
  return !(await mayHaveForgotten(bus, JOBS, createdAt + SAME_TIME_MS));
}

/** Whether a job rests on its timer, although the signal that it waits for has come. */
function isForgotten(state: LiveJob, name: string, data: Uint8Array): boolean {
  const inbox = readInbox(data);
  if (!inbox || !isInboxOf(inbox, state) || state.token === 0 || !waitsForSignal(state, name)) return false;
  return nextSignal(inbox, usedNumber(state, name)) !== undefined;
}
