/**
 * One run of the chaos test: a fleet of real processes, jobs, faults, and at the end the verdict.
 *
 * Whatever happens, no process is left behind; of files only the logs, and those only if they are wanted.
 */
import { setMaxListeners } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { timerSubject } from "../../src/api/subjects.ts";
import { JOBS, TIMERS } from "../../src/bus/topology.ts";
import { Client } from "../../src/client/client.ts";
import { isAsyncError, messageOf } from "../../src/job/errors.ts";
import { isEnded, isGraph } from "../../src/job/state.ts";
import { Canceller } from "./canceller.ts";
import { Fleet } from "./cluster.ts";
import {
  childrenIn,
  countMessages,
  readEvents,
  readExecutions,
  readOwnerChanges,
  readResults,
  StateReader,
  subjectsIn,
  sweepUp,
} from "./evidence.ts";
import { Faults } from "./faults.ts";
import type { Evidence } from "./findings.ts";
import { Ledger } from "./ledger.ts";
import { type JobPlan, planJobs } from "./plan.ts";
import { Random } from "./random.ts";
import { explain, type RunOptions, table } from "./report.ts";
import { Retrier } from "./retrier.ts";
import { Signaller } from "./signaller.ts";
import { judge } from "./verdict.ts";

export interface ChaosOptions extends RunOptions {
  nodes: 1 | 3;
  /** Keep the logs of a run that went wrong. */
  keepLogs: boolean;
  signal?: AbortSignal;
  /** Told what is being done. */
  onProgress?: (what: string) => void;
}

export interface ChaosReport {
  ok: boolean;
  table: string;
  /** What is wrong, in full; empty if nothing is. */
  explanation: string;
  /** Where the logs are, if they were kept. */
  folder: string | undefined;
}

const CONCURRENCY = 30;
/** After the faults: without any job coming to its end for so long, the others never will. */
const STALL_LIMIT_MS = 120_000;
/** After the last end: until every token is gone. */
const TOKENS_LIMIT_MS = 30_000;
const POLL_MS = 500;
const TIMER = timerSubject("");
const MAX_LATE_TIMERS = 3;

/** @throws Error when the run could not be brought to its end, or was stopped */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const folder = await mkdtemp(join(tmpdir(), "async-chaos-"));
  let keep = options.keepLogs;
  try {
    const report = await new Run(options, folder).run();
    keep &&= !report.ok;
    return { ...report, folder: keep ? folder : undefined };
  } catch (error) {
    keep &&= !options.signal?.aborted;
    throw keep ? new Error(`${messageOf(error)}; the logs are in ${folder}`, { cause: error }) : error;
  } finally {
    if (keep) await removeStores(folder);
    else await rm(folder, { recursive: true, force: true });
  }
}

async function removeStores(folder: string): Promise<void> {
  const stores = (await readdir(folder)).filter((name) => name.startsWith("store-") || name === "older");
  await Promise.all(stores.map((name) => rm(join(folder, name), { recursive: true, force: true })));
}

class Run {
  readonly #options: ChaosOptions;
  readonly #folder: string;
  readonly #signal: AbortSignal;
  readonly #plans: JobPlan[];
  /** What went wrong with processes rather than with jobs. */
  readonly #complaints: string[] = [];

  constructor(options: ChaosOptions, folder: string) {
    this.#options = options;
    this.#folder = folder;
    this.#signal = options.signal ?? new AbortController().signal;
    setMaxListeners(0, this.#signal); // everything that waits listens to it
    this.#plans = planJobs(options.seed, options.jobs, options.graphs, options.sagas);
  }

  async run(): Promise<Omit<ChaosReport, "folder">> {
    const { nodes, supervisors, older, workers } = this.#options;
    this.#tell("starting the fleet");
    const fleet = await Fleet.start({
      folder: this.#folder,
      nodes,
      supervisors,
      older,
      workers,
      concurrency: CONCURRENCY,
      onComplaint: (what) => this.#complaints.push(what),
    });
    try {
      return await this.#runOn(fleet);
    } finally {
      await fleet.close();
    }
  }

  async #runOn(fleet: Fleet): Promise<Omit<ChaosReport, "folder">> {
    const { seed, seconds, maxPauseMs } = this.#options;
    const client = new Client(fleet.bus);
    const signaller = new Signaller(client, this.#signal);
    const retrier = new Retrier(client, this.#signal);
    const canceller = new Canceller(fleet.bus, this.#signal);
    const ledger = new Ledger(client, (plan) => {
      signaller.begin(plan);
      retrier.begin(plan);
      // Versions before this one cancel what nobody has taken yet, also if they cannot read it.
      if (this.#options.older === 0) canceller.begin(plan);
    });
    // Another series than that of the jobs.
    const faults = new Faults(fleet, new Random(~seed), maxPauseMs);
    const begun = Date.now();
    this.#tell(`submitting ${this.#plans.length} jobs, with faults for ${seconds} s`);
    const submitting = ledger.submitAll(this.#plans, seconds * 1_000, this.#signal);
    submitting.catch(() => {}); // it is awaited below, when the faults are over
    try {
      await faults.run(seconds * 1_000, this.#signal);
    } finally {
      await faults.heal();
    }
    await submitting;
    this.#tell("all faults are over, waiting for the jobs to end");
    await Promise.all([signaller.settle(), retrier.settle(), canceller.settle()]);
    let states = await this.#untilEnded(fleet, ledger);
    await this.#untilNoTokens(fleet, states);
    if (states.parts.size > 0) {
      await sweepUp(fleet.bus, this.#options.nodes);
      states = new StateReader(fleet.bus);
      await states.readOn();
    }
    this.#tell("reading what there is to judge by");
    const evidence: Evidence = {
      plans: this.#plans,
      acknowledged: ledger.acknowledged,
      states: states.states,
      storedAt: states.storedAt,
      problems: states.problems,
      events: await readEvents(fleet.bus),
      executions: await readExecutions(this.#folder),
      owners: await readOwnerChanges(this.#folder),
      faults: faults.record,
      signals: signaller.records,
      retries: retrier.outcomes,
      cancels: canceller.records,
      children: childrenIn(states.states),
      results: await readResults(client, states.states),
      parts: states.parts,
    };
    const verdict = judge(evidence);
    const lastEnd = Math.max(begun, ...[...states.states.values()].map((job) => (isEnded(job) ? job.finished_at : 0)));
    const { unknown, repeated } = ledger;
    const figures = { ...this.#options, totalSeconds: (lastEnd - begun) / 1_000, unknown, repeated };
    const explanation = this.#complaints.map((what) => `${what}\n`).join("") + explain(verdict.findings, evidence);
    await writeFile(join(this.#folder, "faults.json"), JSON.stringify(faults.record, undefined, 1));
    return { ok: explanation === "", table: table(figures, evidence, verdict), explanation };
  }

  /** Waits until every job that is there has ended, and every acknowledged one is there; or until nothing goes on. */
  async #untilEnded(fleet: Fleet, ledger: Ledger): Promise<StateReader> {
    const live = new StateReader(fleet.bus);
    let most = -1;
    for (let limit = 0; ; ) {
      const waiting = await this.#look(async () => {
        await live.readOn();
        return countMessages(fleet.bus, JOBS);
      });
      const states = [...live.states.values()];
      const ended = states.filter(isEnded).length;
      const there = [...ledger.acknowledged.keys()].every((id) => live.states.has(id));
      if (waiting === 0 && there && ended === states.length) break;
      if (ended > most) limit = performance.now() + STALL_LIMIT_MS;
      most = Math.max(most, ended);
      if (performance.now() > limit) {
        this.#complaints.push(`nothing has ended for ${STALL_LIMIT_MS / 1_000} s, ${states.length - ended} jobs live`);
        break;
      }
      await delay(POLL_MS, undefined, { signal: this.#signal });
    }
    // Everything once more, from the beginning.
    const states = new StateReader(fleet.bus);
    await states.readOn();
    return states;
  }

  /**
   * What stood for jobs goes when they have ended. But for a timer that was set late: its job leaves the memory of a slow supervisor, is
   * woken by something else, and ends before. It fires a day later, for nothing.
   */
  async #untilNoTokens(fleet: Fleet, { states }: StateReader): Promise<void> {
    const isLate = (subject: string) => {
      const job = subject.startsWith(TIMER) ? states.get(subject.slice(TIMER.length)) : undefined;
      return job !== undefined && isGraph(job) && isEnded(job);
    };
    let left = "";
    let isLeftLate = false;
    for (const limit = performance.now() + TOKENS_LIMIT_MS; performance.now() < limit; ) {
      for (const stream of [JOBS, TIMERS]) {
        const count = await this.#look(() => countMessages(fleet.bus, stream));
        left = count === 0 ? "" : `stream ${stream} still holds ${count ?? "?"} messages`;
        const subjects = count ? ((await this.#look(() => subjectsIn(fleet.bus, stream))) ?? []) : [];
        if (count) left += `: ${subjects.join(" ")}`;
        isLeftLate = count === subjects.length && count <= MAX_LATE_TIMERS && subjects.every(isLate);
        if (left !== "") break;
      }
      if (left === "") return;
      await delay(POLL_MS, undefined, { signal: this.#signal });
    }
    if (!isLeftLate) this.#complaints.push(left);
  }

  /** The answer, or undefined if there is none right now. */
  async #look<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (error) {
      if (isAsyncError(error)) return undefined;
      throw error;
    }
  }

  #tell(what: string): void {
    this.#options.onProgress?.(what);
  }
}
