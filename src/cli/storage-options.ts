/** How much is kept, and where: limits of streams that are made, and how long ended jobs are kept. */
import { statfs } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { SupervisorOptions } from "../actors/supervisor.ts";
import { integer, parseTime } from "./options.ts";

export interface StorageFlags {
  replicas?: number;
  jobsMaxBytes?: number;
  stateMaxBytes?: number;
  eventsMaxBytes?: number;
  eventsMaxAge?: number;
  retention?: number;
  storeCompleted?: true;
}

const UNITS: Record<string, number> = { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** Adds them to a command; each has an environment variable as well. */
export function withStorage(command: Command): Command {
  const bytes = (flag: string, env: string, what: string) =>
    command.addOption(new Option(`${flag} <bytes>`, what).env(env).argParser(parseBytes));
  const time = (flag: string, env: string, what: string) =>
    command.addOption(new Option(`${flag} <time>`, what).env(env).argParser(parseTime));
  command.addOption(
    new Option("--replicas <n>", "copies of each stream that is made (default: 1, or 3 in a cluster)")
      .env("ASYNC_REPLICAS")
      .argParser(integer(1, 5)),
  );
  bytes("--jobs-max-bytes", "ASYNC_JOBS_MAX_BYTES", "limit of stream JOBS, if it is made, e.g. 500M (default: 1G)");
  bytes("--state-max-bytes", "ASYNC_STATE_MAX_BYTES", "limit of the bucket of states, if it is made (default: 4G)");
  bytes("--events-max-bytes", "ASYNC_EVENTS_MAX_BYTES", "limit of stream EVENTS, if it is made (default: 1G)");
  time("--events-max-age", "ASYNC_EVENTS_MAX_AGE", "how long it keeps events, e.g. 12h (default: 7d)");
  time("--retention", "ASYNC_RETENTION", "how long ended jobs are kept where there is room, e.g. 2d (default: 7d)");
  return command.option("--store-completed", "stream EVENTS keeps completions too, for who consumes ends durably");
}

/** What a supervisor is started with. */
export function storageFrom(flags: StorageFlags): Pick<SupervisorOptions, "topology" | "retentionMs"> {
  const { replicas, jobsMaxBytes, stateMaxBytes, eventsMaxBytes, eventsMaxAge, retention, storeCompleted } = flags;
  return {
    topology: {
      ...(replicas !== undefined && { replicas }),
      ...(jobsMaxBytes !== undefined && { jobsMaxBytes }),
      ...(stateMaxBytes !== undefined && { stateMaxBytes }),
      ...(eventsMaxBytes !== undefined && { eventsMaxBytes }),
      ...(eventsMaxAge !== undefined && { eventsMaxAgeMs: eventsMaxAge }),
      ...(storeCompleted && { storeCompleted }),
    },
    ...(retention !== undefined && { retentionMs: retention }),
  };
}

const MIB = 1024 ** 2;
/** What the streams of `async dev` take together where there is room, and their shares of it. */
const DEV_BYTES = 6 * 1024 * MIB;
const SHARES = { jobsMaxBytes: 1 / 6, stateMaxBytes: 4 / 6, eventsMaxBytes: 1 / 6 } as const;

/** For `async dev`: streams reserve their limits, so on a disk with little room they get a quarter of it. */
export async function fittedTo(folder: string, flags: StorageFlags): Promise<StorageFlags> {
  const { bavail, bsize } = await statfs(folder);
  const bytes = Math.min(DEV_BYTES, (bavail * bsize) / 4);
  const fitted: StorageFlags = {};
  for (const [name, share] of Object.entries(SHARES)) {
    fitted[name as keyof typeof SHARES] = Math.max(MIB, Math.floor(bytes * share));
  }
  return { ...fitted, ...flags };
}

function parseBytes(text: string): number {
  const [, number, unit = ""] = /^(\d{1,15})([KMG]?)$/.exec(text) ?? [];
  if (number !== undefined) return Number(number) * (UNITS[unit] ?? 1);
  throw new InvalidArgumentError("It must be a number of bytes, with K, M or G if you like, e.g. 500M.");
}
