import type { Logger } from "pino";
import { isAsyncError, messageOf } from "../job/errors.ts";
import { inWords, Spells } from "../util/spells.ts";
import type { Lifecycle, Predecessor, Trouble } from "./lifecycle.ts";

/** Jobs that are taken over one after the other are told of together. */
const COLLECT_MS = 1_000;
/** By so much of their messages faults are told apart. */
const FAULT_LENGTH = 100;
/** Supervisors that are named. */
const MAX_NAMED = 5;

/**
 * Writes what a supervisor does to a log: jobs that fail and what is worth knowing at `info`, the rest of jobs at `debug`, trouble at
 * `warn`, once per spell. Returns how to end that.
 */
export function logLifecycle(lifecycle: Lifecycle, log: Logger): () => void {
  const spells = new Spells();
  const takeovers = new Takeovers(log);
  lifecycle.on("job", (event) => {
    const level = event.type === "failed" || event.type === "rejected" ? "info" : "debug";
    if (!log.isLevelEnabled(level)) return; // at the usual level most events go nowhere: do not unpack them
    const { job_id: jobId, type, at: _, ...details } = event;
    log[level]({ jobId, ...details }, `job ${type}`);
  });
  lifecycle.on("claimed", (jobId, how, from) => {
    if (from !== undefined) takeovers.add(from);
    if (log.isLevelEnabled("debug")) log.debug({ jobId, how }, "claimed");
  });
  lifecycle.on("released", (jobId, why) => {
    if (log.isLevelEnabled("debug")) log.debug({ jobId, why }, "released");
  });
  lifecycle.on("repeated", (jobId) => {
    const first = () => log.info({ jobId }, "a repeated submission was dropped");
    spells.note("repeated", {
      first,
      over: (end) => log.info(end, `repeated submissions were dropped: ${inWords(end)}`),
    });
  });
  lifecycle.on("trouble", (trouble) => logTrouble(spells, log, trouble));
  lifecycle.on("notice", ({ what, about }) => log.info(about ?? {}, what));
  return () => {
    spells.close();
    takeovers.close();
  };
}

function logTrouble(spells: Spells, log: Logger, { what, kind = what, jobId, error, isOver }: Trouble): void {
  const code = isAsyncError(error) ? { code: error.code } : {};
  const why = isAsyncError(error) ? `: ${error.message}` : "";
  const told = {
    first: () => log.warn({ jobId, ...code, err: error }, `${what}${why}`),
    over: (end: { times: number; forMs: number }) => log.info(end, `${kind}: ${inWords(end)}`),
  };
  // A fault of ours is told for itself, whatever else of its kind there is.
  const key = error === undefined || isAsyncError(error) ? kind : `${kind}: ${messageOf(error).slice(0, FAULT_LENGTH)}`;
  spells.note(key, told, isOver);
}

/** Jobs of others that were taken over, told of together. */
class Takeovers {
  readonly #log: Logger;
  readonly #jobs = new Map<Predecessor, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  add(from: Predecessor): void {
    this.#jobs.set(from, (this.#jobs.get(from) ?? 0) + 1);
    this.#timer ??= setTimeout(() => this.#tell(), COLLECT_MS).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
    if (this.#timer) this.#tell();
  }

  #tell(): void {
    this.#timer = undefined;
    const all = [...this.#jobs].sort(([, a], [, b]) => b - a);
    this.#jobs.clear();
    const jobs = all.reduce((sum, [, count]) => sum + count, 0);
    const parts = all.slice(0, MAX_NAMED).map(([from, count]) => {
      return from === "unknown" ? `${count} whose holder is not known` : `${count} from ${from}`;
    });
    this.#log.info({ jobs, from: Object.fromEntries(all) }, `took over ${jobs} job(s): ${parts.join(", ")}`);
  }
}
