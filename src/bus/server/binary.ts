/**
 * Finds a nats-server that is new enough, or gets one without changing the system. The first that works is taken:
 *
 * 1. PATH: `nats-server` there, or in the system folders that PATH often lacks
 * 2. cache: what the next two fetched for this user before (cache.ts)
 * 3. release: the official one (release.ts)
 * 4. apt: the testing suite of the Debian archive (apt.ts)
 *
 * `ASYNC_NATS_SERVER` demands one by its path; then nothing else is tried.
 */
import { AsyncError } from "../../job/errors.ts";
import { isAtLeast, SERVER_FLOOR } from "../server-check.ts";
import { fetchWithApt } from "./apt.ts";
import { cachedServers, cacheFolder, install, withWorkFolder } from "./cache.ts";
import { findOnPath, reasonOf, run } from "./programs.ts";
import { fetchRelease } from "./release.ts";

const SYSTEM_FOLDERS = ["/usr/sbin", "/usr/local/bin"];
const VERSION_LIMIT_MS = 5_000;

export interface ServerBinary {
  path: string;
  version: string;
}

export interface FindServerOptions {
  /** Default: that of this process. */
  env?: NodeJS.ProcessEnv;
  /** Searched after PATH. Default: `/usr/sbin` and `/usr/local/bin`. */
  systemFolders?: string[];
  /** Where the machine's package sources are. Default: `/etc/apt`. */
  aptFolder?: string;
  /** Told when something is about to be downloaded, and when what is on PATH is passed over. */
  onProgress?: (line: string) => void;
}

/** @throws AsyncError `no_server_binary`, or `server_too_old` for the one that `ASYNC_NATS_SERVER` demands */
export async function findServerBinary(options: FindServerOptions = {}): Promise<ServerBinary> {
  const { env = process.env, systemFolders = SYSTEM_FOLDERS, aptFolder = "/etc/apt", onProgress = () => {} } = options;
  if (env.ASYNC_NATS_SERVER) return checkServerBinary(env.ASYNC_NATS_SERVER);
  const cache = cacheFolder(env);
  const fetchWith = (how: string, fetch: (folder: string) => Promise<string>) => {
    onProgress(`no nats-server ${SERVER_FLOOR} or newer here: fetching one ${how} into ${cache}`);
    return withWorkFolder(cache, async (folder) => {
      const { path, version } = await examine(await fetch(folder));
      return { path: await install(cache, path, version), version };
    });
  };
  const steps: Record<string, () => Promise<ServerBinary>> = {
    PATH: async () => {
      const found = await findOnPath("nats-server", env, systemFolders);
      return firstGood(found, "there is no nats-server", (why) => onProgress(`${why}; looking further`));
    },
    cache: async () => firstGood(await cachedServers(cache), `there is none in ${cache}`),
    release: () => fetchWith("from its releases", (folder) => fetchRelease(folder, env)),
    apt: () => fetchWith("from the Debian archive", (folder) => fetchWithApt(folder, { env, aptFolder })),
  };
  const failures: string[] = [];
  for (const [name, step] of Object.entries(steps)) {
    try {
      return await step();
    } catch (error) {
      failures.push(`${name}: ${reasonOf(error)}`);
    }
  }
  throw noServerBinary(failures);
}

/**
 * The server at that path, which the user chose.
 *
 * @throws AsyncError `server_too_old`, or `no_server_binary` when it cannot be run
 */
export async function checkServerBinary(path: string): Promise<ServerBinary> {
  try {
    return await examine(path);
  } catch (error) {
    const code = error instanceof AsyncError ? error.code : "no_server_binary";
    const hint = "name another one, or none (`binary`, ASYNC_NATS_SERVER) to have one found or fetched";
    throw new AsyncError(code, `${reasonOf(error)}; ${hint}`, { cause: error });
  }
}

/** `onUseless` is told when there are some and none is of use. */
async function firstGood(
  paths: string[],
  ifNone: string,
  onUseless: (why: string) => void = () => {},
): Promise<ServerBinary> {
  const reasons: string[] = [];
  for (const path of paths) {
    try {
      return await examine(path);
    } catch (error) {
      reasons.push(reasonOf(error));
    }
  }
  if (reasons.length === 0) throw new Error(ifNone);
  const why = reasons.join("; ");
  onUseless(why);
  throw new Error(why);
}

/** Asks the server at that path for its version. */
async function examine(path: string): Promise<ServerBinary> {
  const output = await run(path, ["--version"], { timeoutMs: VERSION_LIMIT_MS });
  const version = /v(\d+\.\d+\.\d+\S*)/.exec(output)?.[1];
  if (version === undefined) throw new Error(`${path} --version does not answer as a nats-server does`);
  if (isAtLeast(version, SERVER_FLOOR)) return { path, version };
  throw new AsyncError("server_too_old", `${path} is nats-server ${version}, which is older than ${SERVER_FLOOR}`);
}

function noServerBinary(failures: string[]): AsyncError {
  const lines = [
    `no nats-server ${SERVER_FLOOR} or newer was found, and none could be fetched:`,
    ...failures.map((failure) => `  - ${failure}`),
    "Do one of these:",
    `  - install nats-server ${SERVER_FLOOR} or newer (https://github.com/nats-io/nats-server/releases)`,
    "  - set ASYNC_NATS_SERVER to the path of one",
    "  - set NATS_URL to the address of a running server",
    "  - set ASYNC_NATS_DOWNLOAD_URL to a mirror of the releases",
  ];
  return new AsyncError("no_server_binary", lines.join("\n"));
}
