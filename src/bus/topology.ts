/**
 * The streams, the bucket and the consumers: declared here and nowhere else. Made if missing, compared if present.
 * Limits (bytes, ages, replicas) of what is present are the operator's business and left alone; what the guarantees
 * rest on must be as declared.
 */
import {
  AckPolicy,
  type ConsumerConfig,
  DiscardPolicy,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from "@nats-io/jetstream";
import {
  afterPrefix,
  EVENT_PREFIX,
  eventSubject,
  SUBMIT,
  TIMER_PREFIX,
  WAIT_PREFIX,
  WAKE_PREFIX,
} from "../api/subjects.ts";
import { AsyncError, isAsyncError, messageOf } from "../job/errors.ts";
import { EVENT_TYPES } from "../job/events.ts";
import { requireInterval } from "../job/time.ts";
import { accountProblem, type LimitOptions, requireRoom, sizeText } from "./account-room.ts";
import type { Bus } from "./connection.ts";
import { apiAnswer } from "./wire/jetstream.ts";

export const JOBS = "JOBS";
export const KV_JOBS = "KV_jobs";
export const KV_PREFIX = "$KV.jobs";
export const TIMERS = "TIMERS";
export const EVENTS = "EVENTS";
/** The durable consumer of stream JOBS, and that of the wakes in stream TIMERS. */
export const SUPERVISOR_CONSUMER = "supervisor";

const MIB = 1024 ** 2;

/**
 * The used share of the bucket of states from where on there is no room for new jobs: 95 %, but so that live jobs have a
 * mebibyte left, or a fifth of a bucket that is small.
 */
export function fullAt(maxBytes: number): number {
  return Math.max(0.8, Math.min(0.95, 1 - MIB / maxBytes));
}

/** New jobs are taken again when the bucket is by so much of it below what is full. */
export const ROOM_AGAIN = 0.03;

const TIMEOUT_MS = 5_000;
const NANOS_PER_MS = 1_000_000;
const GIB = 1024 ** 3;

export interface TopologyOptions {
  /** Copies of each stream. Default 1 on a single server, 3 in a cluster. */
  replicas?: number;
  /** Submissions that wait; beyond it they are refused. Default 1 GiB. */
  jobsMaxBytes?: number;
  /** States of live and ended jobs. Default 4 GiB. */
  stateMaxBytes?: number;
  /** History. Default 1 GiB and 7 days. */
  eventsMaxBytes?: number;
  eventsMaxAgeMs?: number;
  /**
   * Stores `completed` events as well, for who consumes the ends of jobs durably: one more stored message for each job. Default:
   * as the stream is; one that is made now does not.
   */
  storeCompleted?: boolean;
  /** How long a supervisor may be silent before its jobs go to another one. Default 10,000 ms. */
  ackWaitMs?: number;
}

export interface Topology {
  replicas: number;
  /** Whether stream EVENTS takes `completed` events. */
  storesCompleted: boolean;
  /** As the server has it, which may differ from what was asked for if the consumer was there before. */
  ackWaitMs: number;
}

/** @throws AsyncError `topology_mismatch`, `jetstream_unavailable`, `closed` */
export async function ensureTopology(bus: Bus, options: TopologyOptions = {}): Promise<Topology> {
  requireInterval("ackWaitMs", options.ackWaitMs);
  const manager = await openManager(bus);
  const second = await secondJobs(bus);
  if (second !== undefined) throw new AsyncError("topology_mismatch", second);
  // What is connected to others names a cluster, leaf nodes too; whether JetStream is clustered is told by its answer only.
  const replicas = options.replicas ?? (bus.nc.info?.cluster ? 3 : 1);
  let made: Omit<Topology, "ackWaitMs">;
  try {
    made = await ensureStreams(manager, replicas, options);
  } catch (error) {
    if (options.replicas !== undefined || replicas === 1 || !isNotClustered(error)) throw error;
    made = await ensureStreams(manager, 1, options);
  }
  const ackWaitMs = options.ackWaitMs ?? 10_000;
  const jobs = await ensureConsumer(manager, JOBS, consumerConfig(ackWaitMs));
  await ensureConsumer(manager, TIMERS, { ...consumerConfig(ackWaitMs), filter_subject: WAKES });
  return {
    ...made,
    ackWaitMs: (jobs.ack_wait ?? ackWaitMs * NANOS_PER_MS) / NANOS_PER_MS,
  };
}

/** JetStream's "replicas > 1 not supported in non-clustered mode". */
const NOT_CLUSTERED = 10074;

function isNotClustered(error: unknown): boolean {
  return isAsyncError(error) && (error.cause as { code?: unknown } | undefined)?.code === NOT_CLUSTERED;
}

async function ensureStreams(
  manager: JetStreamManager,
  wantedReplicas: number,
  options: TopologyOptions,
): Promise<Omit<Topology, "ackWaitMs">> {
  let replicas = wantedReplicas;
  let storesCompleted = false;
  const streams: { wanted: WantedStream; info: StreamInfo | undefined }[] = [];
  for (const wanted of streamConfigs(wantedReplicas, options)) {
    streams.push({ wanted, info: await found(manager.streams.info(wanted.name)) });
  }
  const missing = streams.filter(({ info }) => !info).map(({ wanted }) => wanted);
  await requireRoom(manager, missing, LIMIT_OPTIONS);
  for (const { wanted, info } of streams) {
    const actual = await ensureStream(manager, wanted, info);
    if (wanted.name === KV_JOBS) replicas = actual.num_replicas;
    if (wanted.name === EVENTS) storesCompleted = await takesCompleted(manager, actual, options.storeCompleted);
  }
  return { replicas, storesCompleted };
}

/** Shares of an account: a parked job takes more in TIMERS than its state does. */
const LIMIT_OPTIONS: LimitOptions = {
  [JOBS]: { flag: "--jobs-max-bytes", share: 0.1 },
  [KV_JOBS]: { flag: "--state-max-bytes", share: 0.3 },
  [EVENTS]: { flag: "--events-max-bytes", share: 0.1 },
};

type WantedStream = Partial<StreamConfig> & { name: string };

function streamConfigs(num_replicas: number, options: TopologyOptions): WantedStream[] {
  const file = { storage: StorageType.File, num_replicas, allow_direct: true };
  return [
    {
      ...file,
      name: JOBS,
      description: "async: submissions; an un-acked one is the lease of its job",
      // Users write here, so no schedules, rollup, TTL or atomic batches: each would let them reach other messages.
      subjects: [SUBMIT, `${SUBMIT}.>`],
      retention: RetentionPolicy.Workqueue,
      discard: DiscardPolicy.New,
      max_bytes: options.jobsMaxBytes ?? GIB,
    },
    {
      ...file,
      name: KV_JOBS,
      description: "async: the state of every job",
      subjects: [`${KV_PREFIX}.>`],
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.New,
      max_bytes: options.stateMaxBytes ?? 4 * GIB,
      max_msgs_per_subject: 1,
      allow_msg_ttl: true,
      // What a KV bucket is made of, so that `nats kv` can read it.
      allow_rollup_hdrs: true,
      deny_delete: true,
    },
    {
      ...file,
      name: TIMERS,
      description: "async: one durable timer, or place in a backlog, per parked job",
      subjects: [`${TIMER_PREFIX}.*`, `${WAKE_PREFIX}.*`, `${WAIT_PREFIX}.>`],
      retention: RetentionPolicy.Workqueue,
      // Without limits: a discarded timer would be a lost job. There is at most one of each per live job.
      discard: DiscardPolicy.Old,
      allow_msg_schedules: true,
    },
    {
      ...file,
      name: EVENTS,
      description: "async: what happened to jobs",
      subjects: options.storeCompleted ? ALL_EVENTS : RARE_EVENTS,
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      max_bytes: options.eventsMaxBytes ?? GIB,
      max_age: (options.eventsMaxAgeMs ?? 7 * 24 * 3_600_000) * NANOS_PER_MS,
    },
  ];
}

const ALL_EVENTS = [`${EVENT_PREFIX}.>`];
/** Of a job that simply completes, the state is the record: a second one would cost as much as the first. */
const RARE_EVENTS = EVENT_TYPES.filter((type) => type !== "completed").map((type) => eventSubject("*", type));

/** Whether the stream takes `completed` events; it is changed where the option asks for it. */
async function takesCompleted(manager: JetStreamManager, actual: StreamConfig, asked?: boolean): Promise<boolean> {
  const takesAll = actual.subjects.includes(ALL_EVENTS[0] as string);
  if (asked === undefined || asked === takesAll) return takesAll;
  await manager.streams.update(EVENTS, { subjects: asked ? ALL_EVENTS : RARE_EVENTS });
  return asked;
}

const WAKES = `${WAKE_PREFIX}.*`;
/** The streams that have a consumer, and what it gets; "" is everything. */
const CONSUMER_FILTERS: Record<string, string> = { [JOBS]: "", [TIMERS]: WAKES };

function consumerConfig(ackWaitMs: number): Partial<ConsumerConfig> {
  return {
    durable_name: SUPERVISOR_CONSUMER,
    ack_policy: AckPolicy.Explicit,
    ack_wait: ackWaitMs * NANOS_PER_MS,
    max_deliver: -1,
    // One per live job of all supervisors, each of which has a limit of its own.
    max_ack_pending: 1_000_000,
    max_waiting: 2_048,
  };
}

/** What the guarantees rest on, as far as it is declared for the stream. */
const STREAM_ESSENTIALS = [
  "subjects",
  "retention",
  "storage",
  "discard",
  "max_msgs_per_subject",
  "allow_direct",
  "allow_msg_ttl",
  "allow_msg_schedules",
] as const satisfies (keyof StreamConfig)[];

const CONSUMER_ESSENTIALS = ["ack_policy", "max_deliver", "filter_subject"] as const satisfies (keyof ConsumerConfig)[];

async function ensureStream(
  manager: JetStreamManager,
  wanted: WantedStream,
  info: StreamInfo | undefined,
): Promise<StreamConfig> {
  const { config } = info ?? (await made(wanted, manager.streams.add(wanted)));
  const actual = await withNewSubjects(manager, config, wanted);
  compare(`stream ${wanted.name}`, STREAM_ESSENTIALS, wanted, actual);
  return actual;
}

/** A stream that an older version has made takes the subjects that have come since. */
async function withNewSubjects(
  manager: JetStreamManager,
  actual: StreamConfig,
  wanted: WantedStream,
): Promise<StreamConfig> {
  const { subjects = [] } = wanted;
  const older = actual.subjects.length < subjects.length && actual.subjects.every((one) => subjects.includes(one));
  return older ? (await manager.streams.update(wanted.name, { subjects })).config : actual;
}

async function ensureConsumer(
  manager: JetStreamManager,
  stream: string,
  wanted: Partial<ConsumerConfig>,
): Promise<ConsumerConfig> {
  const info = await found(manager.consumers.info(stream, SUPERVISOR_CONSUMER));
  const actual = info?.config ?? (await manager.consumers.add(stream, wanted)).config;
  compare(`consumer ${SUPERVISOR_CONSUMER} of stream ${stream}`, CONSUMER_ESSENTIALS, wanted, actual);
  return actual;
}

/**
 * Makes the consumer of a stream anew if someone has deleted it: without it submissions are stored and nobody is given them.
 * Messages that were delivered come again then.
 *
 * @returns whether it was missing
 * @throws AsyncError of the bus, also if the stream is missing
 */
export async function mendConsumer(bus: Bus, stream: string, ackWaitMs: number): Promise<boolean> {
  if (!(await lacksConsumer(bus, stream))) return false;
  const filter_subject = CONSUMER_FILTERS[stream];
  const wanted = { ...consumerConfig(ackWaitMs), ...(filter_subject && { filter_subject }) };
  try {
    await ensureConsumer(await openManager(bus), stream, wanted);
  } catch (cause) {
    if (isAsyncError(cause)) throw cause;
    throw new AsyncError("jetstream_error", `cannot make the consumer of stream ${stream}: ${messageOf(cause)}`, {
      cause,
    });
  }
  return true;
}

/** Whether the stream is there and its consumer is not. @throws AsyncError of the bus */
export async function lacksConsumer(bus: Bus, stream: string, timeoutMs = TIMEOUT_MS): Promise<boolean> {
  const subject = `${bus.apiPrefix}.CONSUMER.INFO.${stream}.${SUPERVISOR_CONSUMER}`;
  const { error } = apiAnswer<{ error: { err_code?: number } }>(await bus.mux.request(subject, "", timeoutMs));
  return error?.err_code === CONSUMER_NOT_FOUND;
}

/**
 * At a leaf node with a JetStream of its own, the streams of that one must not be there besides those of the domain that was
 * named: each submission would be stored in both, and acknowledged by whichever is first. Undefined if all is well.
 */
async function secondJobs(bus: Bus): Promise<string | undefined> {
  if (bus.domain === undefined || !bus.nc.info?.jetstream) return undefined;
  const reply = await bus.mux.request(`$JS.API.STREAM.INFO.${JOBS}`, "", TIMEOUT_MS);
  const { config, domain = "" } = apiAnswer<{ config: object; domain: string }>(reply);
  if (!config || domain === bus.domain) return undefined;
  const what = `stream ${JOBS} is in the JetStream of this server too${domain && ` (domain ${domain})`}, besides domain ${bus.domain}`;
  return `${what}: a submission would be stored in both; delete the streams of one of them`;
}

/** Unset, false, 0, "" and the "no limit" of a number are one and the same to the server. */
const EMPTY = new Set<unknown>([undefined, false, 0, "", -1]);

function compare<T extends object>(
  what: string,
  keys: readonly (keyof T & string)[],
  wanted: Partial<T>,
  actual: T,
): void {
  const differences = differencesOf(keys, wanted, actual);
  if (differences.length === 0) return;
  const next = "mend it with the `nats` CLI, or use another account or server";
  throw new AsyncError("topology_mismatch", `${what} exists but differs: ${differences.join("; ")}; ${next}`);
}

/**
 * Stream EVENTS takes all events or leaves out `completed`: either is as it should be. So is one to which a newer version, which may
 * run beside ours, has added types of events that we do not know.
 */
function isEither(key: string, wanted: unknown, actual: unknown): boolean {
  const ones = [ALL_EVENTS, RARE_EVENTS].map((one) => JSON.stringify(one));
  if (key !== "subjects" || !ones.includes(JSON.stringify(wanted)) || !Array.isArray(actual)) return false;
  if (ones.includes(JSON.stringify(actual))) return true;
  return RARE_EVENTS.every((one) => actual.includes(one)) && actual.every((one) => isEventSubject(one));
}

function isEventSubject(subject: unknown): boolean {
  return typeof subject === "string" && afterPrefix(subject, EVENT_PREFIX) !== undefined;
}

function differencesOf<T extends object>(keys: readonly (keyof T & string)[], wanted: Partial<T>, actual: T): string[] {
  return keys
    .filter((key) => !(EMPTY.has(wanted[key]) && EMPTY.has(actual[key])))
    .filter((key) => JSON.stringify(wanted[key]) !== JSON.stringify(actual[key]))
    .filter((key) => !isEither(key, wanted[key], actual[key]))
    .map((key) => `${key} is ${JSON.stringify(actual[key])} and must be ${JSON.stringify(wanted[key])}`);
}

/** A stream as it is found, and what is wrong with it and its consumer. */
export interface StreamReport {
  name: string;
  /** Undefined if it is missing. */
  info: StreamInfo | undefined;
  problems: string[];
}

/** Looks at every stream and consumer and changes nothing. @throws AsyncError `jetstream_unavailable` */
export async function inspectTopology(bus: Bus): Promise<StreamReport[]> {
  const manager = await openManager(bus);
  const reports: StreamReport[] = [];
  for (const wanted of streamConfigs(1, {})) {
    const info = await found(manager.streams.info(wanted.name));
    const problems = info ? differencesOf(STREAM_ESSENTIALS, wanted, info.config) : ["it is missing"];
    const filter = CONSUMER_FILTERS[wanted.name];
    if (info && filter !== undefined) problems.push(...(await consumerProblems(manager, wanted.name, filter)));
    if (info?.cluster && !info.cluster.leader) problems.push("it has no leader");
    for (const peer of info?.cluster?.replicas ?? []) {
      if (peer.offline) problems.push(`its copy on ${peer.name} is offline`);
    }
    const further =
      wanted.name === JOBS
        ? await secondJobs(bus)
        : wanted.name === TIMERS && info
          ? await accountProblem(manager, info.config.num_replicas)
          : undefined;
    if (further !== undefined) problems.push(further);
    reports.push({ name: wanted.name, info, problems });
  }
  return reports;
}

async function consumerProblems(manager: JetStreamManager, stream: string, filter: string): Promise<string[]> {
  const info = await found(manager.consumers.info(stream, SUPERVISOR_CONSUMER));
  if (!info) return [`its consumer ${SUPERVISOR_CONSUMER} is missing`];
  const wanted: Partial<ConsumerConfig> = { ...consumerConfig(0), ...(filter && { filter_subject: filter }) };
  const problems = differencesOf(CONSUMER_ESSENTIALS, wanted, info.config).map((one) => `its consumer's ${one}`);
  if (info.paused) problems.push("its consumer is paused");
  if (info.num_ack_pending >= (info.config.max_ack_pending ?? Number.POSITIVE_INFINITY)) {
    problems.push("its consumer has no room for more un-acked messages");
  }
  return problems;
}

async function openManager(bus: Bus): Promise<JetStreamManager> {
  bus.requireOpen();
  try {
    return await jetstreamManager(bus.nc, { timeout: TIMEOUT_MS, apiPrefix: bus.apiPrefix });
  } catch (cause) {
    const why = messageOf(cause);
    const next = unavailableNext(bus);
    throw new AsyncError("jetstream_unavailable", `JetStream does not answer at ${bus.url}: ${why}; ${next}`, {
      cause,
    });
  }
}

function unavailableNext({ domain, nc }: Bus): string {
  if (domain !== undefined) {
    return `is \`domain: ${domain}\` in the \`jetstream {}\` block of a server that this one is connected to?`;
  }
  if (nc.info?.jetstream) return "enable it for this account, or wait until the cluster has a leader";
  const start = "start it with -js or a `jetstream {}` block (see nats-server.conf)";
  return `this server has none of its own: ${start}; at a leaf node, give its hub a \`domain\` there and name that (--domain)`;
}

async function made<T>(wanted: WantedStream, adding: Promise<T>): Promise<T> {
  try {
    return await adding;
  } catch (cause) {
    const why = messageOf(cause);
    const size = wanted.max_bytes ? `${sizeText(wanted.max_bytes)}, ` : "";
    const flag = LIMIT_OPTIONS[wanted.name]?.flag;
    const next = `give the server more storage${flag ? ` or the stream a lower limit (${flag})` : ""}`;
    throw new AsyncError(
      "jetstream_error",
      `cannot make stream ${wanted.name} (${size}${wanted.num_replicas} copies): ${why}; ${next}`,
      {
        cause,
      },
    );
  }
}

/** JetStream's "stream not found" and "consumer not found". */
const CONSUMER_NOT_FOUND = 10014;
const NOT_FOUND = new Set([10059, CONSUMER_NOT_FOUND]);

async function found<T>(info: Promise<T>): Promise<T | undefined> {
  try {
    return await info;
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (typeof code === "number" && NOT_FOUND.has(code)) return undefined;
    throw error;
  }
}
