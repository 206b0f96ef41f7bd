/** What may happen in a history: the faults that strike, the functions that jobs have, and what may be refused. */
import type { ErrorCode } from "../../src/job/errors.ts";
import type { Context } from "../../src/worker/context.ts";
import { FatalError } from "../../src/worker/errors.ts";
import type { World } from "./world.ts";

export const FAULTS = ["kill", "pause", "suspend", "cut", "server", "leader", "full", "account", "permission"] as const;

/** What a process needs to be permitted, of each kind: it is taken away for a time. */
export const NEEDED: Record<string, ["publish" | "subscription", string][]> = {
  supervisor: [
    ["publish", "fn.>"],
    ["publish", "fn.quick"],
    ["publish", "$KV.jobs.>"],
    ["publish", "$JS.ACK.>"],
    ["publish", "$JS.API.>"],
    ["publish", "job.timer.>"],
    ["publish", "job.wait.>"],
    ["publish", "job.event.>"],
    ["publish", "job.ctl.>"],
    ["subscription", "_INBOX_async.>"],
    ["subscription", "job.ctl.>"],
    ["subscription", "job.get.>"],
  ],
  worker: [
    ["publish", "_INBOX_async.>"],
    ["subscription", "fn.>"],
    ["subscription", "fn.flaky"],
    ["subscription", "job.ctl.>"],
    ["subscription", "$SRV.>"],
  ],
  client: [
    ["publish", "job.submit.>"],
    ["publish", "job.get.>"],
    ["subscription", "_INBOX_async.>"],
    ["subscription", "job.notify.>"],
    ["subscription", "job.event.>"],
  ],
};

/** What is told to who submits where there is no room, or no permission. */
export const REFUSALS = new Set<ErrorCode>(["storage_full", "jobs_full", "permission_denied"]);
/** What else becomes of a submission, or of the waiting for the end of the job. */
export const MAY_BE_STORED = new Set<ErrorCode>([
  "bus_timeout",
  "not_connected",
  "jetstream_unavailable",
  "job_failed",
  "job_cancelled",
  "job_not_found", // it has expired (SIM-7)
]);

export const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const untilAborted = (signal: AbortSignal) =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

export const BEHAVIOURS: Record<string, (context: Context, world: World) => Promise<unknown>> = {
  quick: async () => {},
  slow: (_, { random }) => wait(random.between(20, 1_200)),
  flaky: async (_, { random }) => {
    await wait(random.between(0, 50));
    if (random.chance(0.5)) throw new Error("flaky");
  },
  fatal: async (_, { random }) => {
    if (random.chance(0.3)) throw new FatalError("fatal");
  },
  hangs: ({ signal }, { random }) => (random.chance(0.3) ? untilAborted(signal) : wait(10)),
  rare: async () => {},
  /** Makes the document of a child, and now and then one that is none. */
  planner: async (_, { random }) => {
    if (random.chance(0.1)) return { plan: { functions: [] } };
    const undo = random.chance(0.5) ? { undo: { name: "quick", timeout_ms: 2_000 } } : {};
    const functions = ["quick", "flaky"].map((name) => ({ name, timeout_ms: 2_000, ...undo }));
    return { plan: { functions: functions.slice(0, random.int(1, 2)) } };
  },
  /** Lists items, in pages. */
  lister: async ({ cursor }, { random }) => {
    await wait(random.between(0, 50));
    if (random.chance(0.1)) throw new Error("cannot list");
    const page = (cursor as number | null) ?? 0;
    const items = Array.from({ length: random.int(0, 9) }, (_, index) => `${page}.${index}`);
    return { items, ...(page < 2 && random.chance(0.8) && { cursor: page + 1 }) };
  },
  /** Goes on for a while when it is told to stop, and answers. */
  stubborn: async ({ signal }, { random }) => {
    await Promise.race([untilAborted(signal).catch(() => {}), wait(random.between(20, 1_500))]);
    if (signal.aborted) await wait(random.between(0, 3_000));
  },
  /** Does not listen. */
  deaf: (_, { random }) => wait(random.pick([10, 300, 2_000, 13_000])),
};
