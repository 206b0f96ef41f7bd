/**
 * A nats-server of our own, as a child process on a loopback port: for `async dev`, the demo, the tests and the bench.
 *
 * Its border: binary.ts finds the program, guard.ts ties its life to ours, store-lock.ts keeps others off
 * its folder, log.ts understands what it says. This module puts them in order.
 *
 * SERVER-1  Only this machine can reach it.
 * SERVER-2  A free port is the server's own choice, read from its log, and it counts as ready once it answered a client.
 *     Nothing waits by the clock; a start that takes too long is given up.
 * SERVER-3  The folder is locked before anything is written into it, and before the server runs.
 * SERVER-4  A start that fails leaves no process behind, and no folder of its making.
 * SERVER-5  A temporary folder is removed when the server is gone: by the guard, which also outlives us.
 */
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, errors } from "nats";
import { AsyncError } from "../../job/errors.ts";
import { requireServer } from "../server-check.ts";
import { checkServerBinary, findServerBinary } from "./binary.ts";
import { type Guard, type GuardExit, STOP_GRACE_MS, startGuard } from "./guard.ts";
import { ServerLog, storeNotWritable } from "./log.ts";
import { lockStore } from "./store-lock.ts";

/** For the whole start, with the recovery of what is in the store. */
const START_LIMIT_MS = 30_000;
/** For an answer to the first client, from a server that has said it is ready. */
const CONNECT_LIMIT_MS = 5_000;

/** What a server that is about to stop may take beyond its grace period. */
const STOP_MARGIN_MS = 2_000;

const SYNC_INTERVAL = { fast: "1s", safe: "always" };

export interface EmbeddedServerOptions {
  /** Where the data is kept; made if missing. Default: a temporary folder, removed on close. */
  storeDir?: string;
  /** Default 0: a free port. */
  port?: number;
  /** `fast` (default): a power cut can lose the last second. `safe`: every write is synced before it is acknowledged. */
  profile?: "fast" | "safe";
  /** Further nats-server configuration, e.g. a cluster block. */
  extraConfig?: string;
  /** Path of the nats-server to run. Default: found, or fetched once for this user (see binary.ts). */
  binary?: string;
  /** Called with each line of the server's log, and with what is being done to get a binary. */
  onLog?: (line: string) => void;
}

export interface EmbeddedServerExit extends GuardExit {
  /** Whether `close()` asked for it. */
  expected: boolean;
  /** The end of the log, oldest line first; at most 50. */
  lastLog: string[];
}

export interface EmbeddedServer {
  readonly url: string;
  readonly port: number;
  /** Of nats-server itself. */
  readonly pid: number;
  readonly storeDir: string;
  readonly version: string;
  /** Resolves when the server is gone, for whatever reason; never rejects. */
  readonly exited: Promise<EmbeddedServerExit>;
  /** Stops the server and waits until it is gone. Calling it again waits for the same. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts a server and resolves when it can be used.
 *
 * @throws AsyncError `no_server_binary`, `server_too_old`, `port_taken`, `store_not_writable`, `store_in_use`, or
 * `server_exited` with the end of its log
 * @example
 * await using server = await startEmbeddedServer();
 * const bus = await Bus.open({ url: server.url, name: "demo" });
 */
export async function startEmbeddedServer(options: EmbeddedServerOptions = {}): Promise<EmbeddedServer> {
  const { onLog = () => {} } = options;
  const { path, version } = options.binary
    ? await checkServerBinary(options.binary)
    : await findServerBinary({ onProgress: onLog });
  const store = await openStore(options.storeDir);
  const log = new ServerLog(onLog);
  let guard: Guard | undefined;
  try {
    guard = await startGuard({
      command: [path, "-c", store.configFile],
      temporaryFolder: store.temporary ? store.folder : undefined,
      onLog: (line) => log.add(line),
    });
    await claim(store, guard.pid, configuration(store.folder, options));
    guard.go();
    const port = await untilReady(guard, log, store.folder);
    const pid = await guard.serverPid;
    if (pid === undefined) throw new Error("the server is ready and has no pid"); // the guard tells it first
    return new Embedded({ port, pid, version, store, guard, log });
  } catch (error) {
    await release(store, guard);
    throw error;
  }
}

interface Store {
  folder: string;
  configFile: string;
  temporary: boolean;
}

async function openStore(storeDir: string | undefined): Promise<Store> {
  let folder = storeDir ?? join(tmpdir(), "async-nats-");
  try {
    if (storeDir === undefined) folder = await mkdtemp(folder);
    else await mkdir(folder, { recursive: true });
    // One folder has one name, so that whoever else uses it is found.
    folder = await realpath(folder);
  } catch (error) {
    throw storeNotWritable(folder, (error as Error).message, error);
  }
  return { folder, configFile: join(folder, "nats-server.conf"), temporary: storeDir === undefined };
}

async function claim({ folder, configFile }: Store, guardPid: number, config: string): Promise<void> {
  try {
    await lockStore({ folder, guardPid, mark: configFile, waitMs: STOP_GRACE_MS + STOP_MARGIN_MS });
    await writeFile(configFile, config);
  } catch (error) {
    if (error instanceof AsyncError) throw error;
    throw storeNotWritable(folder, (error as Error).message, error);
  }
}

/** The server adds `jetstream/` to the store folder itself. Strings of its configuration are those of JSON. */
function configuration(
  folder: string,
  { port = 0, profile = "fast", extraConfig = "" }: EmbeddedServerOptions,
): string {
  return `# Written at each start by the embedded server; changes are lost.
listen: "127.0.0.1:${port === 0 ? -1 : port}"
# A client that hangs is dropped after some 6 s.
ping_interval: 2s
ping_max: 2
jetstream {
  store_dir: ${JSON.stringify(folder)}
  sync_interval: ${SYNC_INTERVAL[profile]}
}
${extraConfig}
`;
}

async function untilReady(guard: Guard, log: ServerLog, folder: string): Promise<number> {
  const answered = log.ready.then(async (port) => {
    await seeAnswer(port, log);
    return port;
  });
  const ended = guard.exited.then((exit): never => {
    throw log.explain(exit, folder);
  });
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(log.failure("nats-server was not ready in time")), START_LIMIT_MS);
  });
  try {
    return await Promise.race([answered, ended, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

async function seeAnswer(port: number, log: ServerLog): Promise<void> {
  try {
    const nc = await connect({ servers: `127.0.0.1:${port}`, reconnect: false, timeout: CONNECT_LIMIT_MS });
    const { info } = nc;
    await nc.close();
    requireServer(info);
  } catch (error) {
    // With users in `extraConfig` we are not one of them; to be turned away is an answer as well.
    if (error instanceof errors.AuthorizationError) return;
    if (error instanceof AsyncError) throw error;
    throw log.failure("nats-server does not answer", error);
  }
}

async function release(store: Store, guard: Guard | undefined): Promise<void> {
  await guard?.stop();
  // The guard has done this, unless it was killed itself.
  if (store.temporary) await rm(store.folder, { recursive: true, force: true });
}

class Embedded implements EmbeddedServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly storeDir: string;
  readonly version: string;
  readonly exited: Promise<EmbeddedServerExit>;
  readonly #release: () => Promise<void>;
  #closing: Promise<void> | undefined;

  constructor(parts: { port: number; pid: number; version: string; store: Store; guard: Guard; log: ServerLog }) {
    const { port, pid, version, store, guard, log } = parts;
    this.url = `nats://127.0.0.1:${port}`;
    this.port = port;
    this.pid = pid;
    this.version = version;
    this.storeDir = store.folder;
    this.exited = guard.exited.then((exit) => ({
      ...exit,
      expected: this.#closing !== undefined,
      lastLog: log.lastLines,
    }));
    this.#release = () => release(store, guard);
  }

  close(): Promise<void> {
    this.#closing ??= this.#release();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
