import { logLifecycle } from "../actors/log.ts";
import { Supervisor } from "../actors/supervisor.ts";
import { Bus } from "../bus/connection.ts";
import { Client } from "../client/client.ts";
import { startBridge } from "../http/bridge.ts";
import { durabilityOf } from "../http/readiness.ts";
import { createLog } from "./log.ts";
import type { Address } from "./program.ts";
import { Shutdown } from "./shutdown.ts";

export interface ServerOptions {
  nats: string;
  /** False for `--no-http`. */
  http: Address | false;
  maxLiveJobs: number;
}

/** `async server`: until a signal comes. */
export async function runServer({ nats, http, maxLiveJobs }: ServerOptions): Promise<void> {
  const log = createLog("async-server");
  const shutdown = new Shutdown();
  try {
    const bus = await Bus.open({ url: nats, name: "async-server" });
    shutdown.add(() => bus.close());
    const supervisor = await Supervisor.start(bus, { maxLiveJobs });
    shutdown.add(() => supervisor.close());
    logLifecycle(supervisor.lifecycle, log);
    const durability = durabilityOf(supervisor.topology.replicas);
    log.info({ supervisor: supervisor.id, nats, server: bus.nc.info?.version, durability }, "supervisor is running");
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
