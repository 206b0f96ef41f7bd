import { existsSync } from "node:fs";
import { logLifecycle } from "../actors/log.ts";
import { Supervisor } from "../actors/supervisor.ts";
import { Bus, DEFAULT_URL } from "../bus/connection.ts";
import { findServerBinary } from "../bus/server/binary.ts";
import { startEmbeddedServer } from "../bus/server/embedded-server.ts";
import { Client } from "../client/client.ts";
import { startBridge } from "../http/bridge.ts";
import { durabilityOf } from "../http/readiness.ts";
import { AsyncError } from "../job/errors.ts";
import { describeEvent } from "./describe-events.ts";
import { DevWorker } from "./dev-worker.ts";
import { EXIT } from "./exit.ts";
import { createLog, type LogFlags } from "./log.ts";
import type { Address, GraceFlags } from "./options.ts";
import { Shutdown } from "./shutdown.ts";
import { fittedTo, type StorageFlags, storageFrom } from "./storage-options.ts";

export interface DevOptions extends GraceFlags, StorageFlags, LogFlags {
  http: Address;
  natsPort: number;
  storeDir: string;
  concurrency?: number;
}

/**
 * `async dev`: everything in one process tree, until a signal comes. NATS, supervisor and bridge stay up whatever workers do; those
 * are processes of their own, see `dev-worker.ts`.
 *
 * @throws AsyncError `invalid_module`, and what starting a server throws
 */
export async function dev(modules: string[], options: DevOptions): Promise<void> {
  const { http, natsPort, storeDir, grace } = options;
  const missing = modules.filter((module) => !existsSync(module));
  if (missing.length > 0) throw new AsyncError("invalid_module", `there is no file ${missing.join(", ")}`);
  const log = createLog("async-dev", options, "warn");
  const shutdown = new Shutdown(grace);
  void shutdown.requested.then(() => say("ending; once more to end at once"));
  const fail = (message: string) => {
    process.stderr.write(`async: ${message}\n`);
    process.exitCode = EXIT.failed;
    shutdown.request();
  };
  try {
    say("starting NATS");
    // The first time, a server may have to be fetched: say so.
    const { path: binary } = await findServerBinary({ onProgress: say });
    const server = await startEmbeddedServer({ port: natsPort, storeDir, binary });
    shutdown.add(() => server.close());
    void server.exited.then(({ expected, lastLog }) => {
      if (!expected) fail(["the NATS server has gone; its last words:", ...lastLog].join("\n"));
    });
    const bus = await Bus.open({ url: server.url, name: "async-dev" });
    shutdown.add(() => bus.close());
    bus.onLost((error) => fail(`${error.message} [${error.code}]`));
    const supervisor = await Supervisor.start(bus, storageFrom(await fittedTo(server.storeDir, options)));
    shutdown.add(logLifecycle(supervisor.lifecycle, log));
    shutdown.add(() => supervisor.close({ graceMs: shutdown.graceMs }));
    supervisor.lifecycle.on("job", (event) => say(describeEvent(event)));
    const bridge = await startBridge({ client: new Client(bus), ...http });
    shutdown.add(() => bridge.close());
    say(`NATS ${server.version} at ${server.url}, jobs kept in ${server.storeDir}`);
    say(`durability ${durabilityOf(supervisor.topology.replicas)}`);
    say(`HTTP at ${bridge.url}: POST ${bridge.url}/v1/job`);
    say(`submit with: async submit job.json --wait${server.url === DEFAULT_URL ? "" : ` --nats ${server.url}`}`);
    if (modules.length === 0) say("no workers; name modules to have them served, or start `async worker`");
    startWorkers(modules, { ...options, url: server.url }, shutdown);
  } catch (error) {
    await shutdown.close();
    throw error;
  }
  await shutdown.run();
}

/** A process for each module. */
function startWorkers(
  modules: string[],
  { url, concurrency, grace, logFormat }: DevOptions & { url: string },
  shutdown: Shutdown,
): void {
  const args = ["--nats", url, "--grace", `${grace / 1_000}s`];
  if (concurrency !== undefined) args.push("--concurrency", String(concurrency));
  if (logFormat !== undefined) args.push("--log-format", logFormat);
  const workers = [...new Set(modules)].map((module) => new DevWorker({ module, args, graceMs: grace, say }));
  process.on("exit", () => {
    for (const worker of workers) worker.kill();
  });
  shutdown.add(() => Promise.all(workers.map((worker) => worker.close())));
  for (const worker of workers) worker.start();
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
