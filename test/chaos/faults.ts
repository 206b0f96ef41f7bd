/**
 * Kills, pauses and drains processes of the fleet, at random from the seed, and keeps a record of it.
 *
 * FAULTS-1  Which fault is next, and when, depends on the seed alone. If nothing of the kind it is to hit is whole at that
 *     time, it is left out.
 * FAULTS-2  At most one server is down or paused at a time.
 * FAULTS-3  After `heal()` everything runs. What is paused goes on by itself, also if this process is killed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { JOBS, KV_JOBS } from "../../src/bus/topology.ts";
import { Background } from "./background.ts";
import type { Fleet } from "./cluster.ts";
import type { Random } from "./random.ts";
import type { Role, Target } from "./target.ts";

export type FaultKind = "kill" | "pause" | "drain";

export interface Fault {
  role: Role;
  kind: FaultKind;
  /** See `Target.process`. */
  process: string;
  /** ms since 1970. */
  from: number;
  /** When it went on, or its successor was ready; absent while that is to come. */
  to?: number;
}

/** In such proportions; each is drawn once before any is drawn again. */
const DECK: { role: Role; kind: FaultKind; count: number }[] = [
  { role: "supervisor", kind: "kill", count: 4 },
  { role: "supervisor", kind: "pause", count: 3 },
  { role: "supervisor", kind: "drain", count: 2 },
  { role: "worker", kind: "kill", count: 4 },
  { role: "worker", kind: "pause", count: 3 },
  { role: "worker", kind: "drain", count: 2 },
  { role: "server", kind: "kill", count: 1 },
  { role: "server", kind: "pause", count: 1 },
  { role: "server", kind: "drain", count: 1 },
];

const INTERVAL_MS = { minimum: 500, maximum: 2_000 };
const MIN_PAUSE_MS = 1_000;
/** Of the time that a server is paused or gone: on a single node nobody can work meanwhile. */
const MAX_OUTAGE_MS = 6_000;

/** What the seed says, before it is known what is whole at that time. */
interface Planned {
  afterMs: number;
  role: Role;
  kind: FaultKind;
  /** From [0, 1), which of them. */
  which: number;
  /** For servers: the one that leads a stream, if that is known. */
  leads: string | undefined;
  /** How long it is paused, or, for servers, gone. */
  pauseMs: number;
}

export class Faults {
  readonly record: Fault[] = [];
  readonly #fleet: Fleet;
  readonly #random: Random;
  readonly #maxPauseMs: number;
  readonly #background = new Background();
  readonly #pauses = new Set<Pause>();
  readonly #healing = new AbortController();
  #deck: { role: Role; kind: FaultKind }[] = [];

  /** No pause is longer than `maxPauseMs`, nor shorter than a second. */
  constructor(fleet: Fleet, random: Random, maxPauseMs: number) {
    this.#fleet = fleet;
    this.#random = random;
    this.#maxPauseMs = Math.max(MIN_PAUSE_MS, maxPauseMs);
  }

  /** One fault after the other; they may overlap. */
  async run(durationMs: number, signal: AbortSignal): Promise<void> {
    const end = performance.now() + durationMs;
    for (let planned = this.#plan(); performance.now() + planned.afterMs < end; planned = this.#plan()) {
      await delay(planned.afterMs, undefined, { signal });
      this.#background.throwIfFailed();
      const target = await this.#choose(planned);
      if (target) this.#background.track(this.#inflict(target, planned));
    }
  }

  /** Ends all pauses, and waits until every process is back. */
  async heal(): Promise<void> {
    this.#healing.abort();
    for (const pause of this.#pauses) pause.end();
    await this.#background.settle();
  }

  /** Always draws as many numbers, so that what comes later does not depend on what has happened. */
  #plan(): Planned {
    if (this.#deck.length === 0) {
      const deck = DECK.flatMap(({ role, kind, count }) => Array.from({ length: count }, () => ({ role, kind })));
      this.#deck = this.#random.shuffled(deck);
    }
    const { role, kind } = this.#deck.pop() as { role: Role; kind: FaultKind };
    const longest = role === "server" ? Math.min(this.#maxPauseMs, MAX_OUTAGE_MS) : this.#maxPauseMs;
    return {
      afterMs: this.#random.integer(INTERVAL_MS.minimum, INTERVAL_MS.maximum),
      role,
      kind,
      which: this.#random.next(),
      leads: this.#random.pick([KV_JOBS, JOBS, undefined]),
      pauseMs: this.#random.integer(MIN_PAUSE_MS, longest),
    };
  }

  /** FAULTS-1, FAULTS-2 */
  async #choose({ role, which, leads }: Planned): Promise<Target | undefined> {
    const targets = this.#fleet.targets.filter((target) => target.role === role);
    const whole = targets.filter((target) => !target.busy);
    if (role !== "server") return whole[Math.floor(which * whole.length)];
    if (whole.length < targets.length) return undefined;
    const leader = leads === undefined ? undefined : await this.#fleet.leaderOf(leads);
    return leader ?? targets[Math.floor(which * targets.length)];
  }

  async #inflict(target: Target, { kind, pauseMs }: Planned): Promise<void> {
    target.busy = true;
    const fault: Fault = { role: target.role, kind, process: target.process, from: Date.now() };
    this.record.push(fault);
    if (kind === "pause") await this.#pause(target.pid, pauseMs);
    else {
      await (kind === "kill" ? target.kill() : target.terminate());
      if (target.role === "server") await this.#unlessHealing(pauseMs);
      await target.start();
    }
    fault.to = Date.now();
    target.busy = false;
  }

  async #pause(pid: number, ms: number): Promise<void> {
    const pause = new Pause(pid, ms);
    this.#pauses.add(pause);
    await pause.over;
    this.#pauses.delete(pause);
  }

  async #unlessHealing(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#healing.signal }).catch(() => {}); // ended before its time
  }
}

/** SIGSTOP, and SIGCONT later. A shell does it, so that it also happens if we are gone by then (FAULTS-3). */
class Pause {
  readonly over: Promise<unknown>;
  readonly #pid: number;
  readonly #shell: ChildProcess;

  constructor(pid: number, ms: number) {
    const script = 'kill -STOP "$1"; sleep "$2"; kill -CONT "$1"';
    const args = ["-c", script, "pause", String(pid), String(ms / 1_000)];
    this.#pid = pid;
    // In a group of its own, to end its `sleep` with it.
    this.#shell = spawn("/bin/sh", args, { detached: true, stdio: "ignore" });
    this.over = once(this.#shell, "exit");
  }

  /** Ends it before its time. */
  end(): void {
    const { pid, exitCode, signalCode } = this.#shell;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    process.kill(-pid, "SIGKILL");
    process.kill(this.#pid, "SIGCONT");
  }
}
