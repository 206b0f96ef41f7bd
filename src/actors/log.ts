import type { Logger } from "pino";
import type { Lifecycle } from "./lifecycle.ts";

/** Writes what a supervisor does to a log: jobs that fail at `info`, the rest at `debug`, trouble at `warn`. */
export function logLifecycle(lifecycle: Lifecycle, log: Logger): void {
  lifecycle.on("job", (event) => {
    const level = event.type === "failed" || event.type === "rejected" ? "info" : "debug";
    if (!log.isLevelEnabled(level)) return; // at the usual level most events go nowhere: do not unpack them
    const { job_id: jobId, type, at: _, ...details } = event;
    log[level]({ jobId, ...details }, `job ${type}`);
  });
  lifecycle.on("claimed", (jobId, how) => log.debug({ jobId, how }, "claimed"));
  lifecycle.on("released", (jobId, why) => log.debug({ jobId, why }, "released"));
  lifecycle.on("repeated", (jobId) => log.info({ jobId }, "a repeated submission was dropped"));
  lifecycle.on("trouble", ({ what, jobId, error }) => log.warn({ jobId, err: error }, what));
}
