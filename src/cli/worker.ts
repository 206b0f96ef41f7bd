import type { WorkerOptions } from "../worker/options.ts";
import { createLog, type LogFlags } from "./log.ts";
import { loadWorkers } from "./modules.ts";
import { type ConnectionFlags, connectionOf, type GraceFlags } from "./options.ts";
import { Shutdown } from "./shutdown.ts";
import { tellParent } from "./worker-messages.ts";

export interface WorkerCommandOptions extends ConnectionFlags, GraceFlags, LogFlags {
  concurrency?: number;
  name?: string;
}

/** `async worker`: until a signal comes; then attempts in execution may end. */
export async function runWorker(modules: string[], options: WorkerCommandOptions): Promise<void> {
  const { concurrency, name, grace } = options;
  const log = createLog("async-worker", options);
  const override: WorkerOptions = { bus: connectionOf(options), log };
  if (concurrency !== undefined) override.concurrency = concurrency;
  if (name !== undefined) override.name = name;
  const shutdown = new Shutdown(grace);
  shutdown.onUncaught(log);
  try {
    const workers = await loadWorkers(modules);
    // Together: the grace of all begins when the process is told to stop. Closing one that was not started does nothing.
    shutdown.add(() => Promise.all(workers.map((worker) => worker.close({ graceMs: shutdown.graceMs }))));
    for (const worker of workers) {
      await worker.start(override);
      worker.onLost((error) => {
        log.fatal({ code: error.code }, error.message);
        shutdown.fail();
      });
    }
    tellParent({ is: "serving", functions: workers.flatMap(({ functions }) => functions) });
    void shutdown.requested.then(() => {
      tellParent({ is: "draining", attempts: workers.reduce((sum, { running }) => sum + running, 0) });
    });
  } catch (error) {
    await shutdown.close();
    throw error;
  }
  await shutdown.run();
}
