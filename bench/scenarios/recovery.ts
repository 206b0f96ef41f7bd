/**
 * How long an attempt that was under way when its worker, or its supervisor, was killed takes to begin again. The functions
 * themselves tell when they begin, on the clock that all processes of a Linux machine have in common (see clock.ts).
 */
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { JobState } from "../../src/job/state.ts";
import { monotonicUs } from "../clock.ts";
import { WrongResults } from "../contender.ts";
import { AsyncSystem } from "../contenders/async-system.ts";
import { Latencies } from "../latencies.ts";
import type { StartedProcess } from "../process.ts";
import type { Context, Scenario } from "../scenario.ts";
import type { Table } from "../table.ts";
import { HELD_FUNCTION, type HeldStart } from "../workers/names.ts";

/** How long an attempt takes. */
const HOLD_MS = 1_000;
/** Under load before somebody is killed. */
const LOADED_MS = 2_000;
const WORKER_MODULE = "bench/workers/held.ts";

type Victim = "worker" | "supervisor";

export const recovery: Scenario = {
  name: "recovery",
  description: "kill -9 of a worker, and of a supervisor, under load: how soon their attempts begin again",
  numbers: { rounds: 3, rate: 40, workers: 2, supervisors: 2, concurrency: 100 },
  run: async (context) => {
    const { numbers, progress, scope, server } = context;
    const system = await AsyncSystem.on(server);
    await scope.add(() => system.close());
    const trial = new Trial(system);
    // Somebody must be left to go on.
    for (let i = 0; i < Math.max(2, numbers.supervisors); i++) await trial.addSupervisor();
    for (let i = 0; i < Math.max(2, numbers.workers); i++) await trial.addWorker(numbers.concurrency);
    const mark = await system.mark();
    const submitting = trial.submitAt(numbers.rate);
    const resumed = { worker: [] as number[], supervisor: [] as number[] };
    try {
      for (let round = 0; round < numbers.rounds; round++) {
        for (const [i, victim] of (["worker", "supervisor"] as const).entries()) {
          progress.show(`recovery: ${victim}`, round * 2 + i, numbers.rounds * 2);
          await Promise.race([delay(LOADED_MS), submitting]);
          resumed[victim].push(...(await Promise.race([trial.kill(victim, mark), submitting.then(stoppedEarly)])));
          if (victim === "worker") await trial.addWorker(numbers.concurrency);
          else await trial.addSupervisor();
        }
      }
    } finally {
      trial.stop();
    }
    await submitting;
    await system.untilEnded(trial.ledger, mark);
    await system.check(trial.ledger, mark, problem);
    return [tableOf(context, trial.ledger.size, resumed)];
  },
};

function stoppedEarly(): never {
  throw new Error("the submissions have stopped while somebody was killed");
}

function problem({ functions: [fn] }: JobState, number: number): string | undefined {
  return fn?.result === number + 1 ? undefined : `it has the result ${JSON.stringify(fn?.result)}`;
}

class Trial {
  readonly ledger = new Map<string, number>();
  readonly #system: AsyncSystem;
  readonly #members: Record<Victim, StartedProcess[]> = { worker: [], supervisor: [] };
  /** When the attempts of each job began. */
  readonly #starts = new Map<string, number[]>();
  #stopped = false;

  constructor(system: AsyncSystem) {
    this.#system = system;
  }

  async addSupervisor(): Promise<void> {
    this.#members.supervisor.push(await this.#system.startSupervisor());
  }

  async addWorker(concurrency: number): Promise<void> {
    const worker = await this.#system.startWorker(concurrency, WORKER_MODULE);
    worker.child.on("message", (message) => {
      const { jobId, atUs } = message as HeldStart;
      const starts = this.#starts.get(jobId);
      if (starts) starts.push(atUs);
      else this.#starts.set(jobId, [atUs]);
    });
    this.#members.worker.push(worker);
  }

  /** Submits at a steady rate until it is told to stop. */
  async submitAt(rate: number): Promise<void> {
    const begun = performance.now();
    const open = new Set<Promise<unknown>>();
    let failure: { error: unknown } | undefined;
    for (let count = 0; !this.#stopped && !failure; count++) {
      await delay(Math.max(0, begun + (count * 1_000) / rate - performance.now()));
      const id = randomUUID();
      this.ledger.set(id, count);
      const functions = [{ name: HELD_FUNCTION, args: [HOLD_MS, count] }];
      const submission = this.#system.client
        .submit({ job_id: id, name: "bench-held", functions })
        .catch((error) => {
          failure ??= { error };
        })
        .finally(() => open.delete(submission));
      open.add(submission);
    }
    await Promise.all(open);
    if (failure) throw failure.error;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Kills the oldest one. Returns after how many ms each attempt that this interrupted had begun again. */
  async kill(victim: Victim, mark: Parameters<AsyncSystem["untilEnded"]>[1]): Promise<number[]> {
    const killed = this.#members[victim].shift();
    if (!killed) throw new TypeError(`there is no ${victim} to kill`);
    const submitted = new Map(this.ledger);
    const killedUs = monotonicUs();
    await killed.kill();
    await this.#system.untilEnded(submitted, mark);
    const resumedMs = [...this.#starts.values()]
      .filter((starts) => starts.some((atUs) => atUs < killedUs))
      .flatMap((starts) => starts.filter((atUs) => atUs >= killedUs).slice(0, 1))
      .map((atUs) => (atUs - killedUs) / 1_000);
    if (resumedMs.length === 0) throw new WrongResults(`killing a ${victim} has interrupted nothing`);
    return resumedMs;
  }
}

function tableOf({ numbers }: Context, jobs: number, resumed: Record<Victim, readonly number[]>): Table {
  const rows = Object.entries(resumed).map(([victim, times]) => {
    const latencies = new Latencies();
    for (const ms of times) latencies.record(ms);
    const { count, p50Ms, maxMs } = latencies.percentiles();
    return { victim, kills: numbers.rounds, interrupted: count, p50Ms, maxMs };
  });
  return {
    title: `recovery: ${numbers.rate} jobs/s of ${HOLD_MS} ms each; from the kill to the next start of what it interrupted`,
    columns: [
      { key: "victim", title: "killed" },
      { key: "kills", title: "times" },
      { key: "interrupted", title: "attempts" },
      { key: "p50Ms", title: "p50 ms" },
      { key: "maxMs", title: "max ms" },
    ],
    rows,
    notes: [`${jobs.toLocaleString("en")} jobs in all, every one ended once and with the right result`],
  };
}
