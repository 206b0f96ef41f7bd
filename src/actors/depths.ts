/**
 * What waits for each function, all supervisors together: `function.list`; and the same of a few functions. Whoever is asked
 * asks all supervisors for their lines, the workers for what they serve, and stream TIMERS for the backlogs.
 *
 * DEPTHS-1  A list takes about `LIMIT_MS`, names at most `MAX_FUNCTIONS` functions, and is made once for all who ask meanwhile.
 * DEPTHS-2  Of a few functions an answer takes half as long. The server is not asked to list the jobs in all backlogs, but to
 *     count those of each function; and of those who ask at a time, one asks the workers for all.
 */

import type { Msg } from "nats";
import { type FunctionDepth, type FunctionsReply, type LineDepth, MAX_FUNCTIONS } from "../api/requests.ts";
import { afterPrefix, FUNCTION_PREFIX, LINES, WAIT_PREFIX, waitSubject } from "../api/subjects.ts";
import type { Bus } from "../bus/connection.ts";
import { readJsonObject } from "../bus/messages/codec.ts";
import { discoverServices, type ServiceInfo } from "../bus/messages/service.ts";
import type { JobStore } from "../bus/store/job-store.ts";
import { readBatch } from "../bus/store/stream-read.ts";
import { streamInfo } from "../bus/stream-info.ts";
import { functionOf, jobIdOf } from "../bus/tokens/backlog.ts";
import { TIMERS } from "../bus/topology.ts";
import type { Listening } from "../bus/wire/steady-subscription.ts";
import { isRecord } from "../job/plain.ts";
import { dueSince } from "../job/rest.ts";
import { callAt, isEnded, type LiveJob } from "../job/state.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { SettingsOf } from "./function-settings.ts";

const LIMIT_MS = 1_000;
/** All supervisors have answered when none has for this long. */
const QUIET_MS = 150;
/** Backlogs that are asked for their oldest job. */
const MAX_OLDEST = 100;

export class Depths {
  readonly #bus: Bus;
  readonly #dispatcher: Pick<Dispatcher, "depths">;
  readonly #store: Pick<JobStore, "get">;
  readonly #settings: SettingsOf | undefined;
  readonly #subscription: Listening;
  #answer: Promise<FunctionsReply> | undefined;
  #services: Promise<ServiceInfo[]> | undefined;

  /** @param settings what is set at functions */
  constructor(bus: Bus, dispatcher: Pick<Dispatcher, "depths">, store: Pick<JobStore, "get">, settings?: SettingsOf) {
    this.#bus = bus;
    this.#settings = settings;
    this.#store = store;
    this.#dispatcher = dispatcher;
    this.#subscription = bus.subscribe(
      LINES,
      (message) => void message.respond(JSON.stringify({ functions: this.#lines(wantedIn(message.data)) })),
    );
  }

  /** @throws AsyncError of the bus */
  list(): Promise<FunctionsReply> {
    this.#answer ??= this.#list().finally(() => {
      this.#answer = undefined;
    });
    return this.#answer;
  }

  /**
   * Of these functions, without the age of what waits; each of them, also where nothing is known of it.
   *
   * @throws AsyncError of the bus
   */
  async of(names: readonly string[]): Promise<Map<string, FunctionDepth>> {
    const wanted = new Set(names);
    const question = JSON.stringify({ functions: names } satisfies LinesRequest);
    this.#services ??= this.#discover().finally(() => {
      this.#services = undefined;
    });
    const [replies, services, backlogs] = await Promise.all([
      this.#bus.mux.requestMany(LINES, question, LIMIT_MS / 2, QUIET_MS),
      this.#services,
      Promise.all(names.map(async (name) => [name, await this.#waitingIn(name)] as const)),
    ]);
    const depths = gather(replies, services, backlogs, wanted);
    for (const name of names) depths.set(name, depths.get(name) ?? emptyDepth(name));
    return depths;
  }

  close(): void {
    this.#subscription.unsubscribe();
  }

  #discover(): Promise<ServiceInfo[]> {
    return discoverServices(this.#bus, { quietMs: QUIET_MS, maxWaitMs: LIMIT_MS / 2 });
  }

  /** How many jobs wait in the backlog of a function. */
  async #waitingIn(name: string): Promise<number> {
    const query = { filter: waitSubject(name, "*"), from: 1, batch: 1 };
    const { messages, pending } = await readBatch(this.#bus, TIMERS, query);
    return messages.length + pending;
  }

  #lines(wanted: ReadonlySet<string> | undefined) {
    const lines = [...this.#dispatcher.depths()].filter(({ name }) => wanted?.has(name) ?? true);
    return lines.sort((a, b) => b.waiting - a.waiting).slice(0, MAX_FUNCTIONS);
  }

  async #list(): Promise<FunctionsReply> {
    const end = performance.now() + LIMIT_MS;
    const [replies, services, backlogs] = await Promise.all([
      this.#bus.mux.requestMany(LINES, "", LIMIT_MS / 2, QUIET_MS),
      this.#discover(),
      this.#backlogs(),
    ]);
    const depths = gather(replies, services, backlogs);
    const sorted = [...depths.values()].sort((a, b) => b.waiting - a.waiting || (a.name < b.name ? -1 : 1));
    const functions = sorted.slice(0, MAX_FUNCTIONS);
    await this.#addOldest(functions.filter(({ name }) => backlogs.has(name)).slice(0, MAX_OLDEST), end);
    for (const depth of functions) {
      const settings = this.#settings?.of(depth.name);
      if (settings) depth.settings = settings;
    }
    const omitted = sorted.length - functions.length;
    return omitted === 0 ? { functions } : { functions, omitted };
  }

  /** How many wait in each backlog; of 100,000 jobs at most, as the server lists no more. */
  async #backlogs(): Promise<Map<string, number>> {
    const { state } = await streamInfo(this.#bus, TIMERS, LIMIT_MS, { subjects_filter: `${WAIT_PREFIX}.>` });
    const counts = new Map<string, number>();
    for (const subject of Object.keys(state?.subjects ?? {})) {
      const name = functionOf(subject) ?? "";
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return counts;
  }

  /** What has not been told in time is left out. */
  async #addOldest(depths: FunctionDepth[], end: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, Math.max(0, end - performance.now()));
    });
    const read = depths.map(async (depth) => {
      const query = { filter: waitSubject(depth.name, "*"), from: 1, batch: 1 };
      const [oldest] = (await readBatch(this.#bus, TIMERS, query)).messages;
      if (!oldest) return;
      const { subject, storedAt } = oldest;
      addOldest(depth, Math.max(0, Date.now() - storedAt)); // in case that it is too late for the rest
      const state = (await this.#store.get(jobIdOf(subject)))?.state;
      const since = state && !isEnded(state) ? dueSince(state, indexOf(state, depth.name)) : undefined;
      if (since !== undefined) addOldest(depth, Date.now() - since);
    });
    await Promise.race([Promise.allSettled(read), late]);
    clearTimeout(timer);
  }
}

/** Of the entry that waits for a worker of the function. */
function indexOf(job: LiveJob, functionName: string): number {
  return job.live?.find((branch) => callAt(job, branch).name === functionName)?.index ?? job.current_function;
}

/** Body of a question for lines. */
interface LinesRequest {
  functions: readonly string[];
}

/** Of which functions lines are wanted; undefined: of all. */
function wantedIn(data: Uint8Array): ReadonlySet<string> | undefined {
  const functions = data.length === 0 ? undefined : readJsonObject(data)?.functions;
  return Array.isArray(functions) ? new Set(functions) : undefined;
}

/** What has been heard of functions; of those that are `wanted`, where that is given. */
function gather(
  replies: Msg[],
  services: ServiceInfo[],
  backlogs: Iterable<readonly [name: string, waiting: number]>,
  wanted?: ReadonlySet<string>,
): Map<string, FunctionDepth> {
  const isWanted = (name: string) => wanted?.has(name) ?? true;
  const depths = new Map<string, FunctionDepth>();
  const of = (name: string) => {
    const known = depths.get(name);
    if (known) return known;
    const made = emptyDepth(name);
    depths.set(name, made);
    return made;
  };
  const lines = replies.flatMap(({ data }) => linesIn(data)).filter(({ name }) => isWanted(name));
  for (const line of lines) addLine(of(line.name), line);
  for (const { metadata, endpoints } of services) {
    for (const { subject } of endpoints) {
      const name = afterPrefix(String(subject), FUNCTION_PREFIX);
      if (name === undefined || !isWanted(name)) continue;
      const depth = of(name);
      depth.workers += 1;
      depth.slots += Number(metadata?.concurrency) || 0;
    }
  }
  for (const [name, count] of backlogs) of(name).waiting += count;
  // Services that do not answer may serve it: then it is in flight, or a line that has some of it was never told of nobody.
  const served = new Set(lines.flatMap(({ name, unserved }) => (unserved ? [] : name)));
  for (const depth of depths.values()) {
    if (depth.waiting > 0 && depth.workers === 0 && !served.has(depth.name)) depth.unserved = true;
  }
  return depths;
}

function emptyDepth(name: string): FunctionDepth {
  return { name, waiting: 0, in_flight: 0, workers: 0, slots: 0 };
}

/** The lines of one supervisor. Others may answer too. */
function linesIn(data: Uint8Array): LineDepth[] {
  const functions = readJsonObject(data)?.functions;
  return Array.isArray(functions) ? functions.filter(isLineDepth) : [];
}

function isLineDepth(value: unknown): value is LineDepth {
  if (!isRecord(value)) return false;
  const { name, waiting, in_flight, oldest_ms = 0 } = value;
  return typeof name === "string" && [waiting, in_flight, oldest_ms].every(Number.isFinite);
}

function addLine(depth: FunctionDepth, { waiting, in_flight, oldest_ms }: LineDepth): void {
  depth.waiting += waiting;
  depth.in_flight += in_flight;
  if (oldest_ms !== undefined) addOldest(depth, oldest_ms);
}

function addOldest(depth: FunctionDepth, ms: number): void {
  depth.oldest_ms = Math.max(depth.oldest_ms ?? 0, Math.round(ms));
}
