/**
 * Looks through the states of all jobs for what the rules say cannot be: a live job without its token, which nothing
 * would ever bring back, and a state that cannot be read. It happens if someone deletes messages by hand, restores a
 * stream from a backup, or if we have a bug. What is found can be mended.
 *
 * W1  A job is stranded if it has been left alone for a while, its token is not there, and on a second look neither has
 *     it changed nor has the token come.
 * W2  Mending is a compare-and-set like any other: a job that has an owner after all loses nothing but that owner.
 * W3  Ended jobs are passed over by their TTL, without being decoded: a look at a million of them takes seconds.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Bus } from "../bus/connection.ts";
import type { EventLog } from "../bus/event-log.ts";
import { type JobStore, storedJob } from "../bus/job-store.ts";
import { readBatch, type StoredMessage } from "../bus/stream-read.ts";
import { afterPrefix } from "../bus/subjects.ts";
import { type Tokens, withNextToken } from "../bus/tokens.ts";
import { KV_JOBS, KV_PREFIX } from "../bus/topology.ts";
import { isEndEvent } from "../job/events.ts";
import { createFailedJob, type Transition } from "../job/machine.ts";
import { isEnded, type LiveJob, type StateName } from "../job/state.ts";

export interface SweepContext {
  bus: Bus;
  store: JobStore;
  tokens: Tokens;
  eventLog: EventLog;
  /** Signs what is mended; no actor's. */
  writer: string;
}

export interface SweepOptions {
  /** Mend what is found. */
  fix: boolean;
  /** How long a job must have been unchanged to be looked at. Default 5 s. */
  settledMs?: number;
  /** Between two pages, so that it is hardly felt. Default 0. */
  pauseMs?: number;
  /** Jobs that are known to have an owner. */
  skip?: (jobId: string) => boolean;
  /** Ends the sweep early. */
  stopped?: () => boolean;
}

export interface SweepReport {
  /** Live jobs that were looked at, by state. */
  live: Partial<Record<StateName, number>>;
  stranded: Stranded[];
}

export interface Stranded {
  jobId: string;
  /** What is wrong with it. */
  problem: string;
  fixed: boolean;
}

const PAGE = 500;
const SECOND_LOOK_MS = 500;

/** @throws AsyncError of the bus */
export async function sweep(context: SweepContext, options: SweepOptions): Promise<SweepReport> {
  const { settledMs = 5_000, pauseMs = 0, skip = () => false, stopped = () => false } = options;
  const report: SweepReport = { live: {}, stranded: [] };
  let from = 1;
  while (!stopped()) {
    const page = await readBatch(context.bus, KV_JOBS, { filter: `${KV_PREFIX}.>`, from, batch: PAGE });
    const suspects: StoredMessage[] = [];
    for (const message of page.messages) {
      from = message.sequence + 1;
      if (message.expires || message.data.length === 0 || skip(jobIdOf(message))) continue; // W3
      const { state } = storedJob(message.sequence, message.data);
      if (state && isEnded(state)) continue;
      if (state) report.live[state.state] = (report.live[state.state] ?? 0) + 1;
      if (Date.now() - message.storedAt >= settledMs) suspects.push(message);
    }
    for (const found of await check(context, suspects)) {
      const fixed = options.fix && (await mend(context, found));
      report.stranded.push({ jobId: jobIdOf(found), problem: problemOf(found), fixed });
    }
    if (page.messages.length === 0 || page.pending === 0) break;
    await delay(pauseMs);
  }
  return report;
}

/** W1: those of the suspects that are stranded. */
async function check(context: SweepContext, suspects: StoredMessage[]): Promise<StoredMessage[]> {
  const first = await withoutToken(context, suspects);
  if (first.length === 0) return [];
  await delay(SECOND_LOOK_MS);
  const unchanged = [];
  for (const message of first) {
    const now = await context.store.get(jobIdOf(message));
    if (now?.revision === message.sequence) unchanged.push(message);
  }
  return withoutToken(context, unchanged);
}

async function withoutToken({ tokens }: SweepContext, messages: StoredMessage[]): Promise<StoredMessage[]> {
  const exists = await Promise.all(
    messages.map(({ sequence, data }) => {
      const { state } = storedJob(sequence, data);
      return state && !isEnded(state) ? tokens.exists(state) : false;
    }),
  );
  return messages.filter((_, index) => !exists[index]);
}

function problemOf({ sequence, data }: StoredMessage): string {
  const { state, problem } = storedJob(sequence, data);
  if (problem !== undefined) return `what is stored of it cannot be read: ${problem}`;
  return `it is ${state?.state}, but its token (number ${state?.token}) is gone`;
}

/** W2. Returns false if someone else was at it meanwhile, or the outcome is not known: the next sweep will see. */
async function mend(context: SweepContext, message: StoredMessage): Promise<boolean> {
  const { sequence, data } = message;
  const { state, problem } = storedJob(sequence, data);
  if (problem !== undefined) return replace(context, message, problem);
  return state !== undefined && !isEnded(state) && reissue(context, state, sequence);
}

/** The next token, as if the job had just been parked. */
async function reissue({ store, tokens, writer }: SweepContext, state: LiveJob, revision: number): Promise<boolean> {
  const next: LiveJob = { ...withNextToken(state), version: state.version + 1, writer };
  if ((await store.commit(next, revision)).type !== "stored") return false;
  await tokens.restore(next); // a timer, also for one that waits for a worker: nobody may know of its backlog
  return true;
}

async function replace(
  { store, eventLog, writer }: SweepContext,
  message: StoredMessage,
  problem: string,
): Promise<boolean> {
  const { state, effects } = corruptJob(jobIdOf(message), problem, Date.now());
  const outcome = await store.commit({ ...state, version: 1, writer }, message.sequence);
  if (outcome.type !== "stored") return false;
  for (const effect of effects) {
    if (effect.type === "tell" && isEndEvent(effect.event)) await eventLog.record(effect.event);
  }
  return true;
}

/** The failed job that stands for one whose state cannot be read. */
export function corruptJob(jobId: string, problem: string, now: number): Transition {
  const message = `what was stored of the job could not be read: ${problem}`;
  const error = { code: "corrupt_state", name: "CorruptState", message } as const;
  return createFailedJob(error, "", { jobId, encoding: "json", createdAt: now, sequence: 0 }, now);
}

function jobIdOf({ subject }: StoredMessage): string {
  return afterPrefix(subject, KV_PREFIX) ?? "";
}
