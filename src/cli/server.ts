import { logLifecycle } from "../actors/log.ts";
import { Supervisor } from "../actors/supervisor.ts";
import { Bus } from "../bus/connection.ts";
import { logConnection } from "../bus/connection-log.ts";
import { Client } from "../client/client.ts";
import { startBridge } from "../http/bridge.ts";
import { durabilityOf } from "../http/readiness.ts";
import { createLog, type LogFlags } from "./log.ts";
import { loadWorkers } from "./modules.ts";
import { type Address, type ConnectionFlags, connectionOf, type GraceFlags } from "./options.ts";
import { Shutdown } from "./shutdown.ts";
import { type StorageFlags, storageFrom } from "./storage-options.ts";

export interface ServerOptions extends ConnectionFlags, GraceFlags, StorageFlags, LogFlags {
  /** False for `--no-http`. */
  http: Address | false;
  maxLiveJobs: number;
  /** In MiB. */
  maxMemory: number;
  concurrency?: number;
}

/** `async server`: until a signal comes. The functions of `modules` are executed here, without the bus. */
export async function runServer(modules: string[], options: ServerOptions): Promise<void> {
  const { http, maxLiveJobs, maxMemory, concurrency, grace } = options;
  const log = createLog("async-server", options);
  const shutdown = new Shutdown(grace);
  shutdown.onUncaught(log);
  try {
    const workers = await loadWorkers(modules);
    const bus = await Bus.open({ ...connectionOf(options), name: "async-server" });
    shutdown.add(() => bus.close());
    bus.onLost((error) => {
      log.fatal({ code: error.code }, error.message);
      shutdown.fail();
    });
    shutdown.add(logConnection(bus, log));
    const supervisor = await Supervisor.start(bus, {
      maxLiveJobs,
      maxMemoryBytes: maxMemory * 1024 ** 2,
      ...storageFrom(options),
    });
    shutdown.add(logLifecycle(supervisor.lifecycle, log));
    shutdown.add(() => supervisor.close({ graceMs: shutdown.graceMs }));
    const durability = durabilityOf(supervisor.topology.replicas);
    shutdown.add(() => Promise.all(workers.map((worker) => worker.close({ graceMs: shutdown.graceMs }))));
    for (const worker of workers) {
      await worker.start({ bus, log, ...(concurrency !== undefined && { concurrency }) });
    }
    log.info(
      { supervisor: supervisor.id, nats: bus.url, server: bus.nc.info?.version, durability },
      "supervisor is running",
    );
    if (http) {
      const bridge = await startBridge({ client: new Client(bus), ...http, log });
      shutdown.add(() => bridge.close());
    }
  } catch (error) {
    await shutdown.close();
    throw error;
  }
  await shutdown.run();
}
