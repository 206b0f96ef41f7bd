import type { WorkerOptions } from "../worker/worker.ts";
import { createLog } from "./log.ts";
import { loadWorkers } from "./modules.ts";
import { type ConnectionFlags, connectionOf } from "./options.ts";
import { Shutdown } from "./shutdown.ts";

export interface WorkerCommandOptions extends ConnectionFlags {
  concurrency?: number;
  name?: string;
}

/** `async worker`: until a signal comes; then attempts in execution may end. */
export async function runWorker(modules: string[], options: WorkerCommandOptions): Promise<void> {
  const { concurrency, name } = options;
  const log = createLog("async-worker");
  const override: WorkerOptions = { bus: connectionOf(options), log };
  if (concurrency !== undefined) override.concurrency = concurrency;
  if (name !== undefined) override.name = name;
  const shutdown = new Shutdown();
  try {
    for (const worker of await loadWorkers(modules)) {
      shutdown.add(() => worker.close());
      await worker.start(override);
      worker.onLost((error) => {
        log.fatal({ code: error.code }, error.message);
        shutdown.fail();
      });
    }
  } catch (error) {
    await shutdown.close();
    throw error;
  }
  await shutdown.run();
}
