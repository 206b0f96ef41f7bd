/**
 * Looks through the states of all jobs for what the rules say cannot be: a live job without its token, which nothing
 * would ever bring back, and a state that cannot be read. It happens if someone deletes messages by hand, restores a
 * stream from a backup, or if we have a bug. What is found can be mended.
 *
 * SWEEP-1  A job is stranded if it has been left alone for a while, its token is not there, and on a second look neither has
 *     it changed nor has the token come.
 * SWEEP-2  Mending is a compare-and-set like any other: a job that has an owner after all loses nothing but that owner.
 * SWEEP-3  Ended jobs are passed over by their TTL, without being decoded: a look at a million of them takes seconds. What is
 *     written while it looks is not looked at.
 * SWEEP-4  An ended job stays where it is, and one that changes goes to the end. So where all have ended, and a minute ago at
 *     least, as a copy of the stream may lag behind, nothing has to be looked at again: that is `next` of a report. It is 1
 *     if nothing is there from where the sweep began, as then the stream may have been made anew.
 * SWEEP-5  A job that has waited for a child for a minute, which has ended by then or is not there, is told to look for itself; also one that
 *     has an owner.
 * SWEEP-6  What is stored besides states is as it has to be, or is found so on two looks, and mended (`tidy.ts`).
 */
import { setTimeout as delay } from "node:timers/promises";
import { afterPrefix } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { isPart } from "../bus/store/definition.ts";
import type { EventLog } from "../bus/store/event-log.ts";
import { ownerOfItems } from "../bus/store/item-parts.ts";
import { type JobStore, storedJob } from "../bus/store/job-store.ts";
import { isNamedValue } from "../bus/store/named-values.ts";
import { readAt, readBatch, readNext, type StoredMessage, streamState } from "../bus/store/stream-read.ts";
import { isRefusedForGood } from "../bus/tokens/timers.ts";
import type { Tokens } from "../bus/tokens/tokens.ts";
import { KV_JOBS, KV_PREFIX } from "../bus/topology.ts";
import { endEvent } from "../job/events.ts";
import { createFailedJob, reduce } from "../job/machine.ts";
import { onNextToken } from "../job/rest.ts";
import { type EndedJob, isEnded, type LiveJob, type StateName } from "../job/state.ts";
import type { Transition } from "../job/transition.ts";
import { untidy } from "./tidy.ts";
import { forgottenChild, remind } from "./tidy-children.ts";

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
  /** Where to begin: `next` of the report before. Default 1. */
  from?: number;
  /** Looks at few jobs at a time, with so long in between that it is hardly felt. Default: as fast as it can. */
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
  /** Jobs that a newer version has stored: nothing is known of them here. */
  newer: number;
  /** Live jobs that have waited for a signal without an end for `LONG_WAIT_MS`; the first `MAX_WAITS_NAMED` of them. */
  waiting: { count: number; jobIds: string[] };
  /** What is stored besides states and is to be removed, or has not been taken: how much, and the first `MAX_UNTIDY_NAMED` of it in words. */
  untidy: { count: number; named: string[] };
  /** Before this sequence there are only jobs that ended a minute ago or longer. */
  next: number;
}

export interface Stranded {
  jobId: string;
  /** What is wrong with it. */
  problem: string;
  fixed: boolean;
}

const PAGE = 500;
/** Sequences that are looked at together where it is not to be felt. */
const WINDOW = 5;
/** How long a job must have been unchanged to be looked at. */
const SETTLED_MS = 5_000;
const LONG_AGO_MS = 60_000;
const SECOND_LOOK_MS = 500;
const LONG_WAIT_MS = 3_600_000;
const MAX_WAITS_NAMED = 10;
const MAX_UNTIDY_NAMED = 10;

/** A stored state that may be stranded, as it was read. */
type Suspect = { jobId: string; revision: number } & ({ job: LiveJob } | { problem: string });
type LiveSuspect = Extract<Suspect, { job: LiveJob }>;

/** @throws AsyncError of the bus */
export async function sweep(context: SweepContext, options: SweepOptions): Promise<SweepReport> {
  const { pauseMs, skip = () => false, stopped = () => false } = options;
  const report: SweepReport = {
    live: {},
    stranded: [],
    newer: 0,
    waiting: { count: 0, jobIds: [] },
    untidy: { count: 0, named: [] },
    next: 1,
  };
  const { lastSequence: end } = await streamState(context.bus, KV_JOBS);
  let again: number | undefined;
  for (let from = options.from ?? 1; from <= end && !stopped(); ) {
    const page = await (pauseMs === undefined ? readPage(context.bus, from) : readWindow(context.bus, from));
    from = page.next;
    if (page.messages.length === 0) break;
    const suspects: Suspect[] = [];
    const parents: LiveSuspect[] = [];
    const untidyParts: StoredMessage[] = [];
    for (const message of page.messages) {
      const key = afterPrefix(message.subject, KV_PREFIX) ?? "";
      if (isNamedValue(key)) continue; // of no job, and there for good: it is not to be looked at again
      if (ownerOfItems(key) !== undefined) continue; // see `part-sweep.ts`, which need not read them
      if (isPart(key)) {
        if (message.expires || message.data.length === 0) continue;
        again ??= message.sequence;
        const isSettled = Date.now() - message.storedAt >= SETTLED_MS;
        if (isSettled && (await untidy(context, message))) untidyParts.push(message);
        continue;
      }
      const suspect = await suspectIn(context.store, message);
      if (suspect || Date.now() - message.storedAt < LONG_AGO_MS) again ??= message.sequence;
      report.next = again ?? message.sequence;
      if (suspect === "newer") {
        report.newer += 1;
        continue;
      }
      if (suspect && "job" in suspect) parents.push(suspect);
      if (!suspect || skip(suspect.jobId)) continue;
      if ("job" in suspect) count(report, suspect.job);
      if (Date.now() - message.storedAt >= SETTLED_MS) suspects.push(suspect);
    }
    await tidyUp(context, untidyParts, options.fix, report);
    for (const found of await check(context, suspects)) {
      const fixed = options.fix && (await mend(context, found));
      report.stranded.push({ jobId: found.jobId, problem: describe(found), fixed });
    }
    for (const { job, problem } of await forgetful(context, parents)) {
      if (options.fix) await remind(context, job);
      report.stranded.push({ jobId: job.job_id, problem, fixed: options.fix });
    }
    if (pauseMs !== undefined) await delay(pauseMs);
  }
  return report;
}

/** SWEEP-6: those that are so still on a second look. */
async function tidyUp(
  context: SweepContext,
  parts: readonly StoredMessage[],
  fix: boolean,
  { untidy: told }: SweepReport,
): Promise<void> {
  if (parts.length === 0) return;
  await delay(SECOND_LOOK_MS);
  for (const message of parts) {
    const found = await untidy(context, message);
    const now = found && (await context.store.part(afterPrefix(message.subject, KV_PREFIX) ?? ""));
    if (!found || now?.sequence !== message.sequence) continue;
    if (fix) await found.mend();
    told.count += 1;
    if (told.named.length < MAX_UNTIDY_NAMED) told.named.push(found.what);
  }
}

function count({ live, waiting }: SweepReport, job: LiveJob): void {
  live[job.state] = (live[job.state] ?? 0) + 1;
  const before = Date.now() - LONG_WAIT_MS;
  if (!job.live?.some(({ wait, due_at, since }) => wait === "signal" && due_at === undefined && since <= before))
    return;
  waiting.count += 1;
  if (waiting.jobIds.length < MAX_WAITS_NAMED) waiting.jobIds.push(job.job_id);
}

interface Read {
  /** In order; none if there are no more. */
  messages: StoredMessage[];
  /** Where to go on. */
  next: number;
}

async function readPage(bus: Bus, from: number): Promise<Read> {
  const { messages } = await readBatch(bus, KV_JOBS, { from, batch: PAGE });
  return { messages, next: (messages.at(-1)?.sequence ?? from) + 1 };
}

/** Message by message, in one go: a batch would have the server count all that come after it. */
async function readWindow(bus: Bus, from: number): Promise<Read> {
  const sequences = Array.from({ length: WINDOW }, (_, index) => from + index);
  const found = await Promise.all(sequences.map((sequence) => readAt(bus, KV_JOBS, sequence)));
  const messages = found.filter((message) => message !== undefined);
  if (messages.length > 0) return { messages, next: from + WINDOW };
  const next = await readNext(bus, KV_JOBS, from + WINDOW);
  return { messages: next ? [next] : [], next: (next?.sequence ?? from) + 1 };
}

/** SWEEP-3: undefined for what has ended or was deleted. */
async function suspectIn(store: JobStore, message: StoredMessage): Promise<Suspect | "newer" | undefined> {
  const { subject, sequence, data, expires } = message;
  if (expires || data.length === 0) return undefined;
  const jobId = afterPrefix(subject, KV_PREFIX) ?? "";
  const stored = await store.complete(jobId, storedJob(jobId, sequence, data));
  if (!stored) return undefined;
  const { revision, state, problem, newer } = stored;
  if (newer !== undefined) return "newer";
  if (problem !== undefined) return { jobId, revision, problem };
  return state && !isEnded(state) ? { jobId, revision, job: state } : undefined;
}

/** SWEEP-1: those of the suspects that are stranded. */
async function check(context: SweepContext, suspects: Suspect[]): Promise<Suspect[]> {
  const first = await withoutToken(context, suspects);
  if (first.length === 0) return [];
  await delay(SECOND_LOOK_MS);
  const unchanged = [];
  for (const suspect of first) {
    const now = await context.store.get(suspect.jobId);
    if (now?.revision === suspect.revision) unchanged.push(suspect);
  }
  return withoutToken(context, unchanged);
}

/** SWEEP-5: those of the jobs that nobody has told of the end of a child. */
async function forgetful(
  context: SweepContext,
  suspects: readonly LiveSuspect[],
): Promise<{ job: LiveJob; problem: string }[]> {
  const before = Date.now() - LONG_AGO_MS;
  const found: { job: LiveJob; problem: string }[] = [];
  for (const { jobId, revision, job } of suspects) {
    if ((await forgottenChild(context, job, before)) === undefined) continue;
    await delay(SECOND_LOOK_MS);
    if ((await context.store.get(jobId))?.revision !== revision) continue;
    const problem = await forgottenChild(context, job, before);
    if (problem !== undefined) found.push({ job, problem });
  }
  return found;
}

async function withoutToken({ tokens }: SweepContext, suspects: Suspect[]): Promise<Suspect[]> {
  const exists = await Promise.all(suspects.map((one) => "job" in one && tokens.exists(one.job)));
  return suspects.filter((_, index) => !exists[index]);
}

function describe(found: Suspect): string {
  if ("problem" in found) return `what is stored of it cannot be read: ${found.problem}`;
  return `it is ${found.job.state}, but its token (number ${found.job.token}) is gone`;
}

/** SWEEP-2. Returns false if someone else was at it meanwhile, or the outcome is not known: the next sweep will see. */
function mend(context: SweepContext, found: Suspect): Promise<boolean> {
  return "job" in found ? reissue(context, found.job, found.revision) : replace(context, found, found.problem);
}

/** The next token, as if the job had just been parked. */
async function reissue(
  { store, tokens, eventLog, writer }: SweepContext,
  state: LiveJob,
  revision: number,
): Promise<boolean> {
  const next: LiveJob = { ...onNextToken(state), version: state.version + 1, writer };
  const outcome = await store.commit(next, revision);
  if (outcome.type !== "stored") return false;
  try {
    await tokens.restore(next); // a timer, also for one that waits for a worker: nobody may know of its backlog
  } catch (error) {
    if (!isRefusedForGood(error)) throw error;
    return failRefused({ store, eventLog, writer }, next, outcome.revision, error.message);
  }
  return true;
}

/** A job whose next token cannot be made, now or ever. */
async function failRefused(
  { store, eventLog, writer }: Pick<SweepContext, "store" | "eventLog" | "writer">,
  before: LiveJob,
  revision: number,
  why: string,
): Promise<boolean> {
  const { state } = reduce(before, { type: "refused", why }, Date.now());
  if (!isEnded(state)) return false;
  const failed = { ...state, version: before.version + 1, writer };
  if ((await store.commit(failed, revision)).type !== "stored") return false;
  await eventLog.record(endEvent(failed), failed.notify);
  return true;
}

async function replace(
  { store, eventLog, writer }: SweepContext,
  { jobId, revision }: Suspect,
  problem: string,
): Promise<boolean> {
  const { state } = corruptJob(jobId, problem, Date.now());
  const outcome = await store.commit({ ...state, version: 1, writer }, revision);
  if (outcome.type !== "stored") return false;
  await eventLog.record(endEvent(state));
  return true;
}

/** The failed job that stands for one whose state cannot be read. */
export function corruptJob(jobId: string, problem: string, now: number): Transition<EndedJob> {
  const message = `what was stored of the job could not be read: ${problem}`;
  const error = { code: "corrupt_state", name: "CorruptState", message } as const;
  return createFailedJob(error, "", { jobId, encoding: "json", createdAt: now, sequence: 0 }, now);
}
