/**
 * A server on which signals are taken, and nothing else is done: jobs are made by hand, and what would wake their owners stays where
 * it can be looked at.
 */
import * as assert from "uvu/assert";
import { Depths } from "../../src/actors/depths.ts";
import { Dispatcher } from "../../src/actors/dispatcher.ts";
import { JobControl } from "../../src/actors/job-control.ts";
import { createLifecycle } from "../../src/actors/lifecycle.ts";
import { Parents } from "../../src/actors/parents.ts";
import { RequestApi } from "../../src/actors/request-api.ts";
import { SignalRequests } from "../../src/actors/signals.ts";
import { readSubmission } from "../../src/actors/submission.ts";
import { ChildEnds } from "../../src/bus/store/child-ends.ts";
import { Definitions } from "../../src/bus/store/definitions.ts";
import { EventLog } from "../../src/bus/store/event-log.ts";
import { type Inbox, inboxKey, readInbox } from "../../src/bus/store/inbox.ts";
import { JobList } from "../../src/bus/store/job-list.ts";
import { JobStore } from "../../src/bus/store/job-store.ts";
import { Signals } from "../../src/bus/store/signals.ts";
import { readLast, type StoredMessage } from "../../src/bus/store/stream-read.ts";
import { Tokens } from "../../src/bus/tokens/tokens.ts";
import { ensureTopology, KV_JOBS, TIMERS } from "../../src/bus/topology.ts";
import type { Encoding } from "../../src/job/encoding.ts";
import { createJob } from "../../src/job/machine.ts";
import { inPhase } from "../../src/job/record.ts";
import { isEnded, type JobFields, type JobState, type LiveJob } from "../../src/job/state.ts";
import { System } from "./system.ts";

export interface Made extends Partial<Pick<JobFields, "token" | "signals" | "created_at" | "live">> {
  encoding?: Encoding;
  names?: string[];
}

export class SignalRig {
  readonly system: System;
  readonly store: JobStore;
  readonly tokens: Tokens;
  readonly control: JobControl;
  readonly signals: Signals;
  /** What was found to be no inbox. */
  readonly problems: string[] = [];
  readonly #close: (() => Promise<void>)[];

  static async start(): Promise<SignalRig> {
    const system = await System.start("without supervisor");
    const topology = await ensureTopology(system.bus);
    return new SignalRig(system, new EventLog(system.bus, topology));
  }

  private constructor(system: System, eventLog: EventLog) {
    const { bus } = system;
    this.system = system;
    this.store = new JobStore(bus, { replicas: 1 });
    this.tokens = new Tokens(bus);
    this.signals = new Signals(bus, this.store, (jobId, problem) => this.problems.push(`${jobId}: ${problem}`));
    const { store, tokens, signals } = this;
    const lifecycle = createLifecycle();
    const definitions = new Definitions(bus, store);
    const list = new JobList(bus, store, (submission) => readSubmission(submission).jobId);
    const parents = new Parents({ bus, store, tokens, ends: new ChildEnds(store), localParent: () => undefined });
    this.control = new JobControl({
      bus,
      store,
      tokens,
      eventLog,
      list,
      definitions,
      lifecycle,
      parents,
      writer: "rig",
    });
    const find = (jobId: string) => this.control.find(jobId);
    const dispatcher = new Dispatcher(bus, lifecycle, { onRoom: () => {} });
    const depths = new Depths(bus, dispatcher, store);
    const signalRequests = new SignalRequests({ bus, signals, tokens, find });
    const api = new RequestApi({
      bus,
      list,
      control: this.control,
      depths,
      signals: signalRequests,
      definitions,
      settings: { of: () => undefined },
    });
    this.#close = [
      () => api.close(),
      async () => {
        depths.close();
        dispatcher.close();
      },
      () => system.close(),
    ];
  }

  /** A job that waits for a signal in its first entry, as it is stored. It rests on its timer if it has a token above 0. */
  async job(jobId: string, made: Made = {}): Promise<LiveJob> {
    const { encoding = "json", names = ["approval"], created_at: createdAt = Date.now(), ...fields } = made;
    const document = { name: "waits", functions: names.map((name) => ({ wait_for: name })) };
    const { state } = createJob(document, { jobId, encoding, createdAt, sequence: 1 }, createdAt);
    assert.not(isEnded(state));
    const live = [{ index: 0, attempt: 1, wait: "signal" as const, since: createdAt }];
    const job = inPhase({ ...state, live, version: 1, writer: "rig", ...fields }, { state: "running" });
    await this.put(job);
    return job;
  }

  /** Stores a state over the one that is there, if there is one. */
  async put(state: JobState): Promise<void> {
    const before = await this.store.get(state.job_id);
    assert.is((await this.store.commit(state, before?.revision ?? 0)).type, "stored");
  }

  /** Ends it as if its owner had. */
  async end(
    job: JobState,
    more: Partial<JobFields> = {},
    state: "cancelled" | "completed" = "cancelled",
  ): Promise<void> {
    await this.put(inPhase({ ...job, ...more, version: job.version + 1 }, { state, finished_at: Date.now() }));
  }

  inboxMessage(jobId: string, name = "approval"): Promise<StoredMessage | undefined> {
    return readLast(this.system.bus, KV_JOBS, `$KV.jobs.${inboxKey(jobId, name)}`);
  }

  async inbox(jobId: string, name = "approval"): Promise<Inbox | undefined> {
    const message = await this.inboxMessage(jobId, name);
    return message && readInbox(message.data);
  }

  /** What the wake of a job says, if it has one. */
  async wake(jobId: string): Promise<string | undefined> {
    const message = await readLast(this.system.bus, TIMERS, `job.wake.${jobId}`);
    return message && Buffer.from(message.data).toString();
  }

  async close(): Promise<void> {
    for (const close of this.#close) await close();
  }
}
