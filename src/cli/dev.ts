import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { logLifecycle } from "../actors/log.ts";
import { Supervisor } from "../actors/supervisor.ts";
import { Bus } from "../bus/connection.ts";
import { findServerBinary } from "../bus/server/binary.ts";
import { startEmbeddedServer } from "../bus/server/embedded-server.ts";
import { Client } from "../client/client.ts";
import { startBridge } from "../http/bridge.ts";
import { durabilityOf } from "../http/readiness.ts";
import { AsyncError } from "../job/errors.ts";
import { stopChild } from "./child.ts";
import { describeEvent } from "./describe.ts";
import { EXIT } from "./exit.ts";
import { createLog } from "./log.ts";
import type { Address } from "./options.ts";
import { Shutdown } from "./shutdown.ts";
import { fittedTo, type StorageFlags, storageFrom } from "./storage-options.ts";

export interface DevOptions extends StorageFlags {
  http: Address;
  natsPort: number;
  storeDir: string;
  concurrency?: number;
}

/** `async dev`: everything in one process tree, until a signal comes. */
export async function dev(modules: string[], options: DevOptions): Promise<void> {
  const { http, natsPort, storeDir, concurrency } = options;
  const shutdown = new Shutdown();
  const fail = (message: string) => {
    process.stderr.write(`async: ${message}\n`);
    process.exitCode = EXIT.failed;
    shutdown.request();
  };
  try {
    // The first time, a server may have to be fetched: say so.
    const { path: binary } = await findServerBinary({ onProgress: say });
    const server = await startEmbeddedServer({ port: natsPort, storeDir, binary });
    shutdown.add(() => server.close());
    void server.exited.then(({ expected, lastLog }) => {
      if (!expected) fail(["the NATS server has gone; its last words:", ...lastLog].join("\n"));
    });
    const bus = await Bus.open({ url: server.url, name: "async-dev" });
    shutdown.add(() => bus.close());
    const supervisor = await Supervisor.start(bus, storageFrom(await fittedTo(server.storeDir, options)));
    shutdown.add(() => supervisor.close());
    logLifecycle(supervisor.lifecycle, createLog("async-dev", process.env.ASYNC_LOG_LEVEL || "warn"));
    supervisor.lifecycle.on("job", (event) => say(describeEvent(event)));
    const bridge = await startBridge({ client: new Client(bus), ...http });
    shutdown.add(() => bridge.close());
    if (modules.length > 0) {
      const worker = startWorker(modules, server.url, concurrency);
      const onExit = (code: number | null) => {
        if (code !== 0) fail(`the worker has gone with exit code ${code}`);
      };
      worker.once("exit", onExit);
      shutdown.add(() => {
        worker.off("exit", onExit);
        return stopChild(worker);
      });
    }
    say(`NATS ${server.version} at ${server.url}, jobs kept in ${server.storeDir}`);
    say(`durability ${durabilityOf(supervisor.topology.replicas)}`);
    say(`HTTP at ${bridge.url}: POST ${bridge.url}/v1/job`);
    if (modules.length === 0) say("no workers; name modules to have them served, or start `async worker`");
  } catch (error) {
    await shutdown.close();
    throw error;
  }
  await shutdown.run();
}

/** In a process of its own, so that a busy handler does not hold up the supervisor; it ends with this one. */
function startWorker(modules: string[], url: string, concurrency: number | undefined): ChildProcess {
  const [node] = process.argv;
  if (!node) throw new AsyncError("invalid_option", "cannot tell which node runs this");
  const main = fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "./main.ts" : "./main.js", import.meta.url));
  const options = concurrency === undefined ? [] : ["--concurrency", String(concurrency)];
  const args = [...process.execArgv, main, "worker", ...modules, "--nats", url, ...options];
  return spawn(node, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
