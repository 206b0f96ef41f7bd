/**
 * What may excuse an execution that does not count: a fault that hit its worker, a supervisor that owned its job, or NATS, near its
 * time; or that another supervisor took the job over within a lease of it. A fault elsewhere is no excuse.
 */
import { LOST_LIMIT } from "../../src/job/outcome.ts";
import { LEASE_MS } from "./cluster.ts";
import type { Execution } from "./evidence.ts";
import type { Fault } from "./faults.ts";
import type { Evidence } from "./findings.ts";

/** How long after its end an execution's outcome may be on its way, and before its beginning its invocation. */
export const TRANSIT_MS = 1_000;
/** After an outage of a server leases may have run out; who has lost one finds out within two leases. */
const RECOVERY_MS = 2 * LEASE_MS + 2_000;
/** A process that goes on after a pause works off what had piled up. */
const CATCH_UP_MS = 3_000;

/** Of one job. */
export class Excuses {
  readonly #faults: Fault[];
  /** Processes that owned the job at some time. */
  readonly #owners: ReadonlySet<string>;
  /** Processes that execute functions. */
  readonly #executors: ReadonlySet<string>;
  /** When a supervisor took it over from another. */
  readonly #takeovers: number[];

  constructor(job: string, { faults, owners }: Evidence, executors: ReadonlySet<string>) {
    this.#faults = faults;
    this.#executors = executors;
    const changes = owners.get(job) ?? [];
    this.#owners = new Set(changes.map(({ process }) => process));
    this.#takeovers = changes.filter(({ what }) => what === "claimed resumed").map(({ at }) => at);
  }

  /** Whether so many attempts may have been lost: each needs an executor or a server that was hit; one pause can swallow two. */
  mayHaveLost(from: number, to: number): boolean {
    const mayLose = ({ role, process }: Fault) => role !== "supervisor" || this.#executors.has(process);
    const around = this.#faults.filter((fault) => mayLose(fault) && overlaps(fault, from, to));
    return 2 * around.length >= LOST_LIMIT;
  }

  wasHit(execution: Execution): boolean {
    const from = execution.begun - TRANSIT_MS;
    const to = (execution.ended ?? execution.begun) + TRANSIT_MS;
    // On a machine that is overloaded a lease may run out without a fault: that a job was taken over is on record, and
    // it takes a while until the owner before hears of it.
    const takenOver = this.#takeovers.some((at) => at >= from - LEASE_MS && at <= to + LEASE_MS);
    return (
      takenOver ||
      this.#faults.some((fault) => {
        if (fault.role === "server") return overlaps(fault, from - RECOVERY_MS, to);
        if (fault.kind === "drain") return false; // nothing is to be lost by it
        const isExecutor = fault.process === execution.process;
        if (isExecutor && !execution.ended) return true;
        return (isExecutor || this.#owners.has(fault.process)) && this.#isBy(fault, from, to);
      })
    );
  }

  /** A killed process is gone, and its successor is another one; a paused one comes back, with what had piled up. */
  #isBy(fault: Fault, from: number, to: number): boolean {
    if (fault.kind === "kill") return fault.from >= from && fault.from <= to;
    return overlaps(fault, from - CATCH_UP_MS, to);
  }

  /** Its invocation was on its way before, and had to wait for its worker, or for a server, to go on. */
  wasHeldUp(execution: Execution, committedAt: number): boolean {
    return this.#faults.some(
      (fault) =>
        fault.kind === "pause" &&
        (fault.role === "server" || fault.process === execution.process) &&
        fault.from <= committedAt + TRANSIT_MS &&
        overlaps(fault, execution.begun - CATCH_UP_MS, execution.begun),
    );
  }
}

/** Whether the fault was going on at some time from `from` to `to`. */
export function overlaps(fault: Fault, from: number, to: number): boolean {
  return fault.from <= to && (fault.to ?? Number.POSITIVE_INFINITY) >= from;
}
