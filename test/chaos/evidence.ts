/** Gathers what there is to judge a run by: from the streams over the bus, from the records and logs of the processes. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { sweep } from "../../src/actors/sweep.ts";
import type { Bus } from "../../src/bus/connection.ts";
import { isPart } from "../../src/bus/store/definition.ts";
import { EventLog } from "../../src/bus/store/event-log.ts";
import { JobStore, storedJob } from "../../src/bus/store/job-store.ts";
import { readBatch, type StoredBatch, type StoredMessage, streamState } from "../../src/bus/store/stream-read.ts";
import { Tokens } from "../../src/bus/tokens/tokens.ts";
import { EVENTS, KV_JOBS, KV_PREFIX } from "../../src/bus/topology.ts";
import type { Client } from "../../src/client/client.ts";
import { isAsyncError, messageOf } from "../../src/job/errors.ts";
import type { JobEvent } from "../../src/job/events.ts";
import type { JobState } from "../../src/job/state.ts";
import type { ExecutionLine, ExecutionOutcome } from "./execution-log.ts";

/** One execution of one step, as its worker wrote it down. Times are ms since 1970. */
export interface Execution {
  job: string;
  index: number;
  attempt: number;
  process: string;
  /** Of graphs: which function it was, and what it was handed; see `ExecutionLine`. */
  call?: string;
  input?: number;
  item?: number;
  begun: number;
  /** Absent if its worker died before. */
  ended?: number;
  outcome?: ExecutionOutcome;
}

/** A supervisor became or ceased to be the owner of a job, as it logged it. */
export interface OwnerChange {
  job: string;
  process: string;
  at: number;
  /** E.g. `claimed resumed`, `released superseded`. */
  what: string;
}

/** An event in stream EVENTS. */
export interface StoredEvent {
  job: string;
  type: string;
  storedAt: number;
  event: JobEvent;
}

const BATCH = 500;
/** So many are named. */
const MAX_SUBJECTS = 10;
const RETRY_MS = 200;
/** So old is what a sweep looks at. */
const SETTLED_MS = 6_000;
const LEADER_LIMIT_MS = 1_000;
const READ_LIMIT_MS = 30_000;

/** The states of jobs, read from the stream beneath the bucket as it grows. */
export class StateReader {
  /** By job id. */
  readonly states = new Map<string, JobState>();
  /** When the server stored them, ms since 1970. */
  readonly storedAt = new Map<string, number>();
  /** What is stored and is no state, by job id. */
  readonly problems = new Map<string, string>();
  /** The keys of what is stored besides states. */
  readonly parts = new Set<string>();
  readonly #bus: Bus;
  #next = 1;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** Reads what was written since. @throws AsyncError of the bus */
  async readOn(): Promise<void> {
    this.#next = await readFrom(this.#bus, KV_JOBS, this.#next, (message) => {
      const id = message.subject.slice(KV_PREFIX.length + 1);
      if (isPart(id)) {
        if (message.data.length > 0) this.parts.add(id);
        else this.parts.delete(id);
        return;
      }
      const { state, problem } = storedJob(id, message.sequence, message.data);
      if (state) this.states.set(id, state);
      this.storedAt.set(id, message.storedAt);
      if (problem !== undefined) this.problems.set(id, problem);
    });
  }
}

/** Everything in stream EVENTS, by job id, in order. */
export async function readEvents(bus: Bus): Promise<Map<string, StoredEvent[]>> {
  const events = new Map<string, StoredEvent[]>();
  await readFrom(bus, EVENTS, 1, ({ subject, storedAt, data }) => {
    const [, , job = "", type = ""] = subject.split(".");
    const event = JSON.parse(Buffer.from(data).toString()) as JobEvent;
    add(events, job, { job, type, storedAt, event });
  });
  return events;
}

/**
 * Reads a stream from sequence `from` to what is its end when this begins. Any copy may answer, and it may lag behind:
 * it is asked again until it has got that far.
 *
 * @returns where to go on
 */
async function readFrom(
  bus: Bus,
  stream: string,
  from: number,
  onMessage: (message: StoredMessage) => void,
): Promise<number> {
  const { lastSequence: end } = await streamState(bus, stream);
  let next = from;
  for (const limit = performance.now() + READ_LIMIT_MS; next <= end; ) {
    const { messages, pending } = await readPatiently(bus, stream, next, limit);
    for (const message of messages) onMessage(message);
    next = (messages.at(-1)?.sequence ?? next - 1) + 1;
    if (pending > 0 || next > end) continue;
    if (await isGone(bus, stream, end)) return end + 1;
    if (performance.now() > limit) throw new Error(`stream ${stream} ends at ${next - 1}, not at ${end}`);
    await delay(RETRY_MS);
  }
  return next;
}

/** Whether the leader does not have that message any more: what is removed from a bucket leaves a mark that expires. */
async function isGone(bus: Bus, stream: string, sequence: number): Promise<boolean> {
  try {
    const query = JSON.stringify({ seq: sequence });
    const reply = await bus.mux.request(`$JS.API.STREAM.MSG.GET.${stream}`, query, LEADER_LIMIT_MS);
    return reply.json<{ error?: { code: number } }>().error?.code === 404;
  } catch (error) {
    if (isAsyncError(error)) return false; // no leader, right now
    throw error;
  }
}

async function readPatiently(bus: Bus, stream: string, from: number, limit: number): Promise<StoredBatch> {
  for (;;) {
    try {
      return await readBatch(bus, stream, { from, batch: BATCH });
    } catch (error) {
      if (!isAsyncError(error) || performance.now() > limit) throw error;
      await delay(RETRY_MS);
    }
  }
}

export const countMessages = async (bus: Bus, stream: string) => (await streamState(bus, stream)).messages;

/** The subjects of the first messages of a stream. */
export async function subjectsIn(bus: Bus, stream: string): Promise<string[]> {
  return (await readBatch(bus, stream, { from: 1, batch: MAX_SUBJECTS })).messages.map(({ subject }) => subject);
}

/** The children of each job, by its id. */
export function childrenIn(states: ReadonlyMap<string, JobState>): Map<string, JobState[]> {
  const children = new Map<string, JobState[]>();
  for (const job of states.values()) if (job.parent) add(children, job.parent.job_id, job);
  return children;
}

/** What is stored apart of the jobs, by `<job id>/<index>`: one after the other, as there are few. */
export async function readResults(
  client: Client,
  states: ReadonlyMap<string, JobState>,
): Promise<Map<string, unknown>> {
  const results = new Map<string, unknown>();
  for (const job of states.values()) {
    for (const [index, { apart, finished_at }] of [...job.functions].entries()) {
      if (apart === undefined || finished_at === undefined) continue;
      const read = client.result(job.job_id, index);
      // What cannot be read is another result than the one that is looked for.
      results.set(`${job.job_id}/${index}`, await read.catch((error) => `cannot be read: ${messageOf(error)}`));
    }
  }
  return results;
}

/** What is left besides jobs that do not need it goes, as far as it has been there for a while. */
export async function sweepUp(bus: Bus, replicas: number): Promise<void> {
  await delay(SETTLED_MS);
  const context = {
    bus,
    store: new JobStore(bus, { replicas }),
    tokens: new Tokens(bus),
    eventLog: new EventLog(bus, { storesCompleted: false }),
    writer: "chaos",
  };
  await sweep(context, { fix: true });
  await delay(RETRY_MS); // nobody waits for a removal
}

/** The executions in the records of the workers, by job id, in the order of their beginnings. */
export async function readExecutions(folder: string): Promise<Map<string, Execution[]>> {
  const executions = new Map<string, Execution[]>();
  for (const { process, lines } of await readLines(folder, ".executions")) {
    // A worker may execute the same attempt twice, even at once: then the older one ends first.
    const running = new Map<string, Execution[]>();
    for (const line of lines) {
      const { at, job, index, attempt, call, input, item, outcome } = JSON.parse(line) as ExecutionLine;
      const key = `${job}/${index}/${attempt}/${call}/${item}`;
      if (outcome === undefined) {
        const graph = {
          ...(call !== undefined && { call }),
          ...(input !== undefined && { input }),
          ...(item !== undefined && { item }),
        };
        const execution = { job, index, attempt, ...graph, process, begun: at };
        add(executions, job, execution);
        add(running, key, execution);
      } else Object.assign(running.get(key)?.shift() ?? {}, { ended: at, outcome });
    }
  }
  for (const list of executions.values()) list.sort((a, b) => a.begun - b.begun);
  return executions;
}

/** Who owned which job, from the logs of the supervisors, by job id, in order. */
export async function readOwnerChanges(folder: string): Promise<Map<string, OwnerChange[]>> {
  const changes = new Map<string, OwnerChange[]>();
  for (const { process, lines } of await readLines(folder, ".log", "supervisor-")) {
    for (const line of lines) {
      if (!line.endsWith('"claimed"}') && !line.endsWith('"released"}')) continue;
      const { jobId: job, time: at, how, why, msg } = JSON.parse(line) as Record<string, string>;
      if (job === undefined) continue;
      add(changes, job, { job, process, at: Number(at), what: `${msg} ${how ?? why}` });
    }
  }
  for (const list of changes.values()) list.sort((a, b) => a.at - b.at);
  return changes;
}

async function readLines(
  folder: string,
  ending: string,
  beginning = "",
): Promise<{ process: string; lines: string[] }[]> {
  const names = (await readdir(folder)).filter((name) => name.startsWith(beginning) && name.endsWith(ending));
  return Promise.all(
    names.map(async (name) => {
      const text = await readFile(join(folder, name), "utf8");
      // The last line of a killed process may be torn.
      return { process: name.slice(0, -ending.length), lines: text.split("\n").slice(0, -1) };
    }),
  );
}

function add<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
